package redo_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/fs"
	"varve/internal/inode"
	"varve/internal/oplog"
	"varve/internal/redo"
	"varve/internal/when"
)

// slot is the bytes that one of two clients writes of a file that both share:
// every second one, so that most blocks have bytes of both.
const slot = 1000

// apart works at random in a directory of its own, and on its slots of a file.
type apart struct {
	*author
	shared fs.Handle
	odd    uint64
}

func (a *apart) step() {
	if a.rng.IntN(3) > 0 {
		a.author.step()
		return
	}
	n := a.rng.Uint64N(30)*2 + a.odd
	p := make([]byte, 1+a.rng.IntN(slot))
	for i := range p {
		p[i] = byte(a.n)
	}
	a.n++
	_, _, err := a.w.f.Write(a.c, a.shared, p, n*slot+a.rng.Uint64N(slot-uint64(len(p))+1))
	a.w.ok(err)
}

// scene prepares a share for two clients who work apart.
func scene(w *world, seed uint64) (one, two *apart) {
	mode := uint32(0o777)
	hand := func(name string, odd uint64) *apart {
		m, err := w.f.Mkdir(by("zero"), w.root, name, fs.SetAttr{Mode: &mode})
		w.ok(err)
		return &apart{author: w.author(name, seed+odd, m.Handle), odd: odd}
	}
	one, two = hand("one", 0), hand("three", 1)
	m, err := w.f.Create(by("zero"), w.root, "both", fs.SetAttr{Mode: &mode}, true, nil)
	w.ok(err)
	full := make([]byte, 70*slot)
	for i := range full {
		full[i] = 0xee
	}
	_, _, err = w.f.Write(by("zero"), m.Handle, full, 0)
	w.ok(err)
	one.shared, two.shared = m.Handle, m.Handle
	return one, two
}

// What is undone of one client leaves what there would be if it had never worked:
// the bytes of blocks that both wrote among it.
func TestUndoOfOneOfTwo(t *testing.T) {
	for seed := range uint64(2) {
		never := newWorld(t)
		_, two := scene(never, seed)
		for range 300 {
			two.step()
		}
		want := never.paths("home", never.last())

		w := newWorld(t)
		one, two := scene(w, seed)
		rng := rand.New(rand.NewPCG(seed, 5))
		begin := w.last()
		for left := 300; left > 0; {
			if rng.IntN(2) == 0 {
				one.step()
				continue
			}
			two.step()
			if left--; left%90 == 0 {
				w.ok(w.e.Checkpoint())
			}
		}
		before := w.items("home", w.last())
		dry := w.undo("home", redo.UndoOptions{Since: at(begin), Match: of("one"), Options: redo.Options{DryRun: true}})
		w.same("after a dry run", w.items("home", w.last()), before)
		r := w.undo("home", redo.UndoOptions{Since: at(begin), Match: of("one")})
		if r.Partial || len(r.Clashes) > 0 || r.LeftOut == 0 || r.Repeated == 0 || r.Changed != dry.Changed || r.LeftOut != dry.LeftOut {
			t.Fatalf("undo: %+v\nafter a dry run: %+v", r, dry)
		}
		w.same("without one", w.paths("home", w.last()), want)
		_, err := w.e.Rollback(caller, "home", named(r.Guard), false)
		w.ok(err)
		w.same("undone", w.items("home", w.last()), before)
	}
}

// The same of a volume, and a second undo after it.
func TestUndoOnVolume(t *testing.T) {
	w := newWorld(t)
	rng := rand.New(rand.NewPCG(1, 1))
	write := func(h *engine.Head, model []byte, odd int) {
		p := make([]byte, 1+rng.IntN(slot))
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		off := (rng.IntN(4000)*2+odd)*slot + rng.IntN(slot-len(p)+1)
		w.ok(h.WriteAt(p, uint64(off)))
		if model != nil {
			copy(model[off:], p)
		}
	}
	attach := func(name string) *engine.Head {
		h, err := w.e.Attach("disk", engine.Caller{Proto: "NBD", Addr: name + ":1"}, true, func() {})
		w.ok(err)
		return h
	}
	model := make([]byte, 8<<20)
	one, two := attach("one"), attach("three")
	for range 500 {
		write(one, model, 0)
		write(two, model, 1)
	}
	begin := w.last()
	for range 800 {
		write(one, nil, 0)
		write(two, model, 1)
	}
	_, err := redo.Undo(context.Background(), w.e, caller, "disk", redo.UndoOptions{Since: at(begin), Match: of("one")})
	if !fail.Is(err, fail.Busy) || !strings.Contains(err.Error(), "has a writer") {
		t.Fatalf("undo under a writer: %v", err)
	}
	one.Detach()
	two.Detach()
	r := w.undo("disk", redo.UndoOptions{Since: at(begin), Match: of("one")})
	if r.Partial || len(r.Clashes) > 0 || r.LeftOut != 800 || r.Repeated != 800 || r.Changed == 0 {
		t.Fatalf("undo: %+v", r)
	}
	w.sameBytes("without one", w.disk("disk", w.last()), model)

	two, again := attach("three"), w.last()
	for range 100 {
		write(two, nil, 1)
	}
	two.Detach()
	w.undo("disk", redo.UndoOptions{Since: at(again)})
	w.sameBytes("without the rest", w.disk("disk", w.last()), model)
	_, err = redo.Undo(context.Background(), w.e, caller, "disk", redo.UndoOptions{Since: at(begin), Match: of("three")})
	if err == nil || !strings.Contains(err.Error(), "rolled back at lsn") {
		t.Fatalf("undo from before an undo: %v", err)
	}
}

// clashWorld is what "one" did and is undone, and "three" after it.
type clashWorld struct {
	*world
	one, three *fs.Call
}

func (w *clashWorld) file(c *fs.Call, name, text string) fs.Handle {
	w.t.Helper()
	mode := uint32(0o666)
	m, err := w.f.Create(c, w.root, name, fs.SetAttr{Mode: &mode}, true, nil)
	w.ok(err)
	w.write(c, m.Handle, text, 0)
	return m.Handle
}

func (w *clashWorld) write(c *fs.Call, h fs.Handle, text string, off uint64) {
	w.t.Helper()
	_, _, err := w.f.Write(c, h, []byte(text), off)
	w.ok(err)
}

func (w *clashWorld) text(name string) string {
	w.t.Helper()
	h, a, _, err := w.f.Lookup(by("zero"), w.root, name)
	if err != nil {
		return "(" + err.Error() + ")"
	}
	p := make([]byte, a.Size)
	_, _, _, err = w.f.Read(by("zero"), h, p, 0)
	w.ok(err)
	return string(p)
}

// Every kind of dependency is found by what it means, and each policy does what it
// says.
func TestConflicts(t *testing.T) {
	for _, tt := range []struct {
		name   string
		policy redo.Policy
		cause  string
		action string
		play   func(w *clashWorld) // "one" first
		want   map[string]string
	}{
		{"name taken", redo.RenameAside, "the name is taken", "renamed", takeName, map[string]string{"a": "old", "a.replay-%d": "new"}},
		{"name taken", redo.Skip, "the name is taken", "left out", takeName, map[string]string{"a": "old"}},
		{"name taken", redo.KeepNewer, "the name is taken", "took over", takeName, map[string]string{"a": "new"}},
		{"bytes", redo.RenameAside, "its bytes were written by an operation left out", "repeated", overwrite, map[string]string{"a": "olNEWab--d"}},
		{"bytes", redo.Skip, "its bytes were written by an operation left out", "left out", overwrite, map[string]string{"a": "old--ab--d"}},
		{"bytes", redo.Cascade, "its bytes were written by an operation left out", "left out", overwrite, map[string]string{"a": "old------d"}},
		{"parent", redo.RenameAside, "its directory is missing", "left out", func(w *clashWorld) {
			mode := uint32(0o777)
			m, err := w.f.Mkdir(w.one, w.root, "d", fs.SetAttr{Mode: &mode})
			w.ok(err)
			_, err = w.f.Create(w.three, m.Handle, "f", fs.SetAttr{}, true, nil)
			w.ok(err)
		}, map[string]string{"a": "old------d"}},
		{"not empty", redo.RenameAside, "the directory is not empty", "left out", func(w *clashWorld) {
			d, _, _, err := w.f.Lookup(w.one, w.root, "dir")
			w.ok(err)
			_, _, err = w.f.Remove(w.one, d, "in")
			w.ok(err)
			_, _, err = w.f.Rmdir(w.three, w.root, "dir")
			w.ok(err)
		}, map[string]string{"a": "old------d"}},
		{"name gone", redo.RenameAside, "the name is not there, or is another object's", "left out", func(w *clashWorld) {
			_, _, _, err := w.f.Rename(w.one, w.root, "a", w.root, "b")
			w.ok(err)
			_, _, err = w.f.Remove(w.three, w.root, "b")
			w.ok(err)
		}, map[string]string{"a": "old------d"}},
		{"own name", redo.KeepNewer, "the object has that name already", "left out", func(w *clashWorld) {
			h, _, _, err := w.f.Lookup(w.one, w.root, "a")
			w.ok(err)
			_, _, _, err = w.f.Rename(w.one, w.root, "a", w.root, "b")
			w.ok(err)
			_, _, _, err = w.f.Link(w.three, h, w.root, "a")
			w.ok(err)
		}, map[string]string{"a": "old------d"}},
		{"object", redo.RenameAside, "the object is missing", "left out", func(w *clashWorld) {
			w.write(w.three, w.file(w.one, "n", "x"), "y", 0)
		}, map[string]string{"a": "old------d"}},
		{"attribute", redo.Skip, "the attribute was set by an operation left out", "left out", func(w *clashWorld) {
			h, _, _, err := w.f.Lookup(w.one, w.root, "a")
			w.ok(err)
			now := int64(7)
			_, _, err = w.f.Setattr(&fs.Call{Client: w.one.Client}, h, fs.SetAttr{Mtime: &now})
			w.ok(err)
			_, _, err = w.f.Setattr(&fs.Call{Client: w.three.Client}, h, fs.SetAttr{Mtime: &now})
			w.ok(err)
		}, map[string]string{"a": "old------d"}},
	} {
		t.Run(fmt.Sprint(tt.name, " ", tt.policy), func(t *testing.T) {
			w := &clashWorld{newWorld(t), by("one"), by("three")}
			w.file(w.three, "a", "old------d")
			mode := uint32(0o777)
			m, err := w.f.Mkdir(w.three, w.root, "dir", fs.SetAttr{Mode: &mode})
			w.ok(err)
			_, err = w.f.Create(w.three, m.Handle, "in", fs.SetAttr{}, true, nil)
			w.ok(err)
			begin := w.last()
			tt.play(w)
			r := w.undo("home", redo.UndoOptions{Since: at(begin), Match: of("one"), Options: redo.Options{OnConflict: tt.policy}})
			if r.Causes[tt.cause] == 0 || r.Clashes[0].Cause != tt.cause || r.Clashes[0].Action != tt.action || r.Clashes[0].With <= begin {
				t.Fatalf("conflicts: %+v", r.Clashes)
			}
			if r.Partial != (tt.action == "left out") {
				t.Fatalf("partial: %v", r.Partial)
			}
			for name, want := range tt.want {
				if strings.Contains(name, "%d") {
					name = fmt.Sprintf(name, r.Clashes[0].LSN)
				}
				if got := w.text(name); !strings.HasPrefix(got, want) {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
		})
	}
}

func takeName(w *clashWorld) {
	_, _, err := w.f.Remove(w.one, w.root, "a")
	w.ok(err)
	w.file(w.three, "a", "new")
}

func overwrite(w *clashWorld) {
	h, _, _, err := w.f.Lookup(w.one, w.root, "a")
	w.ok(err)
	w.write(w.one, h, "XXXX", 1)
	w.write(w.three, h, "NEWER", 2) // depends on that
	w.write(w.three, h, "ab", 5)    // depends on this alone
}

// With abort nothing happens at all.
func TestAbort(t *testing.T) {
	w := &clashWorld{newWorld(t), by("one"), by("three")}
	w.file(w.three, "a", "old")
	begin := w.last()
	takeName(w)
	now := w.items("home", w.last())
	o := redo.UndoOptions{Since: at(begin), Match: of("one"), Options: redo.Options{OnConflict: redo.Abort}}
	r, err := redo.Undo(context.Background(), w.e, caller, "home", o)
	if err == nil || !strings.Contains(err.Error(), "the name is taken") {
		t.Fatal(err)
	}
	if len(r.Clashes) != 1 || r.Clashes[0].Path != "/a" || r.Clashes[0].With != begin+1 || r.Clashes[0].Action != "refused" {
		t.Errorf("the conflict is told as %+v", r.Clashes)
	}
	o.DryRun = true // shows all that is in the way
	if r = w.undo("home", o); len(r.Clashes) != 2 || r.Causes["the object is missing"] != 1 || !r.Partial {
		t.Errorf("a dry run: %+v", r)
	}
	w.same("after an abort", w.items("home", w.last()), now)
	if n := len(w.e.Datasets(false)) + len(w.e.Datasets(true)); n != 2 {
		t.Fatalf("%d datasets", n)
	}
}

// What has to be remembered is bounded: then nothing is done, and why is told.
func TestTooMuchToRemember(t *testing.T) {
	w := &clashWorld{newWorld(t), by("one"), by("three")}
	begin := w.last()
	for i := range 12 {
		w.file(w.one, fmt.Sprint("a", i), "x")
		w.file(w.three, fmt.Sprint("b", i), "x")
	}
	now := w.items("home", w.last())
	defer redo.LimitLeft(20)()
	_, err := redo.Undo(context.Background(), w.e, caller, "home", redo.UndoOptions{Since: at(begin), Match: of("one")})
	if !fail.Is(err, fail.TooBig) {
		t.Errorf("an undo: %v", err)
	}
	var made []*oplog.Op
	for i := range 30 {
		made = append(made, &oplog.Op{Kind: oplog.Create, Ino: uint64(100 + i), Dir: inode.Root, Name: fmt.Sprint("c", i), Attr: oplog.Attr{Mask: oplog.SetMode, Mode: inode.ModeFile}})
	}
	if _, err = w.tryOps("copy", made...); !fail.Is(err, fail.TooBig) {
		t.Errorf("operations of a file: %v", err)
	}
	w.same("afterwards", w.items("home", w.last()), now)
	if _, err := w.e.Dataset("copy"); !fail.Is(err, fail.NotFound) {
		t.Errorf("there is a copy: %v", err)
	}
}

// What wrote where the operations left out had written goes too, by path or by
// client.
func TestTaint(t *testing.T) {
	for taint, want := range map[redo.Taint][]string{redo.NoTaint: {"new", "more"}, redo.ByPath: {"old", "more"}, redo.ByClients: {"old", "(no such file or directory)"}} {
		w := &clashWorld{newWorld(t), by("one"), by("three")}
		h := w.file(w.three, "a", "old")
		begin := w.last()
		w.write(w.one, h, "bad", 0)
		w.write(w.three, h, "new", 0)
		w.file(w.three, "b", "more")
		w.undo("home", redo.UndoOptions{Since: at(begin), Match: of("one"), Options: redo.Options{Taint: taint}})
		if a, b := w.text("a"), w.text("b"); a != want[0] || b != want[1] && !(taint == redo.ByClients && strings.HasPrefix(b, "(")) {
			t.Errorf("taint %q: a is %q, b is %q", taint, a, b)
		}
	}
}

// What happens while an undo runs is repeated, and nothing of it is lost.
func TestUndoUnderWriters(t *testing.T) {
	for i := range 10 { // in some of them something happens just before the pause
		t.Run(fmt.Sprint(i), undoUnderWriter)
	}
}

func undoUnderWriter(t *testing.T) {
	w := newWorld(t)
	one, two := scene(w, 3)
	begin := w.last()
	for range 100 {
		one.step()
	}
	stop, ended := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				ended <- n
				return
			default:
				mode := uint32(0o666)
				m, err := w.f.Create(two.c, two.dirs[0], fmt.Sprint("f", n), fs.SetAttr{Mode: &mode}, true, nil)
				if err == nil {
					_, _, err = w.f.Write(two.c, m.Handle, []byte(fmt.Sprint(n)), 5)
				}
				if err != nil {
					t.Error(err)
				}
				n++
			}
		}
	}()
	r := w.undo("home", redo.UndoOptions{Since: at(begin), Match: of("one")})
	close(stop)
	n := <-ended
	if r.Partial {
		t.Errorf("%+v", r)
	}
	paths := w.paths("home", w.last())
	for i := range n {
		if s := paths[fmt.Sprint("/three/f", i)]; !strings.Contains(s, fmt.Sprint(" size ", 5+len(fmt.Sprint(i)))) {
			t.Fatalf("file %d of %d is %q", i, n, s)
		}
	}
	for path := range paths {
		if strings.HasPrefix(path, "/one/") {
			t.Fatalf("%s is there", path)
		}
	}
}

// Clients that are faster than what is repeated do not keep an undo from ending, nor
// does it keep them waiting until it has: they take turns.
func TestUndoUnderFasterWriters(t *testing.T) {
	w := newWorld(t)
	one, _ := scene(w, 3)
	begin := w.last()
	for range 1000 {
		one.step()
	}
	var stop atomic.Bool
	var files atomic.Int64
	var writers sync.WaitGroup
	for hand := range 3 {
		writers.Go(func() {
			for n := 0; !stop.Load(); n++ {
				if _, err := w.f.Create(by("three"), w.root, fmt.Sprintf("h%d-%d", hand, n), fs.SetAttr{}, true, nil); err != nil {
					t.Error(err)
					return
				}
				files.Add(1)
			}
		})
	}
	grow := func(was, by int64, within time.Duration) bool {
		for begun := time.Now(); files.Load() < was+by; time.Sleep(time.Millisecond) {
			if time.Since(begun) > within {
				return false
			}
		}
		return true
	}
	// While 256 operations are repeated the clients do 600, but where they wait.
	waits, most, last := 0, 0, int64(0)
	tell := func(redo.Advance) {
		was := files.Load()
		if waits++; was > last || grow(was, 1, 20*time.Millisecond) && grow(was, 600, 2*time.Second) {
			waits = 0
		}
		most, last = max(most, waits), files.Load()
	}
	r := w.undo("home", redo.UndoOptions{Since: at(begin), Match: of("one"), Options: redo.Options{Tell: tell}})
	stop.Store(true)
	writers.Wait()
	if most > 16 || r.Waited == 0 {
		t.Errorf("%d times 256 operations were repeated while clients waited, in %.3f s", most, r.Waited)
	}
	n := 0
	for path := range w.paths("home", w.last()) {
		if strings.HasPrefix(path, "/one/") {
			t.Fatalf("%s is there", path)
		}
		if strings.HasPrefix(path, "/h") {
			n++
		}
	}
	if t.Logf("%d files, in %.1f s; clients waited for %.3f s at most", n, r.Took, r.Waited); r.Partial || int64(n) != files.Load() {
		t.Errorf("%d of %d files: %+v", n, files.Load(), r)
	}
}

// Beyond history it begins with the oldest moment, and says so.
func TestUndoPastHistory(t *testing.T) {
	w := newWorld(t)
	one, _ := scene(w, 3)
	early := w.last()
	_, err := w.e.Snapshot(caller, "home", "kept")
	w.ok(err)
	for range 50 {
		one.step()
	}
	w.ok(w.e.Checkpoint())
	w.ok(w.e.Checkpoint())
	_, err = w.e.Prune(caller, "home", engine.PruneOptions{Before: &when.Spec{Kind: when.Now}})
	w.ok(err)
	oldest, err := w.e.Dataset("home")
	w.ok(err)
	want := w.items("home", oldest.OldestLSN)
	_, err = redo.Replay(context.Background(), w.e, caller, "home", redo.ReplayOptions{From: named("kept"), Name: "x"})
	if !fail.Is(err, fail.OutsideHistory) {
		t.Fatalf("a replay of operations that may be gone: %v", err)
	}
	for range 50 {
		one.step()
	}
	now := w.last()
	for _, to := range []when.Spec{at(now + 1000), {Kind: when.Time, Time: time.Now().Add(time.Hour)}} {
		_, err = redo.Undo(context.Background(), w.e, caller, "home", redo.UndoOptions{Since: to})
		if !fail.Is(err, fail.OutsideHistory) || !strings.Contains(err.Error(), "not come yet") || w.last() != now {
			t.Fatalf("undo since %v: %v", to, err)
		}
	}
	r := w.undo("home", redo.UndoOptions{Since: at(early)})
	if !r.Partial || r.Gap == nil || r.Gap.LSN != early || r.From.LSN != oldest.OldestLSN {
		t.Fatalf("%+v", r)
	}
	w.same("undone", w.items("home", w.last()), want)
}

// What a crash leaves half made goes when the pool is opened.
func TestDraftGoes(t *testing.T) {
	w := newWorld(t)
	one, _ := scene(w, 3)
	begin := w.last()
	for range 50 {
		one.step()
	}
	now := w.items("home", w.last())
	a, err := w.e.Draft(caller, engine.Moment{Dataset: "home", LSN: begin}, "half")
	w.ok(err)
	if _, err := w.e.Dataset("half"); !fail.Is(err, fail.NotFound) {
		t.Fatalf("it can be found: %v", err)
	}
	if _, err := w.e.Undestroy(caller, "half", ""); !fail.Is(err, fail.NotFound) {
		t.Fatalf("it can come back: %v", err)
	}
	w.ok(a.Head.Flush())
	w.f.Close()
	w.e.Abort()
	w.open()
	w.same("after a crash", w.items("home", w.last()), now)
	w.check()
	gone := false
	w.ok(w.e.Log(context.Background(), engine.LogQuery{}, func(o *oplog.Op, _ bool) error {
		gone = gone || o.Kind == oplog.Destroy && o.LSN > begin
		return nil
	}))
	if !gone {
		t.Fatal("it is still there")
	}
}

// Paths in filters are what they were at the time, through renames; and an undo of
// what was done there leaves the rest.
func TestUndoOfPaths(t *testing.T) {
	w := &clashWorld{newWorld(t), by("one"), by("three")}
	mode := uint32(0o777)
	dir, err := w.f.Mkdir(w.one, w.root, "d", fs.SetAttr{Mode: &mode})
	w.ok(err)
	in, err := w.f.Create(w.one, dir.Handle, "in", fs.SetAttr{Mode: &mode}, true, nil)
	w.ok(err)
	out := w.file(w.one, "out", "before")
	begin := w.last()
	w.write(w.one, in.Handle, "first", 0) // /d/in
	w.write(w.one, out, "middle", 0)      // /out
	_, _, _, err = w.f.Rename(w.one, w.root, "d", w.root, "e")
	w.ok(err)
	w.write(w.one, in.Handle, "last!", 0) // /e/in
	_, _, _, err = w.f.Rename(w.one, w.root, "e", w.root, "f")
	w.ok(err)

	r := w.undo("home", redo.UndoOptions{Since: at(begin), Match: &oplog.Filter{Paths: []string{"/e/**"}}})
	if r.LeftOut != 1 || r.Partial || len(r.Changes) != 1 || r.Changes[0].Path != "/f/in" {
		t.Fatalf("%+v", r)
	}
	p := make([]byte, 10)
	n, _, _, err := w.f.Read(w.one, in.Handle, p, 0)
	if w.ok(err); string(p[:n]) != "first" || w.text("out") != "middle" {
		t.Fatalf("%q, %q", p[:n], w.text("out"))
	}
	r = w.replay("home", redo.ReplayOptions{From: at(begin), To: at(r.LSN - 1), Only: &oplog.Filter{Paths: []string{"/d/*", "/out"}}, Name: "x"})
	if r.Repeated != 2 {
		t.Fatalf("%+v", r)
	}
	if got := w.paths("x", w.last()); got["/d/in"] == "" || got["/f"] != "" {
		t.Fatal(got)
	}
}

// Large trims, which go to dying lists, are repeated and undone like others, and the
// volume grows back to what it was.
func TestUndoOfLargeTrims(t *testing.T) {
	w := newWorld(t)
	_, err := w.e.CreateVolume(caller, "large", 48<<20)
	w.ok(err)
	attach := func(name string) *engine.Head {
		h, err := w.e.Attach("large", engine.Caller{Proto: "NBD", Addr: name + ":1"}, true, func() {})
		w.ok(err)
		return h
	}
	one, two := attach("one"), attach("three")
	p := make([]byte, 1<<20)
	fill := func(h *engine.Head, from, to, with int) {
		for i := range p {
			p[i] = byte(with)
		}
		for m := from; m < to; m++ {
			w.ok(h.WriteAt(p, uint64(m)<<20))
		}
	}
	fill(one, 0, 48, 1)
	begin := w.last()
	w.ok(one.Trim(0, 20<<20))
	w.ok(two.Trim(20<<20, 20<<20))
	fill(two, 22, 24, 2)
	w.ok(one.WriteAt(p[:5000], 45<<20+77))
	one.Detach()
	two.Detach()
	_, err = w.e.Resize(caller, "large", 64<<20)
	w.ok(err)
	r := w.undo("large", redo.UndoOptions{Since: at(begin), Match: of("one")})
	if r.Partial || r.LeftOut != 2 || len(r.Clashes) > 0 {
		t.Fatalf("%+v", r)
	}
	want := make([]byte, 64<<20)
	for i := range 48 << 20 {
		switch m := i >> 20; {
		case m < 20 || m >= 40:
			want[i] = 1
		case m == 22 || m == 23:
			want[i] = 2
		}
	}
	w.sameBytes("without one", w.disk("large", w.last()), want)
	w.check()
	for w.e.DrainStep() {
	}
	w.check()
}
