package engine

import (
	"math/bits"
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
//	all in memory    each window is paid once, and then the credit fills
//	warming up       windows pay for the next ones many times over
//	does not fit     one window per windowPrice hits: a bounded share of the disk
//
// A window is asked for as a whole before anything of it is read: to look
// whether a block is in memory lets the kernel fetch that block at once, and
// the disk is then asked for three pieces instead of one. So a window that
// nothing is known of is taken for cold, once. Where known ones turn out not to
// be in memory any more, all are forgotten.
type around struct {
	credit atomic.Int64
	known  [knownWindows / 64]atomic.Uint64 // a bit for a window, by its hash
	marked atomic.Int64                     // of these bits
	misses atomic.Int64                     // in known windows
}

const (
	windowBlocks = 32 // 128 KiB; a window begins at a multiple of it in its segment
	windowPrice  = 16 // hits
	maxCredit    = 16384 * windowPrice

	knownBits    = 22 // 512 KiB of memory
	knownWindows = 1 << knownBits
)

// windowOf returns the window in which a run lies; false: it is longer, or the
// window is not all on disk.
func (e *Engine) windowOf(x *run) (window uint64, ok bool) {
	window = x.addr &^ (windowBlocks - 1)
	return window, x.addr+x.n <= window+windowBlocks && e.log.OnDisk(segment.Addr(window), windowBlocks)
}

func (a *around) bit(window uint64) (word *atomic.Uint64, bit uint64) {
	h := window / windowBlocks * 0x9e3779b97f4a7c15 >> (64 - knownBits)
	return &a.known[h/64], 1 << (h % 64)
}

func (a *around) knows(window uint64) bool {
	word, bit := a.bit(window)
	return word.Load()&bit != 0
}

// mark notes that a window is read.
func (a *around) mark(window uint64) {
	word, bit := a.bit(window)
	if word.Or(bit)&bit == 0 && a.marked.Add(1) == knownWindows/8 {
		a.forget() // else too many new windows would be taken for known ones
	}
}

func (a *around) forget() {
	for i := range a.known {
		a.marked.Add(-int64(bits.OnesCount64(a.known[i].Swap(0))))
	}
}

// hit is told of a read that needed no disk.
func (a *around) hit() {
	if a.credit.Load() < maxCredit {
		a.credit.Add(1)
	}
}

// missed is told of a read in a known window that did need it.
func (a *around) missed() {
	if n := a.misses.Add(1); n > 64 && n > a.marked.Load()/16 && a.misses.CompareAndSwap(n, 0) {
		a.forget()
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

// fresh reports whether there is a window to be asked for before anything is
// read.
func (r *reader) fresh(e *Engine) bool {
	if e.log == nil || e.around.credit.Load() < windowPrice {
		return false
	}
	for i := range r.runs {
		if window, ok := e.windowOf(&r.runs[i]); ok && !e.around.knows(window) {
			return true
		}
	}
	return false
}

// missed says where the disk was needed for all that.
func (r *reader) missed(e *Engine) {
	if e.log == nil {
		return
	}
	for i := range r.runs {
		if window, ok := e.windowOf(&r.runs[i]); ok && e.around.knows(window) {
			e.around.missed()
			return
		}
	}
}

// prefetch lets the disk begin with all runs, so that a range whose blocks lie
// far apart is not read one by one, and with the cold windows around short ones.
func (r *reader) prefetch(e *Engine) {
	if e.log == nil {
		return
	}
	asked := ^uint64(0) // the last window
	for i := range r.runs {
		x := &r.runs[i]
		switch window, ok := e.windowOf(x); {
		case ok && window == asked:
		case ok && !e.around.knows(window) && e.around.pay():
			asked = window
			e.around.mark(window)
			e.log.Prefetch(segment.Addr(window), windowBlocks)
		case len(r.runs) > 1:
			e.log.Prefetch(segment.Addr(x.addr), int(x.n))
		}
	}
}
