package engine

import (
	"sync"

	"varve/internal/oplog"
	"varve/internal/segment"
)

// digests are what segments have in them, so that queries can leave them out. They
// are made while a segment is written, and by queries of those that have none, as
// after a crash. One is believed only together with the frame that it ends at
// (segment.ReadPast).
type digests struct {
	mu   sync.Mutex
	of   map[uint64]segmentDigest // by segment
	file digestFile

	open    oplog.Digest // of the segment that is being written; under the log's lock
	openSeg uint64       // its number; 0: it is not written from its beginning; the same

	doneMu sync.Mutex
	done   []closedSegment // written, and not in of yet
}

type closedSegment struct {
	seg uint64
	segmentDigest
}

type segmentDigest struct {
	last segment.Position
	oplog.Digest
}

// maxDigests bounds how many are kept, each of about 2.5 KiB.
const maxDigests = 16384

// entered takes the digest of a segment that is full: the log goes on in another.
// The log's lock is held.
func (d *digests) entered(seg uint64, last segment.Position) {
	if d.openSeg != 0 && d.openSeg == last.Addr.Segment() {
		d.doneMu.Lock()
		if len(d.done) < maxDone {
			d.done = append(d.done, closedSegment{d.openSeg, segmentDigest{last, d.open}})
		}
		d.doneMu.Unlock()
	}
	d.openSeg, d.open = seg, oplog.Digest{}
}

// maxDone bounds how many wait to be kept: those that come between two checkpoints.
const maxDone = 1024

// full takes the digests of segments that are full.
func (d *digests) full() []closedSegment {
	d.doneMu.Lock()
	defer d.doneMu.Unlock()
	done := d.done
	d.done = nil
	return done
}

// keep keeps digests, also in the file. Their segments are durable: else a crash might
// leave the digest, and of its segment the last frame alone.
func (d *digests) keep(e *Engine, done []closedSegment) {
	if len(done) == 0 {
		return
	}
	d.load(e)
	d.forget(e.recordsFrom())
	for i := range done {
		d.put(done[i].seg, done[i].segmentDigest)
	}
	d.save(e)
}

func (d *digests) get(seg uint64) (segmentDigest, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	x, ok := d.of[seg]
	return x, ok
}

func (d *digests) put(seg uint64, x segmentDigest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.of == nil {
		d.of = make(map[uint64]segmentDigest)
	}
	if was, known := d.of[seg]; known && was.last == x.last || !known && len(d.of) >= maxDigests {
		return
	}
	d.of[seg] = x
	d.file.add(seg, &x)
}

// forget drops the digests of segments whose records nobody can ask for.
func (d *digests) forget(below uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for seg := range d.of {
		if seg < below {
			delete(d.of, seg)
		}
	}
}

// segmentSum puts the digests of batches together to those of segments.
type segmentSum struct {
	e   *Engine
	seg uint64 // that is being read; 0: none from its beginning
	segmentDigest
}

// add takes the next batch. The one before was the last of its segment if this
// is of another.
func (s *segmentSum) add(b *logBatch) {
	if b.first {
		if s.seg != 0 {
			s.e.digests.put(s.seg, s.segmentDigest)
		}
		s.seg, s.segmentDigest = b.seg, segmentDigest{}
	}
	if b.known || b.seg != s.seg {
		s.seg = 0
		return
	}
	s.last = b.last
	s.Merge(&b.digest)
}

// manySegments is how many segments in a row have to be left out before it
// pays to look up all names anew behind them.
const manySegments = 8

// turns are the kinds that put the whole of a dataset elsewhere.
const turns oplog.KindSet = 1<<oplog.Rollback | 1<<oplog.Undo

// mayWant reports whether a segment has to be read. Where names are followed that
// includes what turns the dataset back, which an export must see.
func (s *logScan) mayWant(x *segmentDigest) bool {
	return x.MayMatch(&s.q.Filter, s.id) ||
		s.q.Names && x.Kinds&turns != 0 && x.MayMatch(&oplog.Filter{Kinds: turns}, s.id)
}

// leaper says which segments can be left out.
type leaper struct {
	ahead int    // how many segments from the last on, it too, can be left out
	until uint64 // the segment behind those
}

// over says whether a segment can be left out, at which frame it ends, and
// whether names change in it.
func (l *leaper) over(s *logScan, seg uint64) (last segment.Position, names, ok bool) {
	x, ok := s.e.digests.get(seg)
	if !ok || s.mayWant(&x) || x.last.LastLSN >= s.to {
		return segment.Position{}, false, false
	}
	if seg >= l.until {
		l.ahead = 1
		for n := seg + 1; l.ahead < manySegments; n++ {
			next, ok := s.e.digests.get(n)
			if !ok || s.mayWant(&next) {
				break
			}
			l.ahead++
		}
		l.until = seg + uint64(l.ahead)
	}
	return x.last, s.q.Names && x.Kinds&oplog.NameKinds != 0, true
}
