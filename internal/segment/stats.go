package segment

import (
	"slices"
	"time"
)

// Stats of a Log since it was opened.
type Stats struct {
	Data, Node, Deaths, Super, Record int64 // bytes sealed into frames, by kind; Record: headers and summaries

	Prefilled       int64 // bytes of zeros written ahead of frames
	Frames, Markers int64 // sealed; markers are frames
	Adopted         int64 // frames in the memory that their payload came in
	Segments        int64 // entered
	Syncs           int64 // rounds that made frames durable, in the background too
	DirectSyncs     int64 // of those, the ones that were one durable write
	Commits         int64 // calls of Commit and CommitAll
	SyncTime        time.Duration
	CommitTime      time.Duration

	Unwritten, Unsynced int64 // bytes, now
	Held                int64 // blocks admitted and not yet used, now
	Ready               int   // segments created ahead, now
	Segment             uint64
	LastLSN, DurableLSN uint64
}

// Stats returns the counters.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Unwritten, s.Unsynced = l.unwritten, l.unsynced
	s.Held, s.Ready = int64(l.room.held), len(l.room.ready)
	s.Segment, s.LastLSN, s.DurableLSN = l.openSeg, l.lastLSN, l.durLSN
	return s
}

// Usage counts what this Log has put into one segment since it was opened.
type Usage struct {
	Segment                           uint64
	Data, Node, Deaths, Super, Record int64  // bytes; Record: headers and summaries
	FirstLSN, LastLSN                 uint64 // of its operations; 0 if it has none
	FirstTime, LastTime               int64  // of its frames: Unix nanoseconds
}

// Usage returns the counters of the segments numbered from and above,
// ascending, as far as frames are sealed.
func (l *Log) Usage(from uint64) []Usage {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, _ := slices.BinarySearchFunc(l.usage, from, func(u Usage, n uint64) int {
		if u.Segment < n {
			return -1
		}
		return 1
	})
	return slices.Clone(l.usage[i:])
}

// count adds a frame that is being sealed, with the summary still at hand.
// mu is held.
func (l *Log) count(h *header) {
	seg := h.addr.Segment()
	if n := len(l.usage); n == 0 || l.usage[n-1].Segment != seg {
		l.usage = append(l.usage, Usage{Segment: seg})
		l.stats.Segments++
	}
	u := &l.usage[len(l.usage)-1]
	before := *u
	f := Frame{
		FirstLSN: h.firstLSN, NumOps: h.ops, Time: h.time, Blocks: h.payload, Length: h.blocks(), runs: l.sum.runs,
	}
	u.Count(&f)
	l.stats.Data += u.Data - before.Data
	l.stats.Node += u.Node - before.Node
	l.stats.Deaths += u.Deaths - before.Deaths
	l.stats.Super += u.Super - before.Super
	l.stats.Record += u.Record - before.Record
	l.stats.Frames++
	if h.kind == FrameMarker {
		l.stats.Markers++
	}
}

// Count adds a frame.
func (u *Usage) Count(f *Frame) {
	for r := range f.Runs() {
		n := int64(r.N) * BlockSize
		switch r.Kind {
		case Data:
			u.Data += n
		case Node:
			u.Node += n
		case Deaths:
			u.Deaths += n
		case Super:
			u.Super += n
		}
	}
	u.Record += int64(f.Length-f.Blocks) * BlockSize
	if f.NumOps > 0 {
		if u.FirstLSN == 0 {
			u.FirstLSN = f.FirstLSN
		}
		u.LastLSN = f.FirstLSN + uint64(f.NumOps) - 1
	}
	if u.FirstTime == 0 {
		u.FirstTime = f.Time
	}
	u.LastTime = f.Time
}
