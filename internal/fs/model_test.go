package fs

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/inode"
)

// onModel is what files are, in the plainest way: steps by root on a tree of
// nodes in memory.
type onModel struct{ root *node }

type node struct {
	mode, uid, gid uint32
	data           []byte
	names          map[string]*node // of a directory
	xattrs         map[string]string
	links          uint32 // of what is no directory
}

func newModel() *onModel {
	return &onModel{&node{mode: inode.ModeDir | 0o777, names: map[string]*node{}}}
}

func (n *node) dir() bool { return n.names != nil }

func (n *node) link() bool { return n.mode&inode.ModeType == inode.ModeLink }

// clone copies the model: a moment that stays.
func (m *onModel) clone() *onModel {
	copies := map[*node]*node{}
	var copyOf func(n *node) *node
	copyOf = func(n *node) *node {
		if c := copies[n]; c != nil {
			return c
		}
		c := *n
		copies[n] = &c
		c.data = slices.Clone(n.data)
		c.xattrs = map[string]string{}
		for k, v := range n.xattrs {
			c.xattrs[k] = v
		}
		if n.dir() {
			c.names = map[string]*node{}
			for name, child := range n.names {
				c.names[name] = copyOf(child)
			}
		}
		return &c
	}
	return &onModel{copyOf(m.root)}
}

func (m *onModel) find(path string) (*node, string, Code) {
	parts := strings.Split(path, "/")
	at := m.root
	for _, part := range parts[:len(parts)-1] {
		if !at.dir() {
			return nil, "", CodeNotDir
		}
		if at = at.names[part]; at == nil || at.link() {
			return nil, "", CodeNoEnt
		}
	}
	if !at.dir() {
		return nil, "", CodeNotDir
	}
	return at, parts[len(parts)-1], CodeNone
}

func (m *onModel) run(s step) Code {
	dir, name, code := m.find(s.a)
	if code != CodeNone {
		return code
	}
	n := dir.names[name]
	switch s.do {
	case "mkdir", "create", "symlink", "mkfifo", "open":
		return m.make(s, dir, name, n)
	case "rename":
		return m.rename(s, dir, name, n)
	case "link":
		if n == nil {
			return CodeNoEnt
		}
		to, toName, code := m.find(s.b)
		switch {
		case code != CodeNone:
			return code
		case to.names[toName] != nil:
			return CodeExist
		case n.dir():
			return CodePerm
		}
		to.names[toName] = n
		n.links++
		return CodeNone
	}
	switch {
	case n == nil:
		return CodeNoEnt
	case s.do == "remove" && n.dir():
		return CodeIsDir
	case s.do == "rmdir" && !n.dir():
		return CodeNotDir
	case s.do == "rmdir" && len(n.names) > 0:
		return CodeNotEmpty
	case s.do == "remove", s.do == "rmdir":
		delete(dir.names, name)
		n.links--
	case s.do == "chown":
		n.chown(s)
	case n.link():
		return CodeNoEnt
	default:
		return n.change(s)
	}
	return CodeNone
}

func (m *onModel) make(s step, dir *node, name string, n *node) Code {
	if n != nil {
		if s.do != "open" || n.mode&inode.ModeType != inode.ModeFile {
			return CodeExist
		}
		n.data = nil
		return CodeNone
	}
	n = &node{mode: s.mode, links: 1, xattrs: map[string]string{}}
	switch s.do {
	case "mkdir":
		n.mode |= inode.ModeDir | dir.mode&modeSetgid
		n.names = map[string]*node{}
	case "symlink":
		n.mode, n.data = inode.ModeLink|0o777, []byte(nowhere)
	case "mkfifo":
		n.mode |= inode.ModeFIFO
	default:
		n.mode |= inode.ModeFile
	}
	if dir.mode&modeSetgid != 0 {
		n.gid = dir.gid
	}
	dir.names[name] = n
	return CodeNone
}

func (m *onModel) rename(s step, dir *node, name string, n *node) Code {
	to, toName, code := m.find(s.b)
	switch {
	case code != CodeNone:
		return code
	case n == nil:
		return CodeNoEnt
	}
	old := to.names[toName]
	switch {
	case old == n:
		return CodeNone
	case n.dir() && n.has(to):
		return CodeInval
	case old != nil && n.dir() && !old.dir():
		return CodeNotDir
	case old != nil && !n.dir() && old.dir():
		return CodeIsDir
	case old != nil && len(old.names) > 0:
		return CodeNotEmpty
	}
	if old != nil {
		old.links--
	}
	delete(dir.names, name)
	to.names[toName] = n
	return CodeNone
}

// has reports whether d is n or below it.
func (n *node) has(d *node) bool {
	if n == d {
		return true
	}
	for _, c := range n.names {
		if c.dir() && c.has(d) {
			return true
		}
	}
	return false
}

func (n *node) chown(s step) {
	if s.uid >= 0 {
		n.uid = uint32(s.uid)
	}
	if s.gid >= 0 {
		n.gid = uint32(s.gid)
	}
	if !n.dir() {
		n.mode &^= modeSetuid
		if n.mode&modeGroupX != 0 {
			n.mode &^= modeSetgid
		}
	}
}

func (n *node) change(s step) Code {
	typ := n.mode & inode.ModeType
	user := typ == inode.ModeFile || typ == inode.ModeDir // has user xattrs
	switch s.do {
	case "chmod":
		n.mode = typ | s.mode
	case "setxattr":
		if !user {
			return CodePerm
		}
		n.xattrs[s.name] = string(s.content[:min(len(s.content), 100)])
	case "rmxattr":
		if !user {
			return CodePerm
		}
		if _, ok := n.xattrs[s.name]; !ok {
			return CodeNoData
		}
		delete(n.xattrs, s.name)
	case "list":
		if !n.dir() {
			return CodeNotDir
		}
	case "truncate":
		switch typ {
		case inode.ModeDir:
			return CodeIsDir
		case inode.ModeFIFO:
			return CodeInval
		}
		n.resize(int(s.off))
	case "write", "read":
		if typ != inode.ModeFile {
			return CodeInval
		}
		if s.do == "write" && len(s.content) > 0 {
			n.resize(max(len(n.data), int(s.off)+len(s.content)))
			copy(n.data[s.off:], s.content)
		}
	}
	return CodeNone
}

func (n *node) resize(size int) {
	if size <= len(n.data) {
		n.data = slices.Clone(n.data[:size])
		return
	}
	n.data = append(n.data, make([]byte, size-len(n.data))...)
}

func (m *onModel) dump() map[string]string {
	objects, firsts := map[string]object{}, map[string]string{}
	var walk func(d *node, prefix string)
	walk = func(d *node, prefix string) {
		for name, n := range d.names {
			path, id := prefix+name, fmt.Sprintf("%p", n)
			o := object{mode: n.mode, uid: n.uid, gid: n.gid, nlink: n.links, first: id}
			switch n.mode & inode.ModeType {
			case inode.ModeFile:
				o.size, o.sum = uint64(len(n.data)), sum(n.data)
			case inode.ModeLink:
				o.sum = string(n.data)
			case inode.ModeDir:
				o.nlink = 2
				for _, c := range n.names {
					if c.dir() {
						o.nlink++
					}
				}
				walk(n, path+"/")
			}
			for k, v := range n.xattrs {
				o.xattrs = append(o.xattrs, k+"="+sum([]byte(v)))
			}
			if firsts[id] == "" || path < firsts[id] {
				firsts[id] = path
			}
			objects[path] = o
		}
	}
	walk(m.root, "")
	return described(objects, func(key string) string { return firsts[key] })
}

// moment is a state that the model remembers.
type moment struct {
	lsn   uint64
	model *onModel
}

// traveller runs a script and goes back and forth in time.
type traveller struct {
	t     *testing.T
	w     *world
	x     *scripter
	varve *onVarve
	model *onModel
	past  []moment
	did   map[string]int
}

func (y *traveller) remember(lsn uint64) {
	y.past = append(y.past, moment{lsn, y.model.clone()})
}

// present is the moment that has come.
func (y *traveller) present() uint64 {
	m, err := y.w.e.Resolve("home", mustParse(y.t, "now"))
	y.w.ok(err)
	return m.LSN
}

// turn does something about time.
func (y *traveller) turn() {
	rng := y.x.rng
	turn := []string{"moment", "moment", "snapshot", "checkpoint", "reopen", "crash", "rollback", "look", "look"}[rng.IntN(9)]
	y.did[turn]++
	switch turn {
	case "moment":
		y.remember(y.present())
	case "snapshot":
		y.remember(y.w.snapshot(fmt.Sprint("s", len(y.past))))
	case "checkpoint":
		y.w.ok(y.w.e.Checkpoint())
	case "reopen":
		y.w.reopen()
	case "crash":
		y.w.ok(y.w.f.Flush(y.w.root))
		y.w.crash()
	case "rollback":
		if len(y.past) == 0 || rng.IntN(2) == 0 {
			return
		}
		m := y.past[rng.IntN(len(y.past))]
		_, err := y.w.e.Rollback(engine.Caller{}, "home", lsnSpec(m.lsn), false)
		y.w.ok(err)
		y.model = m.model.clone()
	case "look":
		if len(y.past) == 0 {
			return
		}
		m := y.past[rng.IntN(len(y.past))]
		same(y.t, fmt.Sprint("at lsn ", m.lsn), dumpVarve(y.w, at(y.w.root, m.lsn)), m.model.dump())
	}
}

// A random script by root ends in varve as in the model: each step, the tree,
// and every moment of the past that is looked at, over rollbacks, restarts and
// crashes. The pool checks clean.
func TestModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for round := range uint64(3) {
		w := newWorld(t)
		y := &traveller{t: t, w: w, varve: &onVarve{w, w.root}, model: newModel(), did: map[string]int{}}
		y.x = &scripter{rng: rand.New(rand.NewPCG(seed, round)), who: []*Call{root}, modes: []uint32{0o777, 0o755, 0o700, 0o1777, 0o2775, 0o6755, 0o644, 0}}
		for range 3000 {
			s := y.x.step()
			if s.do == "chown" { // to others too
				s.uid, s.gid = y.x.rng.IntN(3)-1, y.x.rng.IntN(3)
			}
			if got, want := y.varve.run(s), y.model.run(s); got != want {
				t.Fatalf("%v: %q, want %q", s, got, want)
			}
			if y.x.rng.IntN(30) == 0 {
				y.turn()
			}
			if s.n%300 == 0 {
				same(t, s.String(), y.varve.dump(), y.model.dump())
			}
		}
		same(t, "at the end", y.varve.dump(), y.model.dump())
		for _, m := range y.past {
			same(t, fmt.Sprint("at lsn ", m.lsn), dumpVarve(w, at(w.root, m.lsn)), m.model.dump())
		}
		for _, turn := range []string{"snapshot", "reopen", "crash", "rollback", "look"} {
			if y.did[turn] == 0 {
				t.Errorf("no %s in round %d", turn, round)
			}
		}
		report, err := w.e.Check(t.Context(), true, func(_, _ uint64) {})
		w.ok(err)
		if len(report.Damage) > 0 {
			t.Errorf("damage: %+v", report.Damage)
		}
	}
}
