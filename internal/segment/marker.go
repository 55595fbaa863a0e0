package segment

import "time"

// A frame cannot attest that it is durable itself: the next one does. When the
// log falls idle, a marker does: a frame of one block that holds nothing but a
// header with a newer durable-through. Without it, damage to the last
// acknowledged frame could not be told from a write that a crash tore.
type markerState struct {
	timer *time.Timer
	armed bool
	last  time.Time // of the last sync
}

// markable reports whether a marker would attest anything: all is durable and
// the last frame is no marker. mu is held.
func (l *Log) markable() bool {
	return l.empty() && l.durable == l.last.Seq && l.lastKind != FrameMarker && l.err == nil && !l.stopped
}

// armMarker sets the timer after a sync. mu is held.
func (l *Log) armMarker() {
	if l.opts.MarkerDelay < 0 || l.marker.timer == nil {
		return
	}
	l.marker.last = time.Now()
	if !l.marker.armed && l.markable() {
		l.marker.armed = true
		l.marker.timer.Reset(l.opts.MarkerDelay)
	}
}

// markerDue is called by the timer. If the log was busy since, it sets the
// timer again, or leaves that to the next sync.
func (l *Log) markerDue() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.marker.armed = false
	if !l.markable() || l.syncing {
		return
	}
	if rest := l.opts.MarkerDelay - time.Since(l.marker.last); rest > 0 {
		l.marker.armed = true
		l.marker.timer.Reset(rest)
		return
	}
	_ = l.mark() // a failure has stopped the log, which the next caller is told
}

// mark writes a marker if it would attest anything and there is room for it
// without waiting. mu is held.
func (l *Log) mark() error {
	for l.syncing && l.err == nil {
		l.rounds[(l.round+1)%2].Wait()
	}
	if !l.markable() {
		return l.err
	}
	if !l.fits(0, -1) {
		if len(l.room.ready) == 0 {
			return nil
		}
		l.enterSegment()
	}
	l.takeToken()
	l.seal(FrameMarker, [16]byte{})
	l.goal = l.last.Seq
	l.makeDurable(l.goal)
	l.passToken()
	return l.err
}
