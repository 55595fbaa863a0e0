// Package tree is a copy-on-write B+tree: keys of 16 bytes, values of up to
// MaxValue bytes, in nodes that are flat pages outside the Go heap, searched
// in place. It knows no policy and no disk: nodes come from a Source and go
// where WriteOut's put brings them.
//
// A Tree is changed; Freeze makes what it is at a moment a Version, which
// never changes, in constant time. Pages are shared by all trees and versions
// that contain them, and copied by a tree before it changes them. WriteOut
// brings the pages of versions to the disk, once each; from then on they are
// found by address, and may be evicted.
//
// Reading and Prepare never wait for the disk unless asked to: they fail with
// a *Miss, which is handed to Cache.Load outside the caller's locks.
package tree

import "sync/atomic"

// A Tree is a tree that can be changed. Those who read it may run together;
// those who change it (Prepare and PrepareRange do) exclude them and each
// other by a lock of the caller. Different trees are independent, also when
// they share pages.
type Tree struct {
	c     *Cache
	root  link
	gen   *generation // the open one: its pages may be changed in place
	last  *Version    // what the tree still equals; nil once it was changed
	empty []Key       // keys in leaves that deletions left empty
	drops dropList
	wait  atomic.Bool

	moment  uint64 // of the last Freeze
	scratch page   // what a leaf was, while it is being rebuilt
}

// Open returns a tree that begins as the one at r, which may be empty.
func (c *Cache) Open(r Ref) *Tree {
	v := c.OpenVersion(r)
	defer v.Close()
	return c.OpenRoot(v)
}

// OpenRoot returns a tree that begins as v: a clone, or an overlay to replay
// into. The caller may close v right away.
func (c *Cache) OpenRoot(v *Version) *Tree {
	defer leave(c.epoch.enter())
	return &Tree{
		c:      c,
		root:   c.resolve(&v.root, true),
		gen:    c.newGeneration(),
		last:   v.Retain(),
		moment: v.moment,
	}
}

// Get looks k up as Reader.Get does. It fails with a Miss instead of waiting
// for the disk, unless Blocking is on.
func (t *Tree) Get(k Key, dst []byte) (val []byte, ok bool, err error) {
	return t.reader().Get(k, dst)
}

// Scan goes through [lo, hi) as Reader.Scan does. It fails with a Miss
// instead of waiting for the disk, unless Blocking is on.
func (t *Tree) Scan(lo, hi Key, fn func(k Key, v []byte) bool) error {
	return t.reader().Scan(lo, hi, fn)
}

// ScanOver goes through [floor, hi) as Reader.ScanOver does, and fails with a
// Miss as Scan does.
func (t *Tree) ScanOver(floor, lo, hi Key, fn func(k Key, v []byte) bool) error {
	return t.reader().ScanOver(floor, lo, hi, fn)
}

func (t *Tree) reader() Reader { return Reader{c: t.c, root: &t.root, wait: t.wait.Load()} }

// Blocking says whether Get, Scan, Prepare and PrepareRange wait for the disk
// from now on, instead of failing with a Miss.
func (t *Tree) Blocking(on bool) { t.wait.Store(on) }

// Freeze makes everything that t contains immutable and returns a handle to
// it. The moment becomes the birth of its new nodes, and the death of those
// that t stopped using since the last Freeze; it must not be lower than the
// last one. Without a change since then, the same version is returned, with
// its own moment. What was prepared has to be prepared again.
//
// It takes constant time, apart from leaves that deletions left empty.
func (t *Tree) Freeze(moment uint64) *Version {
	if t.last != nil {
		return t.last.Retain()
	}
	if moment < t.moment {
		panic("tree: moments of a tree must rise")
	}
	t.moment = moment
	t.sweep()
	t.c.endGeneration(t.gen, moment)
	t.gen = t.c.newGeneration()
	t.drops.freeze(moment)

	defer leave(t.c.epoch.enter())
	v := t.c.newVersion(t.c.resolve(&t.root, true), moment)
	t.last = v.Retain()
	return v
}

// Close frees the pages that only t holds. Drops not yet taken are lost.
func (t *Tree) Close() {
	t.changed()
	if t.root.addr&memoryBit != 0 {
		t.c.release(t.root.addr)
	}
	t.root = link{}
	t.c.endGeneration(t.gen, 0)
}

// changed notes that t no longer equals its last version.
func (t *Tree) changed() {
	if t.last != nil {
		t.last.Close()
		t.last = nil
	}
}

// owns reports whether a link leads to a page that t may change in place.
func (t *Tree) owns(l *link) bool {
	return l.addr&memoryBit != 0 && t.c.meta(uint32(l.addr)).gen == t.gen.id
}

// Prepare makes every page on the paths to the leaves that overlap [lo, hi)
// resident and writable, so that Put, Delete and DeleteRange there cannot
// fail. The leaf of lo is always among them: Prepare(k, k) is enough for k.
// The pages stay writable until the next Freeze. After a Miss, load and call
// it again; what it did so far remains, and changes nothing that can be read.
func (t *Tree) Prepare(lo, hi Key) error {
	for k := lo; ; {
		upper, err := t.ownPath(k)
		if err != nil {
			return err
		}
		if !upper.Less(hi) {
			return nil
		}
		k = upper
	}
}

// PrepareRange makes the paths to the first and to the last leaf that overlap
// [lo, hi) resident and writable: what DeleteRange(lo, hi) needs, and Put into
// [lo, hi) after it.
func (t *Tree) PrepareRange(lo, hi Key) error {
	if !lo.Less(hi) {
		return nil
	}
	if _, err := t.ownPath(lo); err != nil {
		return err
	}
	_, err := t.ownPath(hi.prev())
	return err
}

// ownPath makes the path to the leaf of k writable and returns where the next
// leaf begins, MaxKey after the last one.
func (t *Tree) ownPath(k Key) (upper Key, err error) {
	for {
		upper, err = t.tryOwnPath(k)
		if err == nil || !t.wait.Load() {
			return upper, err
		}
		if again, err := t.c.waited(err); !again {
			return upper, err
		}
	}
}

func (t *Tree) tryOwnPath(k Key) (upper Key, err error) {
	defer leave(t.c.epoch.enter())
	upper = MaxKey
	hi, lo := k.Split()
	for l, level := &t.root, -1; l.addr != 0; {
		p, err := t.own(l, level)
		if err != nil {
			return upper, err
		}
		if level = p.level() - 1; level < 0 {
			break
		}
		i := p.childFor(hi, lo)
		if i+1 < p.count() {
			upper = p.sep(i + 1)
		}
		l = p.link(i)
	}
	return upper, nil
}

// own makes the page that a link of a writable page leads to writable, by
// copying it if it is not, and returns it. level is what its level must be,
// or -1. The caller has entered the epoch.
func (t *Tree) own(l *link, level int) (*page, error) {
	old := *l
	id, err := t.c.resident(l, old.addr)
	if err != nil {
		return nil, err
	}
	p := t.c.page(id)
	if level >= 0 && p.level() != level {
		return nil, wrongLevel(old.addr, p.level(), level)
	}
	if t.owns(l) {
		return p, nil
	}
	t.changed()
	to, dst := t.c.alloc(t.gen)
	t.c.copyPage(dst, id)
	t.c.meta(id).use.Store(0) // from now on only older versions want it
	*l = link{addr: memoryAddr(to)}
	t.drop(old)
	return dst, nil
}
