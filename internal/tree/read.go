package tree

import "varve/internal/fail"

// descend returns the leaf where the key (hi, lo) belongs, nil in an empty
// tree. If upper is not nil, it receives the lowest separator above the key,
// if there is one: the keys from there on are in later leaves. The caller has
// entered the epoch.
func (c *Cache) descend(root *link, hi, lo uint64, upper *Key) (*page, error) {
	l, level := root, -1
	for {
		addr := l.load()
		if addr == 0 {
			return nil, nil
		}
		id, err := c.resident(l, addr)
		if err != nil {
			return nil, err
		}
		p := c.page(id)
		if level >= 0 && p.level() != level {
			return nil, wrongLevel(addr, p.level(), level)
		}
		if level = p.level() - 1; level < 0 {
			return p, nil
		}
		i := p.childFor(hi, lo)
		if upper != nil && i+1 < p.count() {
			*upper = p.sep(i + 1)
		}
		l = p.link(i)
	}
}

// resident returns the page that a link leads to, or a Miss. addr is what the
// link was loaded to be. The caller has entered the epoch.
func (c *Cache) resident(l *link, addr uint64) (uint32, error) {
	if addr&memoryBit != 0 {
		return uint32(addr), nil
	}
	id, ok := c.find(addr)
	if !ok {
		return 0, &Miss{addr: addr, crc: l.crc}
	}
	m := c.meta(id)
	if c.page(id).level() == 0 {
		m.touch(useLeaf)
	} else {
		m.touch(useInner)
	}
	return id, nil
}

func wrongLevel(addr uint64, got, want int) error {
	return corrupt(addr, fail.New(fail.Corrupt, "level %d where %d belongs", got, want))
}

// A Reader reads one tree or version. The one that Version.Blocking gives
// waits for the disk; it is valid until the version is closed.
type Reader struct {
	c    *Cache
	root *link
	wait bool
	lost func(error) bool
}

// Past returns a reader whose scans leave out a node that cannot be read, and all
// below it, where lost says to go on after its error.
func (r Reader) Past(lost func(error) bool) Reader {
	r.lost = lost
	return r
}

// Get looks k up. It returns the value in the memory of dst, from its
// beginning, if it fits there, and whether there is one.
func (r Reader) Get(k Key, dst []byte) (val []byte, ok bool, err error) {
	hi, lo := k.Split()
	for {
		val, ok, err = r.get(hi, lo, dst)
		if err == nil || !r.wait {
			return val, ok, err
		}
		if again, err := r.c.waited(err); !again {
			return nil, false, err
		}
	}
}

func (r Reader) get(hi, lo uint64, dst []byte) ([]byte, bool, error) {
	t := r.c.epoch.enter()
	p, err := r.c.descend(r.root, hi, lo, nil)
	if p == nil {
		leave(t)
		return dst[:0], false, err
	}
	i, ok := p.find(hi, lo)
	dst = dst[:0]
	if ok {
		dst = append(dst, p.value(i)...)
	}
	leave(t)
	return dst, ok, nil
}

// Scan calls fn for the entries in [lo, hi), in order, until it returns
// false. v is valid during the call only. fn must be brief: while it runs no
// memory of any tree of the cache is reused; and it must not change the tree.
// After a Miss the caller may resume after the last key that fn saw.
func (r Reader) Scan(lo, hi Key, fn func(k Key, v []byte) bool) error {
	return r.ScanOver(lo, lo, hi, fn)
}

// ScanOver is Scan of [lo, hi) that begins with the last entry in [floor, lo],
// for entries that are ranges and may reach over lo. It may call fn for a few
// more of those before lo.
func (r Reader) ScanOver(floor, lo, hi Key, fn func(k Key, v []byte) bool) error {
	for from, more := floor, floor.Less(hi); more; {
		next, goOn, err := r.scanLeaf(from, lo, hi, fn)
		if err != nil && r.wait {
			var again bool
			if again, err = r.c.waited(err); again {
				continue
			}
		}
		if err != nil && r.lost != nil && r.lost(err) {
			goOn, err = true, nil
		}
		if err != nil {
			return err
		}
		from, more = next, goOn && next.Less(hi)
	}
	return nil
}

// scanLeaf scans one leaf and returns where the next one begins, after an error
// the one behind all that could not be read. Of the entries up to over it takes the
// last one only.
func (r Reader) scanLeaf(from, over, to Key, fn func(Key, []byte) bool) (next Key, more bool, err error) {
	defer leave(r.c.epoch.enter())
	next = MaxKey
	hi, lo := from.Split()
	p, err := r.c.descend(r.root, hi, lo, &next)
	if p == nil {
		return next, false, err
	}
	i, _ := p.find(hi, lo)
	if from.Less(over) {
		j, found := p.find(over.Split())
		if !found {
			j--
		}
		i = max(i, j)
	}
	for n := p.count(); i < n; i++ {
		k := p.leafKey(i)
		if !k.Less(to) || !fn(k, p.value(i)) {
			return next, false, nil
		}
	}
	return next, true, nil
}
