package vfs

import (
	"bytes"
	"io"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	memPageSize   = 4096
	memSectorSize = 512
	memFileMax    = 64 << 30 // bytes; keeps the page table of a file small
	allSectors    = 0xff     // of a page
)

// memPage is never changed once it is in a file, so crashes and clones share
// it. nil is a hole.
type memPage [memPageSize]byte

var zeroPage = new(memPage) // allocated, and full of zeros

// memData is the content of a file. pages is what processes see; what would
// survive a power failure follows from it and the changes that are not synced.
type memData struct {
	size        int64
	durableSize int64
	pages       []*memPage
	pagesUsed   int64 // pages that are not holes
	linked      bool  // has a name: its pages count as used space
	unsynced    []pageChange
}

// pageChange is one page of one unsynced write.
//
//	before the write   | prev                                          |
//	after it           | next                                          |
//	sectors            | the ones that the write touched, bit 0 first  |
//
// A durable change is one of WriteDurableAt between unsynced ones: it stays in
// the list since order decides what a sector holds.
type pageChange struct {
	write      uint64 // same for all pages of a write
	index      int
	sectors    uint8
	durable    bool
	prev, next *memPage
}

func (d *memData) page(i int) *memPage {
	if i < len(d.pages) {
		return d.pages[i]
	}
	return nil
}

// put replaces a page and remembers the old one.
func (m *Mem) put(d *memData, i int, sectors uint8, next *memPage) {
	prev := d.page(i)
	m.set(d, i, next)
	d.unsynced = append(d.unsynced, pageChange{uint64(m.ops), i, sectors, false, prev, next})
}

// set replaces a page and counts the space.
func (m *Mem) set(d *memData, i int, next *memPage) {
	var grown int64
	if next != nil {
		grown++
	}
	if d.page(i) != nil {
		grown--
	}
	d.pagesUsed += grown
	if d.linked {
		m.used += grown * memPageSize
	}
	if i >= len(d.pages) {
		if next == nil {
			return
		}
		d.pages = slices.Grow(d.pages, i+1-len(d.pages))[:i+1]
	}
	d.pages[i] = next
}

// room returns ENOSPC if the disk cannot hold the holes of a range.
func (m *Mem) room(d *memData, off, n int64) error {
	if off < 0 || n < 0 {
		return unix.EINVAL
	}
	if off > memFileMax || n > memFileMax-off {
		return unix.EFBIG
	}
	var need int64
	for i := off / memPageSize; i*memPageSize < off+n; i++ {
		if d.page(int(i)) == nil {
			need += memPageSize
		}
	}
	if need > 0 && m.used+need > m.total {
		return unix.ENOSPC
	}
	return nil
}

// write puts p at off; with p nil, n zeros.
func (m *Mem) write(d *memData, p []byte, off, n int64) {
	for done := int64(0); done < n; {
		i, at := int((off+done)/memPageSize), (off+done)%memPageSize
		length := min(n-done, memPageSize-at)
		src := zeroPage[:length]
		if p != nil {
			src = p[done : done+length]
		}
		first, last := at/memSectorSize, (at+length-1)/memSectorSize
		sectors := uint8(allSectors<<first) & uint8(allSectors>>(7-last))
		m.put(d, i, sectors, d.page(i).with(src, at))
		done += length
	}
}

// with returns the page as it is after a write of src at offset at.
func (p *memPage) with(src []byte, at int64) *memPage {
	if len(src) == memPageSize && bytes.Equal(src, zeroPage[:]) {
		return zeroPage
	}
	next := new(memPage)
	if p != nil && len(src) < memPageSize {
		*next = *p
	}
	copy(next[at:], src)
	return next
}

func (m *Mem) truncate(d *memData, size int64) {
	if size < d.size {
		m.discard(d, size, d.size-size)
	}
	d.size = size
}

// discard makes holes of the whole pages in a range and zeros of the rest. The
// last page of a file counts as whole.
func (m *Mem) discard(d *memData, off, n int64) {
	end := min(off+n, d.size)
	for off < end {
		i := int(off / memPageSize)
		next := min(end, int64(i+1)*memPageSize)
		switch whole := off%memPageSize == 0 && (next%memPageSize == 0 || next == d.size); {
		case d.page(i) == nil:
		case whole:
			m.put(d, i, allSectors, nil)
		default:
			m.write(d, nil, off, next-off)
		}
		off = next
	}
}

// memFile is an open file of a Mem.
type memFile struct {
	m        *Mem
	name     string
	data     *memData
	readOnly bool
	closed   atomic.Bool
}

func (f *memFile) Close() error {
	if !f.closed.CompareAndSwap(false, true) {
		return wrap("close", f.name, unix.EBADF)
	}
	return nil
}

func (f *memFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.m.look("read", f.name, func() error {
		if f.closed.Load() {
			return unix.EBADF
		}
		if off < 0 {
			return unix.EINVAL
		}
		n = f.data.read(p, off)
		return nil
	})
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

func (d *memData) read(p []byte, off int64) int {
	if off >= d.size {
		return 0
	}
	p = p[:min(int64(len(p)), d.size-off)]
	for done := 0; done < len(p); {
		at := off + int64(done)
		src := d.page(int(at / memPageSize))
		if src == nil {
			src = zeroPage
		}
		done += copy(p[done:], src[at%memPageSize:])
	}
	return len(p)
}

// Prefetch has nothing to do: it is all memory.
func (f *memFile) Prefetch(int64, int64) {}

func (f *memFile) TryReadAt(p []byte, off int64) (int, bool, error) {
	n, err := f.ReadAt(p, off)
	if err == io.EOF {
		return 0, false, nil
	}
	return n, err == nil, err
}

// change is Mem.change for a file that is open for writing.
func (f *memFile) change(op string, apply func() error, settle func()) error {
	return f.m.change(op, f.name, func() error {
		if f.closed.Load() || f.readOnly {
			return unix.EBADF
		}
		return apply()
	}, settle)
}

func (f *memFile) write(p []byte, off int64) error {
	n := int64(len(p))
	if err := f.m.room(f.data, off, n); err != nil {
		return err
	}
	f.m.write(f.data, p, off, n)
	if n > 0 {
		f.data.size = max(f.data.size, off+n)
	}
	return nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.change("write", func() error { return f.write(p, off) }, nil); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *memFile) WriteDurableAt(p []byte, off int64) error {
	var before int // unsynced changes before this write
	return f.change("write durably", func() error {
		before = len(f.data.unsynced)
		return f.write(p, off)
	}, func() {
		if before == 0 {
			f.data.unsynced = nil
		}
		for i := before; i < len(f.data.unsynced); i++ {
			f.data.unsynced[i].durable = true
		}
		if len(p) > 0 {
			f.data.durableSize = max(f.data.durableSize, off+int64(len(p)))
		}
	})
}

func (f *memFile) Sync() error {
	return f.m.change("sync", f.name, func() error {
		if f.closed.Load() {
			return unix.EBADF
		}
		return nil
	}, func() {
		f.data.unsynced = nil
		f.data.durableSize = f.data.size
	})
}

// Allocate fills holes with zeros that are durable at once: no reader can tell
// them from a hole, only the space that is left can.
func (f *memFile) Allocate(off, n int64) error {
	return f.change("allocate", func() error { return f.allocate(off, n) }, nil)
}

// allocate needs Mem.mu.
func (f *memFile) allocate(off, n int64) error {
	if err := f.m.room(f.data, off, n); err != nil {
		return err
	}
	for i := off / memPageSize; i*memPageSize < off+n; i++ {
		if f.data.page(int(i)) == nil {
			f.m.set(f.data, int(i), zeroPage)
		}
	}
	if n > 0 {
		f.data.size = max(f.data.size, off+n)
	}
	return nil
}

// Zero implements File: nobody else gets the space in between.
func (f *memFile) Zero(off, n int64) error {
	return f.change("zero", func() error {
		if off < 0 || n < 0 || off+n > f.data.size {
			return unix.EINVAL
		}
		if err := f.m.room(f.data, off, n); err != nil {
			return err
		}
		f.m.discard(f.data, off, n)
		return f.allocate(off, n)
	}, nil)
}

func (f *memFile) PunchHole(off, n int64) error {
	return f.change("punch a hole in", func() error {
		if off < 0 || n < 0 {
			return unix.EINVAL
		}
		f.m.discard(f.data, off, min(n, memFileMax))
		return nil
	}, nil)
}

func (f *memFile) Truncate(size int64) error {
	return f.change("truncate", func() error {
		if size < 0 {
			return unix.EINVAL
		}
		if size > memFileMax {
			return unix.EFBIG
		}
		f.m.truncate(f.data, size)
		return nil
	}, nil)
}

func (f *memFile) Size() (size int64, err error) {
	err = f.m.look("size of", f.name, func() error {
		if f.closed.Load() {
			return unix.EBADF
		}
		size = f.data.size
		return nil
	})
	return size, err
}
