package segment

// zeros is where zeros are on their way to the store: the blocks [from, to) of
// segment seg; none if to is 0. Only the provisioner sends any. Who is about to
// write there, or to use the segment's file for another, waits until they have
// come, so that they do not come after what belongs there. Log.mu guards it.
type zeros struct {
	seg      uint64
	from, to int
}

// meet reports whether zeros are on their way to some of the blocks [from, to).
func (z *zeros) meet(seg uint64, from, to int) bool {
	return seg == z.seg && from < z.to && z.from < to
}

// zero clears p and writes it to a segment, from a block on. mu is held, and let go
// meanwhile.
func (l *Log) zero(seg uint64, from int, p []byte) error {
	z := &l.room.zeros
	*z = zeros{seg, from, from + len(p)/BlockSize}
	l.inflight++
	l.mu.Unlock()
	clear(p)
	err := l.store.WriteAt(seg, p, int64(from)*BlockSize)
	l.mu.Lock()
	*z = zeros{}
	l.landed()
	l.room.done.Broadcast()
	return err
}

// awaitZeros waits until none are on their way to the blocks of a frame. mu is held,
// and let go meanwhile.
func (l *Log) awaitZeros(a Addr, blocks int) {
	from := int(a.Block())
	for l.room.zeros.meet(a.Segment(), from, from+blocks) {
		l.wrote.Wait()
	}
}
