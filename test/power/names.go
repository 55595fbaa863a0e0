package power

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"

	nfs "varve/test/nfsclient"
)

// tree is what the client knows of the names of a share: every answered change
// is in it, and every change that was sent and not answered is held aside. No
// two requests that are under way touch one name or one object, so that after a
// kill each of those was done, or not, whatever became of the others.
type tree struct {
	mu     sync.Mutex
	dirs   []nfs.FH
	slots  []*object // dirs x names; nil: no such name
	held   []bool    // by a request that is under way
	nextID uint32
	done   map[string]int // answered changes, by name
	open   map[*change]bool
}

// namesPerDir is how many names there are in each directory.
const namesPerDir = 40

// object is what names lead to. Its owner is its identity, its group counts how
// often its attributes were set.
type object struct {
	id      uint32
	version uint32
	kind    nfs.Type
	fh      nfs.FH
	held    bool
}

// change is one request, and what it does to the tree.
type change struct {
	what    string
	xid     uint32
	set     []assignment
	changed *object // by SETATTR
	objects []*object
	call    func(nfs.Client) (nfs.Outcome, nfs.FH) // FH: of a new object
	applied bool                                   // to the tree
}

// assignment is a name that comes to lead elsewhere.
type assignment struct {
	slot     int
	from, to *object
}

func newTree(dirs []nfs.FH) *tree {
	n := len(dirs) * namesPerDir
	return &tree{dirs: dirs, slots: make([]*object, n), held: make([]bool, n), done: map[string]int{}, open: map[*change]bool{}}
}

func (t *tree) place(slot int) (nfs.FH, string) {
	return t.dirs[slot/namesPerDir], fmt.Sprintf("n%02d", slot%namesPerDir)
}

// next chooses a change and holds all it touches.
func (t *tree) next(rng *rand.Rand, xid uint32) *change {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		a, b := rng.IntN(len(t.slots)), rng.IntN(len(t.slots))
		if a == b || t.held[a] || t.held[b] || t.slots[a] != nil && t.slots[a].held || t.slots[b] != nil && t.slots[b].held {
			continue
		}
		c := t.pick(rng, a, b)
		if c == nil {
			continue
		}
		c.xid = xid
		t.hold(c, true)
		t.open[c] = true
		return c
	}
}

func (t *tree) hold(c *change, held bool) {
	for _, s := range c.set {
		t.held[s.slot] = held
	}
	for _, o := range c.objects {
		o.held = held
	}
}

// pick makes a change of two names that are free to use, or none.
func (t *tree) pick(rng *rand.Rand, a, b int) *change {
	old, other := t.slots[a], t.slots[b]
	dir, name := t.place(a)
	dir2, name2 := t.place(b)
	rename := func() *change {
		return &change{what: "RENAME", set: []assignment{{a, old, nil}, {b, other, old}}, objects: present(old, other),
			call: func(c nfs.Client) (nfs.Outcome, nfs.FH) { return c.Rename(dir, name, dir2, name2).Outcome, "" }}
	}
	switch {
	case old == nil:
		return t.make(rng, a)
	case other == nil && rng.IntN(3) == 0:
		return rename()
	case other == nil && rng.IntN(3) == 0 && old.kind != nfs.Dir:
		return &change{what: "LINK", set: []assignment{{b, nil, old}}, objects: []*object{old},
			call: func(c nfs.Client) (nfs.Outcome, nfs.FH) { return c.Link(old.fh, dir2, name2).Outcome, "" }}
	case other != nil && other != old && (old.kind == nfs.Dir) == (other.kind == nfs.Dir) && rng.IntN(2) == 0:
		return rename()
	case rng.IntN(3) == 0:
		to := nfs.Owner(old.id, old.version+1)
		return &change{what: "SETATTR", changed: old, objects: []*object{old},
			call: func(c nfs.Client) (nfs.Outcome, nfs.FH) { return c.Setattr(old.fh, to, nil).Outcome, "" }}
	case old.kind == nfs.Dir:
		return &change{what: "RMDIR", set: []assignment{{a, old, nil}}, objects: []*object{old},
			call: func(c nfs.Client) (nfs.Outcome, nfs.FH) { return c.Rmdir(dir, name).Outcome, "" }}
	}
	return &change{what: "REMOVE", set: []assignment{{a, old, nil}}, objects: []*object{old},
		call: func(c nfs.Client) (nfs.Outcome, nfs.FH) { return c.Remove(dir, name).Outcome, "" }}
}

func present(objects ...*object) (list []*object) {
	for _, o := range objects {
		if o != nil {
			list = append(list, o)
		}
	}
	return list
}

// make makes a new object of some type.
func (t *tree) make(rng *rand.Rand, slot int) *change {
	t.nextID++
	o := &object{id: t.nextID, version: 1}
	dir, name := t.place(slot)
	as := nfs.Owner(o.id, o.version).WithMode(0o640)
	c := &change{set: []assignment{{slot, nil, o}}, objects: []*object{o}}
	made := func(call func(nfs.Client) nfs.MakeRes) {
		c.call = func(c nfs.Client) (nfs.Outcome, nfs.FH) {
			r := call(c)
			return r.Outcome, r.FH
		}
	}
	switch rng.IntN(6) {
	case 0:
		c.what, o.kind = "MKDIR", nfs.Dir
		made(func(c nfs.Client) nfs.MakeRes { return c.Mkdir(dir, name, as) })
	case 1:
		c.what, o.kind = "SYMLINK", nfs.Lnk
		made(func(c nfs.Client) nfs.MakeRes { return c.Symlink(dir, name, fmt.Sprint("to ", o.id), as) })
	case 2:
		c.what, o.kind = "MKNOD", nfs.Fifo
		made(func(c nfs.Client) nfs.MakeRes { return c.Mknod(dir, name, nfs.Fifo, as, 0, 0) })
	default:
		c.what, o.kind = "CREATE", nfs.Reg
		made(func(c nfs.Client) nfs.MakeRes { return c.CreateGuarded(dir, name, as) })
	}
	return c
}

// answered puts a change into the tree.
func (t *tree) answered(c *change, fh nfs.FH) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.apply(c, true)
	if fh != "" {
		c.set[0].to.fh = fh
	}
	t.settled(c)
	t.done[c.what]++
}

func (t *tree) settled(c *change) {
	t.hold(c, false)
	delete(t.open, c)
}

// apply does a change, or takes it back.
func (t *tree) apply(c *change, do bool) {
	if c.applied == do {
		return
	}
	c.applied = do
	for _, s := range c.set {
		if t.slots[s.slot] = s.from; do {
			t.slots[s.slot] = s.to
		}
	}
	switch {
	case c.changed == nil:
	case do:
		c.changed.version++
	default:
		c.changed.version--
	}
}

// seen is what a name was found to lead to.
type seen struct {
	kind        nfs.Type
	id, version uint32
	nlink       uint32
	fh          nfs.FH
	size        uint64
}

// found is the names of a share as a restarted server shows them.
type found map[int]seen

// judge compares what was found with the tree: all that was answered is there,
// each request that was not was done wholly or not at all. It takes what was
// found into the tree, and returns the unanswered requests.
func (t *tree) judge(f found) ([]*change, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var faults []error
	var open []*change
	for c := range t.open {
		open = append(open, c)
		without := t.same(f, t.touched(c))
		t.apply(c, true)
		with := t.same(f, t.touched(c))
		if with == nil {
			continue
		}
		t.apply(c, false)
		if without != nil {
			faults = append(faults, fmt.Errorf("%s, which was not answered, is neither done (%w) nor undone (%w)", c, with, without))
		}
	}
	all := make(map[int]bool)
	for slot := range t.slots {
		all[slot] = true
	}
	if err := t.same(f, all); err != nil {
		faults = append(faults, err)
	}
	for slot, o := range t.slots {
		if o != nil && o.fh == "" {
			o.fh = f[slot].fh
		}
	}
	return open, errors.Join(faults...)
}

func (c *change) String() string {
	var slots []string
	for _, s := range c.set {
		slots = append(slots, fmt.Sprint(s.slot))
	}
	return fmt.Sprintf("%s of names %s", c.what, strings.Join(slots, " and "))
}

// touched is all names whose look a change may alter: its own, and all of the
// objects that get or lose links.
func (t *tree) touched(c *change) map[int]bool {
	list := map[int]bool{}
	for _, s := range c.set {
		list[s.slot] = true
	}
	for slot, o := range t.slots {
		for _, x := range c.objects {
			if o == x {
				list[slot] = true
			}
		}
	}
	return list
}

// same compares names with what was found.
func (t *tree) same(f found, slots map[int]bool) error {
	links := map[*object]uint32{}
	for _, o := range t.slots {
		links[o]++
	}
	for slot := range slots {
		o, s, is := t.slots[slot], seen{}, false
		if s, is = f[slot]; o == nil && !is {
			continue
		}
		switch {
		case o == nil:
			return fmt.Errorf("name %d leads to object %d, and should not be there", slot, s.id)
		case !is:
			return fmt.Errorf("name %d, of object %d, is not there", slot, o.id)
		case s.id != o.id || s.kind != o.kind || s.version != o.version:
			return fmt.Errorf("name %d leads to object %d of type %d in version %d, want object %d of type %d in version %d", slot, s.id, s.kind, s.version, o.id, o.kind, o.version)
		case o.fh != "" && s.fh != o.fh:
			return fmt.Errorf("object %d has another handle", o.id)
		case o.kind == nfs.Dir && s.nlink != 2 || o.kind != nfs.Dir && s.nlink != links[o]:
			return fmt.Errorf("object %d has %d links, want %d", o.id, s.nlink, links[o])
		case o.kind == nfs.Lnk && s.size != uint64(len(fmt.Sprint("to ", o.id))):
			return fmt.Errorf("object %d is a link of %d bytes", o.id, s.size)
		}
	}
	return nil
}
