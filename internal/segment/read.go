package segment

import "varve/internal/fail"

// ReadAt reads len(p)/BlockSize payload blocks from a on, contiguous blocks of
// one segment: from memory what is not written yet, else from the store, for
// which it may wait. It verifies nothing: whoever knows the address holds the
// checksums. It works after the log has stopped. Errors: Invalid, Corrupt for
// blocks beyond the segment, and those of the store.
func (l *Log) ReadAt(a Addr, p []byte) error {
	_, err := l.read(a, p, l.mustRead)
	return err
}

// TryReadAt is ReadAt that never waits for the disk: ok is false, and p
// undefined, if it would have to.
func (l *Log) TryReadAt(a Addr, p []byte) (ok bool, err error) {
	return l.read(a, p, l.store.TryReadAt)
}

// OnDisk reports whether n blocks from a on are blocks of one segment, and all
// written.
func (l *Log) OnDisk(a Addr, n int) bool {
	return uint64(a)+uint64(n) <= l.memLow.Load() && int(a.Block())+n <= l.segBlocks
}

// Prefetch says that n blocks from a on, of one segment, will be read soon. It does
// nothing where they are not OnDisk.
func (l *Log) Prefetch(a Addr, n int) {
	if l.OnDisk(a, n) {
		l.store.Prefetch(a.Segment(), a.offset(), int64(n)*BlockSize)
	}
}

func (l *Log) mustRead(n uint64, p []byte, off int64) (bool, error) {
	err := l.store.ReadAt(n, p, off)
	return err == nil, err
}

func (l *Log) read(a Addr, p []byte, read func(n uint64, p []byte, off int64) (bool, error)) (bool, error) {
	if a.Segment() == 0 || len(p)%BlockSize != 0 {
		return false, fail.New(fail.Invalid, "no blocks: %d bytes at %v", len(p), a)
	}
	if int(a.Block())+len(p)/BlockSize > l.segBlocks {
		return false, fail.New(fail.Corrupt, "segment %d has %d blocks; asked for %d at %d", a.Segment(), l.segBlocks, len(p)/BlockSize, a.Block())
	}
	for len(p) > 0 {
		n, copied := len(p), false
		if uint64(a)+uint64(len(p)/BlockSize) > l.memLow.Load() {
			var err error
			if n, copied, err = l.fromMemory(a, p); err != nil {
				return false, err
			}
		}
		if !copied {
			if ok, err := read(a.Segment(), p[:n], a.offset()); !ok {
				return false, err
			}
		}
		p = p[n:]
		a += Addr(n / BlockSize)
	}
	return true, nil
}

// fromMemory tells how many bytes at the front of p come from one place: from
// the log's memory, then they have been copied, or from the store.
func (l *Log) fromMemory(a Addr, p []byte) (n int, copied bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped && uint64(a) >= l.memLow.Load() {
		return 0, false, errClosed
	}
	for seq := l.written + 1; seq < l.openSeq; seq++ {
		f := l.queue.at(seq)
		if f.buf == nil || a >= f.addr+Addr(f.blocks) {
			continue
		}
		n, copied = overlap(a, p, f.addr, f.buf)
		return n, copied, nil
	}
	if !l.empty() {
		n, copied = overlap(a, p, l.openAddr(), l.openBuf[:(1+l.payload)*BlockSize])
		return n, copied, nil
	}
	return len(p), false, nil
}

// overlap copies the front of p, which starts at a, out of a frame that starts
// at start and does not end before a; or tells how much of it lies before the
// frame.
func overlap(a Addr, p []byte, start Addr, frame []byte) (n int, copied bool) {
	if a < start {
		return int(min(uint64(len(p)), uint64(start-a)*BlockSize)), false
	}
	off := uint64(a-start) * BlockSize
	if off >= uint64(len(frame)) {
		return len(p), false
	}
	return copy(p, frame[off:]), true
}

// raiseMemLow follows the frames that have been written. mu is held.
func (l *Log) raiseMemLow() {
	low := l.openAddr()
	if l.written+1 < l.openSeq {
		low = l.queue.at(l.written + 1).addr
	}
	l.memLow.Store(uint64(low))
}
