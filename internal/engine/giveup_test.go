package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/inode"
	"varve/internal/oplog"
	"varve/internal/segment"
	"varve/internal/tree"
	"varve/internal/when"
)

var present = when.Spec{Kind: when.Now}

// lossy is a pool of which a leaf will be damaged while operations that need it are
// in the log only: of the volume d, which has every second of 3000 blocks, or of the
// share h, which has 300 files of a block.
type lossy struct {
	*emptying
	leaf    segment.Addr
	damaged uint64   // the first operation that needs it
	files   []uint64 // inode numbers
	orphans bool     // no tree has the leaf any more: nobody knows what was below it
}

func newLossy(t *testing.T, share bool) *lossy {
	l := &lossy{emptying: newEmptying(t, 1500)}
	if share {
		l.must("share", second(l.e.CreateShare(tester, "h", 0o755, 0, 0)))
		for i := range 300 {
			l.files = append(l.files, l.create("h", inode.Root, fmt.Sprint("file", i), inode.ModeFile|0o644))
			l.write("h", l.files[i], block)
		}
	}
	l.settle()
	return l
}

// settle lets the trees be the same in all super roots that are there.
func (l *lossy) settle() {
	l.must("checkpoint", l.e.Checkpoint())
	for b := range 3 {
		l.put("other", b, 1, nil)
		l.must("checkpoint", l.e.Checkpoint())
	}
}

func (l *lossy) id(name string) uint64 {
	i, err := l.e.Dataset(name)
	l.must("dataset", err)
	return i.ID
}

// spoils chooses the leaf that will be damaged.
func (l *lossy) spoils(name string, k tree.Key) {
	var err error
	l.leaf, err = l.e.Leaf(l.id(name), k)
	l.must("leaf", err)
}

// hit writes before, into and after what will be damaged.
func (l *lossy) hit() {
	l.spoils("d", inode.DataKey(0, 1500))
	l.put("d", 2, 9, nil)
	l.put("d", 1500, 9, nil)
	l.damaged = l.e.Status().LastLSN
	l.put("d", 4, 9, nil)
}

// hitNewest is hit where only the newest super root has the leaf, which is damaged
// then. It returns where the leaf of the others is.
func (l *lossy) hitNewest() (older segment.Addr) {
	l.spoils("d", inode.DataKey(0, 1500))
	older = l.leaf
	l.put("d", 1502, 3, nil)
	l.must("checkpoint", l.e.Checkpoint())
	l.hit()
	l.must("flush", l.e.Flush())
	l.e.Abort()
	l.damage(l.leaf)
	return older
}

// hitShare is hit on a share.
func (l *lossy) hitShare() {
	l.spoils("h", inode.Key(l.files[150]))
	l.chmod("h", l.files[0])
	l.chmod("h", l.files[150])
	l.damaged = l.e.Status().LastLSN
}

// crash cuts the power and damages the leaf. Opening says what that costs, and does
// it when asked to.
func (l *lossy) crash(what string) {
	l.t.Helper()
	l.must("flush", l.e.Flush())
	l.e.Abort()
	l.damage(l.leaf)
	o := l.conf.options(l.store, l.clock)
	hint := fmt.Sprintf("; --accept-loss gives up what follows lsn %d of %s", l.damaged-1, what)
	if _, err := engine.Open(o); !fail.Is(err, fail.Corrupt) || !strings.HasSuffix(fmt.Sprint(err), hint) {
		l.t.Fatalf("opening with the damaged leaf: %v", err)
	}
	o.AcceptLoss, o.BaseOps, o.BaseAge = true, 1<<40, 1<<62
	var err error
	if l.e, err = engine.Open(o); err != nil {
		l.t.Fatalf("accepting the loss: %v", err)
	}
}

// said compares what opening said of the loss: beginnings, in their order.
func (l *lossy) said(want ...string) {
	l.t.Helper()
	var got []string
	if said := l.e.Status().Recovery.Discarded; said != "" {
		got = strings.Split(said, "; ")
	}
	for i, w := range want {
		if i >= len(got) || !strings.HasPrefix(got[i], w+" was given up: ") {
			l.t.Errorf("it says %q, want %q", got, want)
		}
	}
	if len(got) > len(want) {
		l.t.Errorf("it says %q, want %q", got, want)
	}
}

// value returns the first byte of a block.
func (l *lossy) value(name string, b int) byte {
	l.t.Helper()
	got := make([]byte, block)
	l.read(name, b, got)
	return got[0]
}

// has compares the first bytes of some blocks.
func (l *lossy) has(name string, want map[int]byte) {
	l.t.Helper()
	for b, w := range want {
		if got := l.value(name, b); got != w {
			l.t.Errorf("block %d of %s is %d, want %d", b, name, got, w)
		}
	}
}

// verify holds what check says against what is damaged.
func (l *lossy) verify(r engine.CheckReport, err error) {
	l.t.Helper()
	l.must("check", err)
	for _, d := range r.Damage {
		if !strings.Contains(d.What, "fails its checksum") && d.Where != "below what cannot be read" &&
			!(l.orphans && strings.HasPrefix(d.What, "nobody needs this data")) {
			l.t.Errorf("check: %s: %s", d.Where, d.What)
		}
	}
}

// restAfterLoss lets the pool be used, crash again, and come to rest.
func (l *lossy) restAfterLoss() {
	l.t.Helper()
	l.verify(l.e.Check(context.Background(), true, nil))
	l.put("other", 100, 3, nil)
	l.must("flush", l.e.Flush())
	l.e.Abort()
	l.openEngine() // the loss was accepted once
	l.verify(l.e.Check(context.Background(), true, nil))
	l.drain(8)
	if l.e.MoreToDo() {
		l.t.Error("something is left to be done")
	}
	l.has("other", map[int]byte{100: 3})
	l.must("close", l.e.Close(context.Background()))
	l.verify(engine.CheckStore(context.Background(), l.store, true, nil))
}

// by does something to a share.
func (l *lossy) by(name string, do func(h hand) error) {
	l.t.Helper()
	h := newHand(l.t, l.e, l.id(name))
	defer h.Detach()
	l.must("a change of "+name, do(h))
}

// create makes a file, or with the mode of one a directory.
func (l *lossy) create(name string, dir uint64, file string, mode uint32) (ino uint64) {
	l.t.Helper()
	l.by(name, func(h hand) (err error) {
		ino, err = h.create(dir, file, mode)
		return err
	})
	return ino
}

func (l *lossy) write(name string, ino, n uint64) {
	l.t.Helper()
	p := bytes.Repeat([]byte{7}, engine.MaxWrite)
	for off := uint64(0); off < n; off += engine.MaxWrite {
		l.by(name, func(h hand) error { return h.write(ino, off, p[:min(n-off, engine.MaxWrite)]) })
	}
}

func (l *lossy) chmod(name string, ino uint64) {
	l.t.Helper()
	op := &oplog.Op{Kind: oplog.Setattr, Ino: ino, Attr: oplog.Attr{Mask: oplog.SetMode, Mode: 0o600}}
	l.by(name, func(h hand) error { return h.Change(op, func(inode.Reader) error { return nil }, nil) })
}

// exists reports whether the root directory of a share has a name.
func (l *lossy) exists(name, file string) (ok bool) {
	l.by(name, func(h hand) error {
		return h.Look(func(r inode.Reader) error {
			ino, err := h.ino(r, inode.Root, file)
			ok = ino != 0
			return err
		})
	})
	return ok
}

// A write of the log whose place in the tree was damaged since cannot be repeated.
// That is told; and only what its own dataset did from then on is given up, when
// asked to.
func TestWriteOverDamage(t *testing.T) {
	defer recoverStop(t)
	l := newLossy(t, false)
	l.hit()
	l.must("snapshot", second(l.e.Snapshot(tester, "d", "lost")))
	l.must("snapshot", second(l.e.SnapshotAll(tester, "all")))
	l.put("d", 6, 9, nil)
	l.must("destroy", second(l.e.DestroySnapshot(tester, "d", "lost")))
	l.must("resize", second(l.e.Resize(tester, "d", 4000*block)))
	l.must("rename", second(l.e.Rename(tester, "d", "e")))
	l.put("other", 7, 9, nil)
	last := l.e.Status().LastLSN
	l.crash("d")
	l.said(fmt.Sprintf("what follows lsn %d of e", l.damaged-1))
	compare := func() {
		t.Helper()
		l.has("e", map[int]byte{2: 9, 4: 1, 6: 1})
		l.has("other", map[int]byte{7: 9})
		v := l.open("e")
		defer v.Close()
		if err := v.ReadAt(make([]byte, block), 1500*block, nil); !fail.Is(err, fail.Corrupt) {
			t.Errorf("reading what is damaged: %v", err)
		}
		if v.Size() != 3000*block {
			t.Errorf("it has %d bytes", v.Size())
		}
	}
	compare()
	if snaps, err := l.e.Snapshots(""); err != nil || len(snaps) != 1 || snaps[0].Dataset != "other" {
		t.Errorf("snapshots: %+v, %v", snaps, err)
	}
	for lsn := l.damaged; lsn < last; lsn++ {
		if _, err := l.e.Clone(tester, "e", atLSN(lsn), "between"); !fail.Is(err, fail.Corrupt) {
			t.Errorf("a clone of what was given up, lsn %d: %v", lsn, err)
		}
	}
	l.put("e", 8, 8, nil)
	moment := l.e.Status().LastLSN
	l.put("e", 8, 7, nil)
	l.must("flush", l.e.Flush())
	l.e.Abort()
	o := l.conf.options(l.store, l.clock)
	o.BaseOps, o.BaseAge = 1<<40, 1<<62
	var err error
	if l.e, err = engine.Open(o); err != nil {
		t.Fatal(err)
	}
	compare()
	for b := range 6 { // until no checkpoint of those days has a tree of its own
		l.put("e", 10+2*b, 1, nil)
		l.must("checkpoint", l.e.Checkpoint())
	}
	l.must("clone", second(l.e.Clone(tester, "e", atLSN(moment), "c")))
	l.has("c", map[int]byte{4: 1, 8: 8})
	l.restAfterLoss()
}

// Whatever comes after the damaged write in the log, the pool opens, nothing is shown
// that never was, and the rest of the pool is whole.
func TestGivenUpVolume(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    func(l *lossy, lost string)
	}{
		{"at once", func(l *lossy, lost string) {
			l.spoils("d", inode.DataKey(0, 1500))
			l.put("d", 1500, 9, nil)
			l.damaged = l.e.Status().LastLSN
			l.crash("d")
			l.said(fmt.Sprintf("what follows lsn %d of d", l.damaged-1))
			l.has("d", map[int]byte{2: 1})
		}},
		{"destroyed", func(l *lossy, lost string) {
			l.must("destroy", second(l.e.Destroy(tester, "d", true)))
			l.put("other", 9, 9, nil)
			l.crash("d")
			l.said()
			l.drain(8)
			if !l.e.Buried(1) {
				l.t.Error("it is not buried")
			}
			l.orphans = true
		}},
		{"destroyed and brought back", func(l *lossy, lost string) {
			l.must("destroy", second(l.e.Destroy(tester, "d", false)))
			l.must("undestroy", second(l.e.Undestroy(tester, "d", "again")))
			l.put("again", 6, 9, nil)
			l.crash("d")
			l.said(strings.Replace(lost, " d", " again", 1))
			l.has("again", map[int]byte{2: 9, 4: 1, 6: 1})
		}},
		{"cloned", func(l *lossy, lost string) {
			l.must("clone", second(l.e.Clone(tester, "d", present, "c")))
			l.put("c", 6, 9, nil)
			l.must("clone", second(l.e.Clone(tester, "c", present, "cc")))
			l.must("rename", second(l.e.Rename(tester, "c", "renamed")))
			l.must("clone", second(l.e.Clone(tester, "d", atLSN(l.damaged-1), "whole")))
			l.put("whole", 6, 9, nil)
			l.crash("d")
			l.said("the clone c", "the clone cc", lost)
			l.has("whole", map[int]byte{2: 9, 4: 1, 6: 9})
			if n := len(l.e.Datasets(false)); n != 3 {
				l.t.Errorf("%d datasets", n)
			}
			l.must("clone", second(l.e.Clone(tester, "whole", present, "c")))
		}},
		{"a snapshot and a moment after it", func(l *lossy, lost string) {
			l.must("snapshot", second(l.e.Snapshot(tester, "d", "s")))
			l.put("d", 6, 9, nil)
			moment := l.e.Status().LastLSN
			l.put("d", 8, 9, nil)
			l.crash("d")
			l.said(lost)
			if _, err := l.e.Clone(tester, "d", atLSN(moment), "hole"); !fail.Is(err, fail.Corrupt) {
				l.t.Errorf("a moment with a hole in its past: %v", err)
			}
		}},
		{"rolled back to what is lost", func(l *lossy, lost string) {
			moment := l.e.Status().LastLSN
			l.put("d", 6, 9, nil)
			l.must("rollback", second(l.e.Rollback(tester, "d", atLSN(moment), false)))
			l.put("d", 8, 9, nil)
			l.crash("d")
			l.said(lost)
			l.has("d", map[int]byte{2: 9, 4: 1, 6: 1, 8: 1})
		}},
		{"large trims", func(l *lossy, lost string) {
			v := l.open("d")
			l.must("resize", second(l.e.Resize(tester, "d", 8192*block)))
			l.must("trim", v.Trim(0, 4096*block))
			v.Close()
			for l.e.DrainStep() {
			}
			l.crash("d")
			l.said(lost)
			l.has("d", map[int]byte{2: 9, 4: 1})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			defer recoverStop(t)
			l := newLossy(t, false)
			if tt.name != "at once" {
				l.hit()
			}
			tt.f(l, fmt.Sprintf("what follows lsn %d of d", l.damaged-1))
			l.restAfterLoss()
		})
	}
}

// What given-up writes occupy is history: it is free when that has passed them. Of a
// clone that is not made it is free at once.
func TestGivenUpDataPasses(t *testing.T) {
	defer recoverStop(t)
	l := newLossy(t, false)
	l.hit()
	l.must("clone", second(l.e.Clone(tester, "d", present, "c")))
	l.put("c", 6, 9, nil)
	data := func(name string, since uint64) (of []segment.Addr) {
		all, err := l.e.Extents(l.id(name), l.e.Status().LastLSN)
		l.must("extents", err)
		for a, birth := range all {
			if birth >= since {
				of = append(of, segment.Addr(a))
			}
		}
		return of
	}
	ofD := data("d", l.damaged)
	ofC := slices.DeleteFunc(data("c", l.damaged), func(a segment.Addr) bool { return slices.Contains(ofD, a) })
	if len(ofD) != 2 || len(ofC) != 1 {
		t.Fatalf("d has %d blocks that will be lost, c %d", len(ofD), len(ofC))
	}
	l.crash("d")
	free := func(of []segment.Addr, want bool) {
		t.Helper()
		for _, a := range of {
			if l.e.IsFree(a) != want {
				t.Errorf("%v is free: %v, want %v", a, !want, want)
			}
		}
	}
	free(ofD, false)
	free(ofC, true)
	l.must("prune", second(l.e.Prune(tester, "d", engine.PruneOptions{Before: &present})))
	for range 2 {
		l.put("other", 1, 1, nil)
		l.must("checkpoint", l.e.Checkpoint())
	}
	free(ofD, true)
	l.restAfterLoss()
}

func TestGivenUpShare(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    func(l *lossy) (last uint64)
	}{
		{"objects that never came to be", func(l *lossy) uint64 {
			l.hitShare()
			d := l.create("h", inode.Root, "dir", inode.ModeDir|0o755)
			f := l.create("h", d, "file", inode.ModeFile|0o644)
			l.write("h", f, 5*block)
			l.by("h", func(h hand) error { return h.remove(inode.Root, "file0") })
			l.crash("h")
			if !l.exists("h", "file0") || l.exists("h", "dir") {
				l.t.Error("it is not as before the damaged operation")
			}
			return f
		}},
		{"the first creates", func(l *lossy) uint64 {
			l.spoils("h", inode.Key(inode.Root))
			f := l.create("h", inode.Root, "file", inode.ModeFile|0o644)
			l.damaged = l.e.Status().LastLSN
			l.crash("h")
			return f
		}},
		{"a clone whose file is shorter", func(l *lossy) uint64 {
			l.hitShare()
			l.write("h", l.files[0], 20<<20)
			l.must("clone", second(l.e.Clone(tester, "h", present, "c")))
			l.by("c", func(h hand) error { return h.truncate(l.files[0], 0) })
			for l.e.DrainStep() {
			}
			l.crash("h")
			return 0
		}},
		{"a list that is emptied", func(l *lossy) uint64 {
			l.write("h", l.files[0], 20<<20)
			l.settle()
			l.by("h", func(h hand) error { return h.truncate(l.files[0], 0) })
			l.hitShare()
			for l.e.DrainStep() {
			}
			l.crash("h")
			for range 4 {
				l.must("checkpoint", l.e.Checkpoint())
			}
			return 0
		}},
		{"an undo", func(l *lossy) uint64 {
			l.hitShare()
			m, err := l.e.Resolve("h", present)
			l.must("resolve", err)
			draft, err := l.e.Draft(tester, m, "undo")
			l.must("draft", err)
			op := &oplog.Op{Kind: oplog.Create, Dir: inode.Root, Name: "undone", Attr: oplog.Attr{Mask: oplog.SetMode, Mode: inode.ModeFile | 0o644}}
			l.must("create", draft.Change(op, func(inode.Reader) error { op.Ino = draft.NextIno(); return nil }, nil))
			_, err = draft.Replace(tester, l.e.Status().LastLSN)
			l.must("replace", err)
			draft.Discard()
			l.crash("h")
			if l.exists("h", "undone") {
				l.t.Error("it is not as before the damaged operation")
			}
			return op.Ino
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			defer recoverStop(t)
			l := newLossy(t, true)
			last := tt.f(l)
			h, err := l.e.AttachID(l.id("h"), tester, func() {})
			l.must("attach", err)
			if next := h.NextIno(); next <= last {
				t.Errorf("inode number %d comes again, %d was given", next, last)
			}
			h.Detach()
			l.restAfterLoss()
		})
	}
}

// What was written after a loss was accepted does not hang on one super root.
func TestRootsAfterLoss(t *testing.T) {
	defer recoverStop(t)
	l := newLossy(t, false)
	l.hit()
	l.crash("d")
	l.put("d", 6, 8, nil)
	l.must("flush", l.e.Flush())
	l.e.Abort()
	f, err := segment.FindSuperRoot(l.store, l.e.PoolID())
	l.must("find", err)
	l.damage(f.Position.Addr + 1)
	l.openEngine()
	l.has("d", map[int]byte{2: 9, 4: 1, 6: 8})
	l.restAfterLoss()
}

// Nothing is given up that an older super root would repeat.
func TestOlderRootBeforeLoss(t *testing.T) {
	defer recoverStop(t)
	l := newLossy(t, false)
	l.hitNewest()
	r, err := engine.CheckStore(context.Background(), l.store, true, nil)
	if err != nil || r.Datasets != 2 || r.Extents < 1500 || len(r.Damage) != 1 || r.Damage[0].Where != "a checkpoint that opening passes over" || strings.Contains(r.Damage[0].What, "--accept-loss") {
		t.Errorf("check: %+v, %v", r, err)
	}
	o := l.conf.options(l.store, l.clock)
	o.AcceptLoss = true
	l.e, err = engine.Open(o)
	l.must("open", err)
	if said := l.e.Status().Recovery.Discarded; said != "" {
		t.Errorf("it says %q", said)
	}
	l.has("d", map[int]byte{2: 9, 4: 9, 1500: 9, 1502: 3})
	l.restAfterLoss()
}

// The disk does not give what an older super root needs: that is no reason to give
// anything up.
func TestOlderRootRefused(t *testing.T) {
	defer recoverStop(t)
	l := newLossy(t, false)
	r := &refusing{Store: l.store.Store, blocks: map[segment.Addr]bool{l.hitNewest(): true}}
	l.store.Store = r
	o := l.conf.options(l.store, l.clock)
	o.AcceptLoss = true
	if _, err := engine.Open(o); !fail.Is(err, fail.IO) {
		t.Errorf("opening: %v", err)
	}
	r.blocks = nil
	l.openEngine()
	l.has("d", map[int]byte{2: 9, 4: 9, 1500: 9, 1502: 3})
	l.restAfterLoss()
}

// A damaged leaf beside leaves that are in memory only is what check reports.
func TestCheckBesideChangedLeaf(t *testing.T) {
	defer recoverStop(t)
	l := newLossy(t, false)
	l.spoils("d", inode.DataKey(0, 1500))
	for b := 0; b < 3000; b += 20 {
		if b < 900 || b > 2100 {
			l.put("d", b, 2, nil)
		}
	}
	l.must("flush", l.e.Flush())
	l.e.Abort()
	l.damage(l.leaf)
	r, err := engine.CheckStore(context.Background(), l.store, false, nil)
	l.verify(r, err)
	if n := len(r.Damage); n == 0 || r.Damage[n-1].Where != "below what cannot be read" {
		t.Errorf("check: %+v", r.Damage)
	}
	if r.Extents < 1100 {
		t.Errorf("only %d extents were looked at", r.Extents)
	}
	l.openEngine()
	l.restAfterLoss()
}
