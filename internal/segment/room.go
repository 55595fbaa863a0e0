package segment

import (
	"slices"
	"sync"
	"time"

	"varve/internal/bytesize"
	"varve/internal/fail"
	"varve/internal/segstore"
)

// room is the space ahead of the open frame: the rest of the current segment
// and the segments made ready behind it. Admission takes from it, so that
// Append never waits; the provisioner goroutine adds to it. Log.mu guards it.
//
// What an admitted block can cost is an estimate on the safe side (see need).
// Should it ever fall short, Append waits for a segment, out of the reserve,
// and only if there is none the log stops.
type room struct {
	held    int            // blocks admitted, not yet used or released
	ready   []readySegment // made ahead, ascending, all above the current one
	highest uint64         // the highest segment number ever given
	free    int64          // bytes that the store could still allocate when last asked

	waiters int       // admissions that wait for back-pressure
	admit   sync.Cond // pressure may have eased

	making   bool      // somebody makes a segment, and alone may give numbers
	asked    bool      // somebody waits for a segment
	leave    int64     // and may have it, where the store has so many bytes more
	tries    uint64    // attempts begun
	done     sync.Cond // an attempt has ended, or room has changed
	lastErr  error     // of the last attempt
	wanted   sync.Cond // the provisioner may have something to do
	aheadOff bool      // making one ahead failed; not again before something changes
	entered  time.Time // when the current segment was
	fast     bool      // the last segment lasted less than fastSegment

	prefill prefill
	tails   []Addr // ends of segments that were left, not yet wiped
	zeros   zeros
}

// readySegment is a segment that was made ahead.
type readySegment struct {
	number  uint64
	written bool // every block of it, once before
}

const (
	fastSegment = time.Second
	maxReady    = 3 // segments kept ready
)

// Admit waits for back-pressure and makes sure that blocks of payload and
// their records have room; call it before Append, with no lock held. The
// blocks are held for the caller until Append uses them or Release gives them
// back. Every Append uses at least one block. A record longer than 2 KiB wants
// one more block per 4 KiB or part of it, to be released after the Append.
//
// With reserve the last Options.Reserve bytes of the store may be used: that
// is for what frees space, and for checkpoints.
//
// Errors: NoSpace, which changes nothing, and later calls may succeed; others
// of the store's Create; FailStopped; Canceled after Close.
func (l *Log) Admit(blocks int, reserve bool) error {
	if reserve {
		return l.admit(blocks, l.lastReserve.Load())
	}
	return l.admit(blocks, l.reserve.Load())
}

// TryAdmit is Admit of what may not use the reserve, for a caller that must not
// wait: false where Admit would wait, or fail, or where others wait already.
func (l *Log) TryAdmit(blocks int) bool {
	n := max(1, blocks)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refusal() != nil || l.room.waiters > 0 || l.pressed(n) || !l.hasRoom(n, l.reserve.Load()) {
		return false
	}
	l.room.held += n
	return true
}

// AdmitLast is Admit that may use all of the store's space: for checkpoints,
// without which nothing can be freed.
func (l *Log) AdmitLast(blocks int) error { return l.admit(blocks, 0) }

// admit leaves so many bytes of the store alone.
func (l *Log) admit(blocks int, leave int64) error {
	n := max(1, blocks)
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if err := l.refusal(); err != nil {
			return err
		}
		switch {
		case l.pressed(n):
			l.room.waiters++
			l.work.Signal()
			l.syncWork.Signal()
			l.room.admit.Wait()
			l.room.waiters--
		case l.hasRoom(n, leave):
			l.room.held += n
			return nil
		default:
			if err := l.ask(func() bool { return l.hasRoom(n, leave) }, leave); err != nil {
				return err
			}
		}
	}
}

// Release gives back admitted blocks that no Append will use.
func (l *Log) Release(blocks int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.room.held = max(0, l.room.held-max(1, blocks))
	if l.room.waiters > 0 {
		l.room.admit.Broadcast()
	}
	l.room.done.Broadcast()
}

// pressed reports whether n more blocks have to wait until bytes are written
// or synced. Who holds blocks may ask for more: with nothing in the log's
// memory there is no pressure. mu is held.
func (l *Log) pressed(n int) bool {
	coming := int64(l.room.held+n) * BlockSize
	return l.unwritten > 0 && l.unwritten+coming > l.opts.MaxUnwritten ||
		l.unsynced > 0 && l.unsynced+coming > l.opts.MaxUnsynced
}

// need is how many blocks of segments n admitted ones can take: each its own
// and that of a header, and some for frames that nobody admitted.
func (l *Log) need(n int) int { return 2*n + l.maxPiece + minFrameBlocks }

// usable is how many blocks of a segment's rest can be counted on: a piece
// that does not fit into the end goes to the next segment.
func (l *Log) usable(rest int) int { return max(0, rest-l.maxPiece-2) }

// hasRoom reports whether n more blocks have room, when so many bytes of the
// store are left alone. mu is held.
func (l *Log) hasRoom(n int, leave int64) bool {
	have := l.usable(l.segBlocks-l.openBlock-l.payload) + len(l.room.ready)*l.usable(l.segBlocks)
	have -= int(max(0, leave-l.room.free) / BlockSize)
	return l.need(l.room.held+n) <= have
}

// ask waits until an attempt to make a segment that begins after this call has
// ended, or enough is true. It returns that attempt's error. mu is held, and
// let go while waiting.
func (l *Log) ask(enough func() bool, leave int64) error {
	r := &l.room
	ticket := r.tries + 1
	for l.err == nil && !l.stopped && !enough() {
		if r.tries >= ticket && !r.making {
			return r.lastErr
		}
		if r.tries < ticket {
			if !r.asked || leave < r.leave {
				r.leave = leave
			}
			r.asked = true
			r.wanted.Signal()
		}
		r.done.Wait()
	}
	return nil
}

// awaitSegment waits until a segment is ready, for an Append that was
// admitted: the log stops if there is none. mu is held, and let go meanwhile.
func (l *Log) awaitSegment() error {
	if err := l.ask(func() bool { return len(l.room.ready) > 0 }, 0); err != nil {
		l.fail(fail.Wrap(fail.Other, err, "no segment for admitted blocks"))
	}
	if l.err == nil && l.stopped {
		return errClosed
	}
	return l.err
}

// enterSegment makes the first ready segment the current one. The open frame
// is empty. mu is held.
func (l *Log) enterSegment() {
	r := &l.room
	now := time.Now()
	if l.openBlock < l.segBlocks {
		r.tails = append(r.tails, l.openAddr())
	}
	r.fast = !r.entered.IsZero() && now.Sub(r.entered) < fastSegment
	r.entered, r.aheadOff = now, false
	l.openSeg, l.openBlock = r.ready[0].number, 0
	r.prefill.next = 0
	if r.ready[0].written {
		r.prefill.next = l.segBlocks
	}
	r.ready = append(r.ready[:0], r.ready[1:]...)
	r.wanted.Signal()
	if l.opts.Entered != nil {
		l.opts.Entered(l.openSeg, l.last)
	}
}

// provisioner makes segments: those that somebody asks for, and one ahead when
// a quarter of the current one is used, or two when segments fill fast. It also
// prefills the current one, and wipes the ends of those before it.
func (l *Log) provisioner() {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &l.room
	for !l.stopped {
		switch {
		case l.err == nil && !r.making && (r.asked || l.wantAhead()):
			l.makeSegment()
		case l.err == nil && l.wantPrefill():
			l.fillAhead()
		case l.err == nil && len(r.tails) > 0:
			l.wipeTail()
		default:
			r.wanted.Wait()
		}
	}
}

// wantAhead reports whether a segment should be made before anybody needs it.
// mu is held.
func (l *Log) wantAhead() bool {
	want := 1
	if l.room.fast {
		want = 2
	}
	return !l.room.aheadOff && !l.closing && len(l.room.ready) < want && l.openBlock >= l.segBlocks/4
}

// makeSegment is one attempt to make a segment ready. mu is held, and let go
// meanwhile.
func (l *Log) makeSegment() {
	r := &l.room
	leave := l.reserve.Load()
	if r.asked {
		leave = r.leave
	}
	r.asked = false
	r.tries++
	content := segstore.Anything
	if r.prefill.pays() {
		content = segstore.Written
	}
	free := r.free
	l.makeAs(content == segstore.Written, func(n uint64) error {
		space, err := l.store.Space()
		if err != nil {
			return err
		}
		free = space.Free
		size := l.store.SegmentSize()
		if leave > 0 && free-size < leave {
			return fail.New(fail.NoSpace, "no space for another segment: %s are free, %s of them in reserve", bytesize.Exact(free), bytesize.Exact(leave))
		}
		if err := l.store.Create(n, content); err != nil {
			return err
		}
		free -= size
		return nil
	})
	r.free = free
	r.aheadOff = r.lastErr != nil
}

// makeAs lets create make the segment with the next number, and counts it as
// ready; written tells whether each block of it was. mu is held, and let go
// meanwhile; nobody else makes one.
func (l *Log) makeAs(written bool, create func(n uint64) error) {
	r := &l.room
	r.making = true
	n := r.highest + 1
	l.inflight++
	l.mu.Unlock()
	err := create(n)
	l.mu.Lock()
	if r.lastErr = err; err == nil {
		r.ready = append(r.ready, readySegment{n, written})
	}
	if !fail.Is(err, fail.NoSpace) { // any other failure may have left something under that number
		r.highest = n
	}
	r.making = false
	l.landed()
	r.done.Broadcast()
	r.wanted.Signal()
	if r.waiters > 0 {
		r.admit.Broadcast()
	}
}

// Reserve is what Admit keeps of the store's last space: bytes.
func (l *Log) Reserve() int64 { return l.reserve.Load() }

// SetReserve changes Options.Reserve and Options.LastReserve: bytes. Who waits for
// room now waits by the old ones.
func (l *Log) SetReserve(reserve, last int64) {
	l.reserve.Store(reserve)
	l.lastReserve.Store(last)
}

// SpaceFreed tells that the store may have more space than when it was asked
// last: who was refused may try again.
func (l *Log) SpaceFreed() {
	space, err := l.store.Space()
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.room.free, l.room.aheadOff = space.Free, false
	l.room.wanted.Signal()
	l.room.done.Broadcast()
}

// Retire takes back a dead segment: one whose every block the caller no longer
// needs, after a crash either. Its file becomes one of the next segments, under
// a new number, or is removed. Busy: the log still uses it.
func (l *Log) Retire(seg uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &l.room
	for (r.making || r.zeros.meet(seg, 0, l.segBlocks)) && !l.stopped {
		r.done.Wait()
	}
	inUse := seg >= l.openSeg
	if live := l.queue.live(); len(live) > 0 {
		inUse = inUse || seg >= live[0].addr.Segment()
	}
	switch {
	case inUse:
		return fail.New(fail.Busy, "segment %d is not behind the log: that writes segment %d", seg, l.openSeg)
	case l.refusal() != nil:
		return l.refusal()
	}
	r.tails = slices.DeleteFunc(r.tails, func(a Addr) bool { return a.Segment() == seg })
	if len(r.ready) < maxReady {
		l.makeAs(true, func(n uint64) error { return l.store.Recycle(seg, n) })
		if r.aheadOff = false; !fail.Is(r.lastErr, fail.NoSpace) {
			return r.lastErr
		} // what was punched out of it cannot be had back
	}
	l.inflight++
	l.mu.Unlock()
	err := l.store.Remove(seg)
	l.mu.Lock()
	l.landed()
	r.aheadOff = false
	return err
}
