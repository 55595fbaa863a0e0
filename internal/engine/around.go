package engine

import (
	"sync/atomic"

	"varve/internal/segment"
)

// around lets a short read that misses memory warm its neighbourhood in the log:
// what was written together is often wanted together, and the disk gives a
// window for little more than a block. The log is written past the page cache,
// so that without this every block of a file just written would be one read.
//
// Where reads scatter over more than memory holds, windows are read for
// nothing. So they are paid for out of a credit, which only reads that found
// their blocks in memory fill:
//
//	all in memory    credit full, nothing to warm
//	warming up       windows pay for the next ones many times over
//	does not fit     one window per windowPrice hits: a bounded share of the disk
type around struct{ credit atomic.Int64 }

const (
	windowBlocks = 32 // 128 KiB; a window begins at a multiple of it in its segment
	windowPrice  = 16 // hits
	maxCredit    = 16384 * windowPrice
)

// hit is told of a read that needed no disk.
func (a *around) hit() {
	if a.credit.Load() < maxCredit {
		a.credit.Add(1)
	}
}

// pay reports whether a window may be read.
func (a *around) pay() bool {
	for {
		have := a.credit.Load()
		if have < windowPrice {
			return false
		}
		if a.credit.CompareAndSwap(have, have-windowPrice) {
			return true
		}
	}
}

// prefetch lets the disk begin with all runs, so that a range whose blocks lie
// far apart is not read one by one, and with the windows around short ones.
func (r *reader) prefetch(e *Engine) {
	if e.log == nil {
		return
	}
	warmed := uint64(0) // the end of the last window
	for _, x := range r.runs {
		window := x.addr &^ (windowBlocks - 1)
		end := window + windowBlocks
		switch {
		case x.addr+x.n > end:
		case end == warmed:
			continue
		case e.around.pay() && e.log.Prefetch(segment.Addr(window), windowBlocks):
			warmed = end
			continue
		}
		if len(r.runs) > 1 {
			e.log.Prefetch(segment.Addr(x.addr), int(x.n))
		}
	}
}
