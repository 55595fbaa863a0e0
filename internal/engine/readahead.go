package engine

import (
	"context"
	"slices"

	"varve/internal/segment"
)

// A readAhead has segments that a query will come to brought into memory, several at a
// time: the reader itself finds each frame by the one before it, so it would wait for
// the disk once or twice for each. It verifies nothing and tells nothing.
type readAhead struct {
	s    *logScan
	segs []uint64 // that the query may come to, ascending
	next int      // of these, the first that nobody has asked for
	work chan uint64
}

const (
	readAheadHands    = 4
	readAheadSegments = 6 // before the reader
)

// newReadAhead begins one that ends with ctx, for segments behind the one where the
// reader begins.
func newReadAhead(ctx context.Context, s *logScan, from uint64) *readAhead {
	r := &readAhead{s: s, work: make(chan uint64, readAheadSegments)}
	list, err := s.e.store.List()
	if err != nil {
		return r // the reader will meet that
	}
	for _, x := range list {
		if x.Number > from {
			r.segs = append(r.segs, x.Number)
		}
	}
	for range min(readAheadHands, len(r.segs)) {
		go r.run(ctx)
	}
	r.reached(from)
	return r
}

func (r *readAhead) run(ctx context.Context) {
	for {
		select {
		case seg := <-r.work:
			segment.Prefetch(ctx, r.s.e.store, r.s.e.super.pool, seg)
		case <-ctx.Done():
			return
		}
	}
}

// reached says where the reader is, which never waits for it.
func (r *readAhead) reached(seg uint64) {
	i, _ := slices.BinarySearch(r.segs, seg+1)
	for r.next = max(r.next, i); r.next < min(i+readAheadSegments, len(r.segs)); r.next++ {
		if x, ok := r.s.e.digests.get(r.segs[r.next]); ok && !r.s.mayWant(&x) {
			continue
		}
		select {
		case r.work <- r.segs[r.next]:
		default:
			return
		}
	}
}
