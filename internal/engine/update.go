package engine

import (
	"sync"

	"varve/internal/fail"
)

// MaxUpdate bounds what Update changes in one step: bytes.
const MaxUpdate = 512 << 10

// update is the memory of one Update, pooled.
type update struct {
	buf    []byte
	bufs   [1][]byte
	expect []Expect
}

var updates = sync.Pool{New: func() any { return new(update) }}

// Update changes the bytes [off, off+n) of a volume, at most MaxUpdate, in one
// step: change is given what is there, and changes it in place. Nobody reads a
// part of the result, and no other write comes between what change saw and what
// it left: where one did, change runs again on what is there then. Where it
// returns false nothing is written. As durable as Write.
func (h *Head) Update(off, n uint64, change func(p []byte) bool) error {
	if n == 0 || n > MaxUpdate {
		return fail.New(fail.TooBig, "%d bytes in one step; 1 to %d are possible", n, MaxUpdate)
	}
	u := updates.Get().(*update)
	defer updates.Put(u)
	first, end := off/BlockSize, (off+n+BlockSize-1)/BlockSize
	if need := int(end-first) * BlockSize; cap(u.buf) < need {
		u.buf = make([]byte, need)
	}
	u.buf = u.buf[:(end-first)*BlockSize]
	u.bufs[0] = u.buf
	for {
		if err := h.readExpecting(u, first, end); err != nil {
			return err
		}
		if in := off - first*BlockSize; !change(u.buf[in : in+n]) {
			return nil
		}
		if err := h.Write(off, n, u.bufs[:], u.expect); err != errMerge {
			return err
		}
	}
}

// readExpecting reads the blocks [first, end), and notes where they lie.
func (h *Head) readExpecting(u *update, first, end uint64) error {
	r := readers.Get().(*reader)
	defer readers.Put(r)
	if err := h.locate(r, 0, first, end); err != nil {
		return err
	}
	u.expect = u.expect[:0]
	for b := first; b < end; b++ {
		u.expect = append(u.expect, Expect{Block: b})
	}
	for _, x := range r.runs {
		for i := range x.n {
			u.expect[x.block-first+i].Addr = x.addr + i
		}
	}
	_, err := r.fill(h.e, u.buf, first*BlockSize, nil, true)
	return err
}
