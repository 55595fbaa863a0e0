package tree

import "sync/atomic"

// A Version is an immutable tree: what a Tree was at a Freeze, or what a Ref
// on disk leads to. Any number of goroutines may read it, also while trees
// that share its pages are changed or written out. It counts handles; its
// pages stay at least until the last one is closed.
type Version struct {
	c       *Cache
	root    link // patched by WriteOut
	moment  uint64
	handles atomic.Int64
}

// OpenVersion returns a handle to a tree on disk. Its moment is the birth of
// its root.
func (c *Cache) OpenVersion(r Ref) *Version {
	return c.newVersion(refLink(r), r.Birth)
}

func (c *Cache) newVersion(root link, moment uint64) *Version {
	v := &Version{c: c, root: root, moment: moment}
	v.handles.Store(1)
	return v
}

// Get looks k up as Reader.Get does; it fails with a Miss instead of waiting
// for the disk.
func (v *Version) Get(k Key, dst []byte) (val []byte, ok bool, err error) {
	return v.reader(false).Get(k, dst)
}

// Scan goes through [lo, hi) as Reader.Scan does; it fails with a Miss
// instead of waiting for the disk.
func (v *Version) Scan(lo, hi Key, fn func(k Key, v []byte) bool) error {
	return v.reader(false).Scan(lo, hi, fn)
}

// ScanOver goes through [floor, hi) as Reader.ScanOver does; it fails with a
// Miss instead of waiting for the disk.
func (v *Version) ScanOver(floor, lo, hi Key, fn func(k Key, v []byte) bool) error {
	return v.reader(false).ScanOver(floor, lo, hi, fn)
}

// Blocking returns a reader that waits for the disk where it must.
func (v *Version) Blocking() Reader { return v.reader(true) }

func (v *Version) reader(wait bool) Reader { return Reader{c: v.c, root: &v.root, wait: wait} }

// Ref returns the disk reference of the root once it is written; the empty
// tree needs no writing.
func (v *Version) Ref() (Ref, bool) {
	defer leave(v.c.epoch.enter())
	l := v.c.resolve(&v.root, false)
	if l.addr&memoryBit != 0 {
		return Ref{}, false
	}
	return Ref{Addr: l.addr, Birth: l.birth, CRC: l.crc}, true
}

// Moment returns the moment of the Freeze that made the version.
func (v *Version) Moment() uint64 { return v.moment }

// Retain adds a handle.
func (v *Version) Retain() *Version {
	if v.handles.Add(1) <= 1 {
		panic("tree: handle to a closed version")
	}
	return v
}

// Close gives a handle back. The last one frees the pages that are not on
// disk and that nothing else holds.
func (v *Version) Close() {
	n := v.handles.Add(-1)
	if n < 0 {
		panic("tree: version closed twice")
	}
	if a := v.root.load(); n == 0 && a&memoryBit != 0 {
		v.c.release(a)
	}
}
