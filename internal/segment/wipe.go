package segment

import (
	"varve/internal/fail"
)

// A segment may be a file that was another one before. What that held is written
// over as the log goes on, but for the end, where no frame fitted: that is wiped once
// the segment was left. What lies ahead of the log is wiped when somebody asks, since
// what is nobody's any more is to be nowhere:
//
//	segments before   | frames ... frames | wiped |
//	current segment   | frames | open frame |   old bytes    |
//	those made ready  |              old bytes               |

// wipeTail wipes the end of a segment that was left. A failure means nothing to
// anybody who reads. mu is held, and let go meanwhile.
func (l *Log) wipeTail() {
	r := &l.room
	a := r.tails[0]
	r.tails = append(r.tails[:0], r.tails[1:]...)
	err := l.zero(a.Segment(), int(a.Block()), make([]byte, (l.segBlocks-int(a.Block()))*BlockSize))
	if err != nil && !fail.Is(err, fail.NotFound) { // it may be gone already
		l.opts.Logger.Warn("wiping the end of a segment", "segment", a.Segment(), "err", err)
	}
}

// Wipe makes what lies ahead of the log read as zeros: the rest of the current
// segment, and those made ready. Durable on return. Appends wait meanwhile.
func (l *Log) Wipe() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &l.room
	for (r.making || len(r.tails) > 0 || r.zeros.to > 0) && l.err == nil && !l.stopped {
		r.done.Wait()
	}
	if err := l.refusal(); err != nil {
		return err
	}
	size := l.store.SegmentSize()
	for i, s := range r.ready {
		if err := l.store.Zero(s.number, 0, size); err != nil {
			return err
		}
		r.ready[i].written = false
	}
	if off := int64(l.openBlock) * BlockSize; off < size {
		if err := l.store.Zero(l.openSeg, off, size-off); err != nil {
			return err
		}
	}
	r.prefill.next = 0
	return nil
}
