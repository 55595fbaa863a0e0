package engine

import (
	"sync"

	"varve/internal/fail"
)

// edges is the memory for the first and last block of an unaligned write.
type edges struct {
	head, tail [BlockSize]byte
	bufs       [3][]byte
	expect     [2]Expect
}

var edgePool = sync.Pool{New: func() any { return new(edges) }}

// WriteAt writes p, at most MaxWrite, at byte off of a volume: the edge blocks
// are read, merged, and written on the condition that they are still what was
// read. As durable as Write.
func (h *Head) WriteAt(p []byte, off uint64) error {
	e := edgePool.Get().(*edges)
	defer edgePool.Put(e)
	for {
		bufs, expect, err := h.merge(e, 0, p, off)
		if err != nil {
			return err
		}
		if err = h.Write(off, uint64(len(p)), bufs, expect); err != errMerge {
			return err
		}
		// Another write got into the same block first: take its bytes in.
	}
}

// merge makes whole blocks of p, bytes at off of file ino, by reading what
// surrounds it. The blocks are good as long as expect holds.
func (h *Head) merge(e *edges, ino uint64, p []byte, off uint64) ([][]byte, []Expect, error) {
	bufs, expect := e.bufs[:0], e.expect[:0]
	if in := off % BlockSize; in != 0 || len(p) < BlockSize {
		addr, err := h.readBlock(ino, off/BlockSize, e.head[:])
		if err != nil {
			return nil, nil, err
		}
		expect = append(expect, Expect{Block: off / BlockSize, Addr: addr})
		n := copy(e.head[in:], p)
		bufs = append(bufs, e.head[:])
		p, off = p[n:], off+uint64(n)
	}
	if n := len(p) / BlockSize * BlockSize; n > 0 {
		bufs = append(bufs, p[:n])
		p, off = p[n:], off+uint64(n)
	}
	if len(p) > 0 {
		addr, err := h.readBlock(ino, off/BlockSize, e.tail[:])
		if err != nil {
			return nil, nil, err
		}
		expect = append(expect, Expect{Block: off / BlockSize, Addr: addr})
		copy(e.tail[:], p)
		bufs = append(bufs, e.tail[:])
	}
	return bufs, expect, nil
}

// cutEdge returns the last block of file ino, zero from size on, if size ends
// inside a block with payload.
func (h *Head) cutEdge(e *edges, ino, size uint64) ([][]byte, []Expect, error) {
	in := size % BlockSize
	if in == 0 {
		return nil, nil, nil
	}
	addr, err := h.readBlock(ino, size/BlockSize, e.head[:])
	if err != nil {
		return nil, nil, err
	}
	expect := append(e.expect[:0], Expect{Block: size / BlockSize, Addr: addr})
	if addr == 0 {
		return nil, expect, nil
	}
	clear(e.head[in:])
	return append(e.bufs[:0], e.head[:]), expect, nil
}

var errNoFile = fail.New(fail.Invalid, "not a share").WithHint("it is a volume: use NBD or iSCSI")
