package ask

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fs"
	"varve/internal/inode"
	"varve/internal/oplog"
	"varve/internal/segstore"
	"varve/internal/segstore/mem"
	"varve/internal/when"
)

// world is a pool with a share "home", whose operations are done by paths.
type world struct {
	t     *testing.T
	e     *engine.Engine
	fs    *fs.FS
	store segstore.Store
	root  fs.Handle
	rnd   *rand.Rand
	now   atomic.Int64 // what the pool's clock shows: Unix nanoseconds
	share string
	model *node
	done  map[string][]deed // by share: what was done, as the model has it
	past  map[uint64]*node  // the model at some moments
	calls []*fs.Call
	reads atomic.Int64 // bytes read from the store

	digests func() (engine.Scratch, error)
}

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), share: "home", done: make(map[string][]deed), model: newDir(), past: make(map[uint64]*node)}
	begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	w.now.Store(begin.UnixNano())
	w.store = &countingStore{mem.New(512<<10, 512<<20), &w.reads}
	w.ok(engine.Format(w.store, begin, rand.NewChaCha8([32]byte{1})))
	w.open()
	_, err := w.e.CreateShare(engine.Caller{}, "home", 0o755, 0, 0)
	w.ok(err)
	_, err = w.e.CreateVolume(engine.Caller{}, "disk", 1<<20)
	w.ok(err)
	w.attach("home")
	for i := range 3 {
		w.calls = append(w.calls, &fs.Call{Cred: fs.Cred{UID: uint32(i) * 1000}, Client: &oplog.Client{Name: fmt.Sprintf("nfs 10.0.0.%d:900", i)}})
	}
	t.Cleanup(func() { w.close() })
	return w
}

func (w *world) open() {
	var err error
	w.e, err = engine.Open(engine.Options{Store: w.store, CheckpointEvery: -1, BaseOps: 40, Digests: w.digests,
		Now: func() time.Time { return time.Unix(0, w.now.Load()) }})
	w.ok(err)
	w.fs = fs.New(w.e, fs.Options{Location: time.UTC})
}

func (w *world) close() {
	w.fs.Close()
	w.ok(w.e.Close(context.Background()))
}

func (w *world) attach(name string) {
	s, err := w.fs.Share(name)
	w.ok(err)
	w.root = fs.Handle{Dataset: s.ID, Ino: inode.Root}
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) lsn() uint64 { return w.e.Status().LastLSN }

func at(lsn uint64) when.Spec { return when.Spec{Kind: when.LSN, LSN: lsn} }

// countingStore counts what is read from it.
type countingStore struct {
	segstore.Store
	n *atomic.Int64
}

func (s *countingStore) ReadAt(seg uint64, p []byte, off int64) error {
	s.n.Add(int64(len(p)))
	return s.Store.ReadAt(seg, p, off)
}

// node is an object of the model, with its names, the newest last.
type node struct {
	children map[string]*node // nil: no directory
	names    []binding
	dir      *node // of the newest name, be that there or not
}

type binding struct {
	dir  *node
	name string
}

func newDir() *node { return &node{children: make(map[string]*node)} }

// copy copies the tree below a directory.
func (n *node) copy(done map[*node]*node) *node {
	if c := done[n]; c != nil {
		return c
	}
	c := &node{}
	done[n] = c
	if n.children != nil {
		c.children = make(map[string]*node)
		for name, child := range n.children {
			c.children[name] = child.copy(done)
		}
	}
	for _, b := range n.names {
		c.names = append(c.names, binding{b.dir.copy(done), b.name})
	}
	if n.dir != nil {
		c.dir = n.dir.copy(done)
	}
	return c
}

func (n *node) bind(dir *node, name string) {
	dir.children[name] = n
	n.names = append(n.names, binding{dir, name})
	n.dir = dir
}

func (n *node) unbind(dir *node, name string) {
	delete(dir.children, name)
	n.names = slices.DeleteFunc(n.names, func(b binding) bool { return b.dir == dir && b.name == name })
}

func (b binding) path() string {
	if b.dir.names == nil {
		return "/" + b.name
	}
	return b.dir.names[0].path() + "/" + b.name
}

// newest are the paths of which an operation on the object may have each: of its
// newest name; if that is gone, of one in the same directory; else of any.
func (n *node) newest() (paths []string) {
	if len(n.names) == 0 {
		return []string{"/"}
	}
	for _, b := range n.names {
		if b.dir == n.dir {
			paths = append(paths, b.path())
		}
	}
	if last := n.names[len(n.names)-1]; paths == nil {
		for _, b := range n.names {
			paths = append(paths, b.path())
		}
	} else if last.dir == n.dir && len(paths) == 1 {
		return []string{last.path()}
	}
	return paths
}

// deed is an operation as the model has it.
type deed struct {
	lsn, bytes uint64
	kind       oplog.Kind
	call       int
	paths      []string // it has one of them
	path2      string
}

// step does one random thing; that it is refused is fine.
func (w *world) step() {
	w.now.Add(int64(w.rnd.IntN(20)) * int64(time.Second))
	dir, name := w.dir(w.model)
	to, toName := w.dir(w.model)
	n, target := dir.children[name], to.children[toName]
	call := w.rnd.IntN(len(w.calls))
	c := &fs.Call{Client: w.calls[call].Client} // as root; the user is what the record has
	c.Cred = w.calls[call].Cred
	h, hTo, before := w.handle(dir), w.handle(to), w.lsn()
	d := deed{call: call, paths: []string{binding{dir, name}.path()}}
	file := n != nil && n.children == nil
	switch k := w.rnd.IntN(20); {
	case k < 4 && n == nil:
		d.kind = oplog.Create
		if _, err := w.fs.Create(c, h, name, fs.SetAttr{}, true, nil); err == nil {
			(&node{}).bind(dir, name)
		}
	case k < 8 && n == nil:
		d.kind = oplog.Mkdir
		if _, err := w.fs.Mkdir(c, h, name, fs.SetAttr{}); err == nil {
			newDir().bind(dir, name)
		}
	case k < 11 && n != nil && n != target && !below(to, n):
		d.kind, d.path2 = oplog.Move, binding{to, toName}.path()
		if _, _, _, err := w.fs.Rename(c, h, name, hTo, toName); err == nil && w.lsn() > before {
			if target != nil {
				target.unbind(to, toName)
			}
			n.unbind(dir, name)
			n.bind(to, toName)
		}
	case k < 12 && file:
		d.kind = oplog.Remove
		if _, _, err := w.fs.Remove(c, h, name); err == nil {
			n.unbind(dir, name)
		}
	case k < 13 && n != nil && !file:
		d.kind = oplog.Rmdir
		if _, _, err := w.fs.Rmdir(c, h, name); err == nil {
			n.unbind(dir, name)
		}
	case k < 15 && file && target == nil:
		d.kind, d.paths = oplog.Link, []string{binding{to, toName}.path()}
		if _, _, _, err := w.fs.Link(c, w.handle(n), hTo, toName); err == nil {
			n.bind(to, toName)
		}
	case k < 16 && n != nil:
		d.kind, d.paths = oplog.Setattr, n.newest()
		mode := uint32(0o777)
		w.fs.Setattr(c, w.handle(n), fs.SetAttr{Mode: &mode})
	case file:
		d.kind, d.paths, d.bytes = oplog.WriteFile, n.newest(), uint64(1+w.rnd.IntN(40_000))
		w.fs.Write(c, w.handle(n), bytes.Repeat([]byte{7}, int(d.bytes)), 0)
	}
	if d.lsn = w.lsn(); d.lsn > before {
		w.done[w.share] = append(w.done[w.share], d)
	}
}

// below reports whether a directory is n or below it.
func below(dir, n *node) bool {
	for ; dir != n; dir = dir.names[0].dir {
		if len(dir.names) == 0 {
			return false
		}
	}
	return true
}

// dir goes down some directories, and picks a name.
func (w *world) dir(n *node) (*node, string) {
	name := func() string { return string(rune('a' + w.rnd.IntN(5))) }
	for range w.rnd.IntN(4) {
		if next := n.children[name()]; next != nil && next.children != nil {
			n = next
		}
	}
	return n, name()
}

var asRoot = &fs.Call{}

func (w *world) handle(n *node) fs.Handle {
	if len(n.names) == 0 {
		return w.root
	}
	b := n.names[0]
	h, _, _, err := w.fs.Lookup(asRoot, w.handle(b.dir), b.name)
	w.ok(err)
	return h
}

// around is what happens beside the files.
func (w *world) around() {
	switch w.rnd.IntN(6) {
	case 0:
		w.ok(w.e.Checkpoint())
	case 1:
		w.past[w.lsn()] = w.model.copy(make(map[*node]*node))
	case 2:
		if w.rnd.IntN(3) == 0 {
			w.close()
			w.open()
			w.attach(w.share)
		}
	case 3:
		if len(w.past) > 0 && w.rnd.IntN(2) == 0 {
			w.rollback()
		}
	default:
		_, err := w.e.Snapshot(engine.Caller{}, "disk", fmt.Sprint("s", w.lsn()))
		w.ok(err)
	}
}

func (w *world) rollback() {
	moments := slices.Sorted(maps.Keys(w.past))
	lsn := moments[w.rnd.IntN(len(moments))]
	_, err := w.e.Rollback(engine.Caller{}, w.share, at(lsn), false)
	w.ok(err)
	w.model = w.past[lsn].copy(make(map[*node]*node))
}

func (w *world) ask(q Query) (items []Item) {
	w.t.Helper()
	w.ok(New(w.e).Ask(context.Background(), q, func(i *Item) error {
		if i.File != nil && i.Client != "" { // without a client: how the test began
			items = append(items, *i)
		}
		return nil
	}))
	return items
}

// wanted is what the model has of a query: operations which match for sure, and
// those that match by one of several paths.
func (w *world) wanted(q *question) (sure, maybe map[uint64]deed) {
	sure, maybe = make(map[uint64]deed), make(map[uint64]deed)
	f := &q.Filter
	for _, d := range w.done[q.Dataset] {
		switch {
		case q.Since != nil && d.lsn <= q.Since.LSN, q.Until != nil && d.lsn > q.Until.LSN,
			f.Kinds != 0 && !f.Kinds.Has(d.kind),
			f.Client != "" && f.Client != w.calls[d.call].Client.Name,
			f.UID != nil && *f.UID != w.calls[d.call].Cred.UID,
			f.BytesOver != 0 && d.bytes <= f.BytesOver,
			d.lsn <= q.since:
			continue
		}
		n := 0
		for _, p := range d.paths {
			if len(f.Paths) == 0 || oplog.Glob(f.Paths[0], p) || d.path2 != "" && oplog.Glob(f.Paths[0], d.path2) {
				n++
			}
		}
		if n == len(d.paths) {
			sure[d.lsn] = d
		} else if n > 0 {
			maybe[d.lsn] = d
		}
	}
	return sure, maybe
}

func (w *world) compare(q question) int {
	w.t.Helper()
	sure, maybe := w.wanted(&q)
	for _, i := range w.ask(q.Query) {
		d, ok := sure[i.LSN]
		if !ok {
			d, ok = maybe[i.LSN]
		}
		if !ok {
			w.t.Fatalf("%s: lsn %d, %s %s, is not wanted", q.Filter.String(), i.LSN, i.Kind, i.Path)
		}
		delete(sure, i.LSN)
		if i.Kind != d.kind.String() || !slices.Contains(d.paths, string(i.Path)) || string(i.Path2) != d.path2 || i.File.UID != w.calls[d.call].Cred.UID {
			w.t.Fatalf("%s: lsn %d is %s %q %q, want %s %q %q", q.Filter.String(), i.LSN, i.Kind, i.Path, i.Path2, d.kind, d.paths, d.path2)
		}
	}
	if len(sure) > 0 {
		w.t.Fatalf("%s: %d operations are missing, such as %+v", q.Filter.String(), len(sure), sure)
	}
	return len(maybe)
}

// question is a query, with the operation at which Filter.Since is.
type question struct {
	Query
	since uint64
}

func (w *world) query() question {
	q := question{Query: Query{Dataset: w.share}}
	if w.rnd.IntN(3) == 0 {
		q.Dataset = "home"
	}
	pick := func() bool { return w.rnd.IntN(3) == 0 }
	deeds := w.done[q.Dataset]
	some := func() deed { return deeds[w.rnd.IntN(len(deeds))] }
	if pick() {
		s := at(some().lsn)
		q.Since = &s
		if u := at(some().lsn); pick() && u.LSN > s.LSN {
			q.Until = &u
		}
	}
	if pick() {
		q.Filter.Kinds.Add(some().kind)
		q.Filter.Kinds.Add(oplog.WriteFile)
	}
	if pick() {
		q.Filter.Client = w.calls[some().call].Client.Name
	}
	if pick() {
		uid := w.calls[some().call].Cred.UID
		q.Filter.UID = &uid
	}
	if pick() {
		q.Filter.BytesOver = uint64(w.rnd.IntN(40_000))
	}
	if pick() {
		lsn := at(some().lsn)
		w.ok(New(w.e).Ask(context.Background(), Query{Dataset: q.Dataset, Until: &lsn}, func(i *Item) error {
			q.Filter.Since = i.Time.UnixNano()
			return nil
		}))
		q.since = lsn.LSN
	}
	if w.rnd.IntN(4) > 0 {
		p := some().paths[0]
		q.Filter.Paths = []string{[]string{p, p + "/**", "/*/" + string('a'+rune(w.rnd.IntN(5))), "**/b/*", strings.Repeat("/*", 3), "c"}[w.rnd.IntN(6)]}
	}
	return q
}

// A query finds what the model's list of operations has, filtered one by one,
// with the paths of that time: over renames, also of directories above, hard
// links, checkpoints, reopening, rollbacks and in a clone; the first time, and
// when segments are left out.
func TestAskFindsWhatWasDone(t *testing.T) {
	for seed := range uint64(5) {
		w := newWorld(t, seed)
		mode := uint32(0o777)
		_, _, err := w.fs.Setattr(asRoot, w.root, fs.SetAttr{Mode: &mode})
		w.ok(err)
		for i := range w.calls {
			w.calls[i].Cred.Groups = nil
		}
		for n := range 1000 {
			if n == 600 {
				_, err := w.e.Clone(engine.Caller{}, "home", when.Spec{Kind: when.Now}, "twin")
				w.ok(err)
				w.share = "twin"
				clear(w.past)
				w.attach("twin")
			}
			w.step()
			if w.rnd.IntN(12) == 0 {
				w.around()
			}
			if n%125 == 124 {
				w.compare(w.query())
			}
		}
		for range 40 {
			w.compare(w.query())
		}
		if n := len(w.done["home"]) + len(w.done["twin"]); n < 250 {
			t.Errorf("only %d operations", n)
		}
	}
}

// A file of which one name was moved and then removed has the other one, not the
// one that was moved, whichever the directory shows first: of many files each.
func TestNameThatWasMovedAway(t *testing.T) {
	const files = 16
	w := newWorld(t, 1)
	c := &fs.Call{Client: w.calls[0].Client}
	var made [files]fs.Handle
	for i := range made {
		f, err := w.fs.Create(c, w.root, fmt.Sprint("kept", i), fs.SetAttr{}, true, nil)
		w.ok(err)
		made[i] = f.Handle
		_, _, _, err = w.fs.Link(c, f.Handle, w.root, fmt.Sprint("moved", i))
		w.ok(err)
	}
	since := at(w.lsn())
	for i, f := range made {
		_, _, _, err := w.fs.Rename(c, w.root, fmt.Sprint("moved", i), w.root, "gone")
		w.ok(err)
		_, _, err = w.fs.Remove(c, w.root, "gone")
		w.ok(err)
		_, _, err = w.fs.Write(c, f, []byte("x"), 0)
		w.ok(err)
	}
	items := w.ask(Query{Dataset: "home", Since: &since})
	if len(items) != 3*files {
		t.Fatalf("%d operations, want %d", len(items), 3*files)
	}
	for i := range made {
		if got, want := string(items[3*i+2].Path), fmt.Sprint("/kept", i); got != want {
			t.Errorf("a write of %s is said to be one of %s", want, got)
		}
	}
}
