package nbd

// A client that waits for each of its flushes often goes about it in one way:
// so many changes, a flush, as many changes, a flush. When the last of them is
// answered, its flush is on the way, and the disk need not idle until it comes:
//
//	client  WRITE ...............       FLUSH ......................
//	reader        append  reply  Flush: to the disk ...........  reply
//
// What is flushed is flushed sooner, never less: a FLUSH that comes asks the
// disk all the same, which then has nothing left to do.
const (
	maxUsual    = 4   // changes before a flush; with more, the disk is not what takes the time
	habitual    = 4   // times in a row make a habit
	habitBroken = 256 // times in a row to pass, then, before it is one again
)

// habit tells when a FLUSH is about to come.
type habit struct {
	changes int  // answered since the last flush
	usual   int  // answered between the two flushes before
	seen    int  // times in a row that it was so many; negative after a wrong guess
	ahead   bool // the changes were flushed ahead
}

// changed is told of every change that is answered without a flush of its own.
func (h *habit) changed() {
	if h.ahead { // it was no flush that came
		h.ahead, h.seen = false, -habitBroken
	}
	h.changes++
}

// flushed is told of every flush.
func (h *habit) flushed() {
	if h.changes == h.usual {
		h.seen = min(h.seen+1, habitual)
	} else {
		h.usual, h.seen = h.changes, min(h.seen, 0)
	}
	h.changes, h.ahead = 0, false
}

// due reports whether the next request is thought to be a flush; once.
func (h *habit) due() bool {
	if h.ahead || h.seen < habitual || h.changes != h.usual || h.changes == 0 || h.changes > maxUsual {
		return false
	}
	h.ahead = true
	return true
}
