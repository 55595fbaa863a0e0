package engine

import (
	"time"

	"varve/internal/bytesize"
	"varve/internal/fail"
)

// leastSegments is how many segments a pool needs: one to start in, one to go on in,
// and the two that the log keeps in reserve.
const leastSegments = 4

const (
	// A part of the pool's capacity, or four segments if that is more, is kept for
	// what frees space, and the last two of these for checkpoints alone. A pool of
	// few segments has half of that.
	reservePart = 20
	smallPool   = 16 // segments

	// What data that stays takes beside itself: of each segment a part for headers, and
	// an end into which nothing fits any more, in blocks; the segment that is being
	// filled, one made ahead, that in which a start goes on, and what is not worth a
	// round of making room.
	headerPart   = 64
	endBlocks    = 40
	openSegments = 4
)

// reserves is how much of the last space of a pool with that capacity is kept for
// what frees space, and how much of this for checkpoints alone: bytes.
func reserves(capacity, segment int64) (reserve, last int64) {
	last = segment
	if capacity >= smallPool*segment {
		last *= 2
		reserve = capacity / reservePart
	}
	return max(reserve, 2*last), last
}

// CapacityDone is the answer to a change of the capacity. That is no operation of the
// log: LSN is the last one before it.
type CapacityDone struct {
	Done
	CapacityBytes int64 `json:"capacity_bytes"`
}

// SetCapacity changes how many bytes the pool may occupy; 0 is what it would have been
// made with now by default. It holds at once, for writers who wait too, and is durable
// on return. The store has it, not the log: it is the place that has room, not what is
// in it.
//
// A smaller one has to have room for what may not be forgotten. Then history becomes
// as short as it must, and the background gives back the rest. Errors: Invalid for a
// capacity of which no pool can be made, NoSpace for one that is too small for what is
// there, or more than what lies below can hold.
func (e *Engine) SetCapacity(bytes uint64) (CapacityDone, error) {
	e.resizing.Lock()
	defer e.resizing.Unlock()
	if err := e.writable(); err != nil {
		return CapacityDone{}, err
	}
	to, was, err := e.judgeCapacity(bytes)
	if err != nil {
		return CapacityDone{}, err
	}
	at := e.log.LastLSN()
	if err := e.store.SetCapacity(to); err != nil {
		return CapacityDone{}, err
	}
	e.logger.Info("the capacity of the pool is another", "from", bytesize.Exact(was), "to", bytesize.Exact(to))
	e.log.SpaceFreed()
	o := e.segmentOptions()
	e.log.SetReserve(o.Reserve, o.LastReserve)
	e.room.rounds.Add(1) // who was refused by the old one tries again
	e.mayGain()
	return CapacityDone{Done{LSN: at, Time: time.Unix(0, e.poolTime()).UTC()}, to}, nil
}

// judgeCapacity says which capacity is asked for, and which there is: bytes.
func (e *Engine) judgeCapacity(bytes uint64) (to, was int64, err error) {
	sp, err := e.store.Space()
	if err != nil {
		return 0, 0, err
	}
	if to = int64(min(bytes, 1<<62)); bytes == 0 {
		if to, err = e.store.DefaultCapacity(); err != nil {
			return 0, 0, err
		}
	}
	segment := e.store.SegmentSize()
	if err := CheckCapacity(uint64(to), uint64(segment)); err != nil {
		return 0, 0, err
	}
	if to >= sp.Capacity {
		return to, sp.Capacity, nil
	}
	live, stays, err := e.unforgettable()
	if err != nil || fits(to, stays, segment) {
		return to, sp.Capacity, err
	}
	return 0, 0, fail.New(fail.NoSpace, "the pool cannot shrink to %s: it holds %s that may not be forgotten, of which %s are live; snapshots, clones and destroyed datasets keep the rest",
		bytesize.Exact(to), bytesize.Exact(stays), bytesize.Exact(live)).
		WithHint("the least now is capacity=%s; to make it less destroy snapshots or datasets, varve prune what was destroyed, then varve clean",
			bytesize.Exact(leastCapacity(stays, segment)))
}

// CheckCapacity refuses, as Invalid, a capacity of which no pool of such segments can
// be made: bytes.
func CheckCapacity(capacity, segment uint64) error {
	if least := leastSegments * segment; capacity < least {
		return fail.New(fail.Invalid, "a capacity of %s is too small", bytesize.Exact(capacity)).
			WithHint("the least is %s: %d segments of %s", bytesize.Exact(least), leastSegments, bytesize.Exact(segment))
	}
	return nil
}

// unforgettable counts what is live, and all that stays if history becomes as short as
// it can: bytes.
func (e *Engine) unforgettable() (live, stays int64, err error) {
	if err := e.checkpoint(true); err != nil && !fail.Is(err, fail.NoSpace) {
		return 0, 0, err
	}
	now := stamp{lsn: e.log.LastLSN()}
	var plans []plan
	e.gate.RLock()
	for _, d := range e.datasets {
		p := plan{d: d, horizon: d.horizon}
		p.moveTo(now)
		p.expireGuards()
		plans = append(plans, p)
	}
	e.gate.RUnlock()
	for _, p := range plans {
		n, err := e.wouldFree(p)
		if err != nil {
			return 0, 0, err
		}
		stays -= n
	}
	e.gate.RLock()
	defer e.gate.RUnlock()
	s := e.poolSpace(0)
	return s.Live, max(s.Live+s.Nodes, stays+s.Live+s.History+s.Snapshots+s.Destroyed+s.Nodes), nil
}

// needed is what a pool has to have beside its reserve for data that stays: bytes.
func needed(stays, segment int64) int64 {
	full := segment - segment/headerPart - endBlocks*BlockSize
	return ((stays+full-1)/full + openSegments) * segment
}

// fits reports whether a pool of that capacity has room for data that stays: bytes.
func fits(capacity, stays, segment int64) bool {
	reserve, _ := reserves(capacity, segment)
	return capacity-reserve >= needed(stays, segment)
}

// leastCapacity is the least capacity that fits, in whole segments: bytes.
func leastCapacity(stays, segment int64) int64 {
	n := needed(stays, segment)
	whole := func(bytes int64) int64 { return (bytes + segment - 1) / segment * segment }
	reserve, _ := reserves(0, segment)
	if small := whole(n + reserve); small < smallPool*segment {
		return max(small, leastSegments*segment)
	}
	reserve, _ = reserves(smallPool*segment, segment)
	return max(whole(n+reserve), whole(n+n/(reservePart-1)+1), smallPool*segment)
}

// withinCapacity makes room where the pool has more than its capacity: that became
// less.
func (e *Engine) withinCapacity() {
	if sp, err := e.store.Space(); err == nil && sp.Used > sp.Capacity {
		e.roomFor(e.room.rounds.Load(), nil) // it says itself what it finds
	}
}
