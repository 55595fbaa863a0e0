package inode

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/tree"
)

// allCollide gives every name the same hash.
var allCollide = places{seed: 3, bits: 0}

func TestNamesWithTheSameHash(t *testing.T) {
	w := newWorld(t, allCollide)
	defer func() { w.close() }()
	w.fillDisk()
	long := strings.Repeat("x", 200) // so that the names fill many leaves
	inos := map[string]uint64{}
	for i := range slots {
		name := fmt.Sprintf("name%03d%s", i, long)
		inos[name] = w.create(Root, name)
	}
	for i, e := range w.entries(Root) {
		if e.Cookie != uint64(256+i) || e.Name != fmt.Sprintf("name%03d%s", i, long) || e.Ino != inos[e.Name] {
			t.Fatalf("entry %d is %+v", i, e)
		}
	}
	w.evict()
	full := made(oplog.Create, ModeFile, Root, "one more", w.ino())
	if _, err := w.try(full); !fail.Is(err, fail.NoSpace) {
		t.Fatalf("name %d with a hash: %v", slots+1, err)
	}
	if _, err := w.try(&oplog.Op{Kind: oplog.Link, Ino: inos["name000"+long], Dir: Root, Name: "one more"}); !fail.Is(err, fail.NoSpace) {
		t.Fatalf("link number %d with a hash: %v", slots+1, err)
	}
	// A name that goes leaves a hole, behind which the others are still found,
	// and which the next one gets.
	w.evict()
	w.do(&oplog.Op{Kind: oplog.Remove, Dir: Root, Name: "name100" + long, Ino: inos["name100"+long]})
	if e, ok := w.named(Root, "name255"+long); !ok || e.Cookie != 256+255 {
		t.Fatalf("behind a hole: %+v %v", e, ok)
	}
	if e, ok := w.named(Root, "name100"+long); ok {
		t.Fatalf("what was removed is found: %+v", e)
	}
	w.evict()
	w.do(full)
	if e, ok := w.named(Root, "one more"); !ok || e.Cookie != 256+100 || e.Ino != full.Ino {
		t.Fatalf("in the hole: %+v %v", e, ok)
	}
	// A name over another takes its place, though all are taken.
	w.evict()
	w.do(&oplog.Op{
		Kind: oplog.Move, Dir: Root, Name: "name007" + long, Ino: inos["name007"+long],
		Dir2: Root, Name2: "name200" + long, Ino2: inos["name200"+long],
	})
	if e, ok := w.named(Root, "name200"+long); !ok || e.Cookie != 256+200 || e.Ino != inos["name007"+long] {
		t.Fatalf("moved over another: %+v %v", e, ok)
	}
	w.evict()
	w.sound()
}

func TestXattrsWithTheSameHash(t *testing.T) {
	w := newWorld(t, allCollide)
	defer func() { w.close() }()
	w.fillDisk()
	value := func(i int) string { return strings.Repeat(fmt.Sprint(i), i*10) }
	for i := range slots {
		w.do(&oplog.Op{Kind: oplog.SetXattr, Ino: Root, Name: fmt.Sprint("user.", i), Value: value(i)})
	}
	if _, err := w.try(&oplog.Op{Kind: oplog.SetXattr, Ino: Root, Name: "user.more"}); !fail.Is(err, fail.NoSpace) {
		t.Fatalf("xattr %d with a hash: %v", slots+1, err)
	}
	w.evict()
	w.do(&oplog.Op{Kind: oplog.SetXattr, Ino: Root, Name: "user.17", Value: "replaced"})
	w.evict()
	w.do(&oplog.Op{Kind: oplog.RemoveXattr, Ino: Root, Name: "user.18"})
	w.evict()
	for i := range slots {
		var got []byte
		var ok bool
		must(t, w.retry(func() (err error) {
			got, ok, err = w.xattr(w.tree, Root, fmt.Sprint("user.", i))
			return err
		}))
		want := value(i)
		if i == 17 {
			want = "replaced"
		}
		if ok != (i != 18) || ok && string(got) != want {
			t.Fatalf("xattr %d: %d bytes, %v", i, len(got), ok)
		}
	}
	w.sound()
}

// Whoever lists a directory in steps sees every name once that is there all the
// time, whatever comes and goes meanwhile.
func TestListIsStable(t *testing.T) {
	for _, p := range []places{placesOf(5), {seed: 5, bits: 4}} {
		t.Run(fmt.Sprint(p.bits, " bits"), func(t *testing.T) { listIsStable(t, p) })
	}
}

func listIsStable(t *testing.T, p places) {
	w := newWorld(t, p)
	defer w.close()
	random := rand.New(rand.NewPCG(1, 2))
	cookies := map[string]uint64{}
	for i := range 400 {
		w.create(Root, fmt.Sprint("stays ", i))
	}
	for _, e := range w.entries(Root) {
		cookies[e.Name] = e.Cookie
	}
	passing, came, went := map[string]uint64{}, 0, 0
	seen := map[string]bool{}
	for after, done := uint64(0), false; !done; {
		done = true
		must(t, w.retry(func() error {
			n := 0
			return List(w.tree, Root, after, func(e Entry) bool {
				if strings.HasPrefix(e.Name, "stays") {
					if seen[e.Name] || cookies[e.Name] != e.Cookie {
						t.Fatalf("%+v: seen %v, cookie was %#x", e, seen[e.Name], cookies[e.Name])
					}
					seen[e.Name] = true
				}
				if e.Cookie <= after {
					t.Fatalf("cookie %#x after %#x", e.Cookie, after)
				}
				after, done = e.Cookie, false
				n++
				return n < 7
			})
		}))
		for range 10 {
			name := fmt.Sprint("passes ", random.IntN(300))
			if ino, ok := passing[name]; ok {
				w.do(&oplog.Op{Kind: oplog.Remove, Dir: Root, Name: name, Ino: ino})
				delete(passing, name)
				went++
			} else {
				passing[name] = w.create(Root, name)
				came++
			}
		}
		if random.IntN(10) == 0 {
			w.evict()
		}
	}
	if len(seen) != len(cookies) || came < 100 || went < 100 {
		t.Fatalf("saw %d of %d names, %d came and %d went", len(seen), len(cookies), came, went)
	}
	w.sound()
}

// The functions others use have the full hash, and mean the same.
func TestExported(t *testing.T) {
	c := tree.NewCache(&disk{}, 0)
	defer c.Close()
	share := c.Open(tree.Ref{})
	defer share.Close()
	Make(share, 0o1777, 10, 20, 30)
	want := Inode{Mode: ModeDir | 0o1777, Nlink: 2, UID: 10, GID: 20, Parent: Root, Atime: 30, Mtime: 30, Ctime: 30, Btime: 30}
	if got, err := Load(share, Root); err != nil || got != want {
		t.Fatalf("%+v, %v", got, err)
	}
	const seed = 99
	for i, op := range []*oplog.Op{
		made(oplog.Create, ModeFile|0o600, Root, "file", 3),
		{Kind: oplog.SetXattr, Ino: 3, Name: "user.a", Value: "value"},
	} {
		op.Time = 40
		planned, err := Plan(share, seed, op)
		must(t, err)
		must(t, Prepare(share, seed, op))
		did, err := Apply(share, seed, op)
		if err != nil || did != planned || did != (Effect{Inodes: 1 - i}) {
			t.Fatalf("%v: %+v, %+v, %v", op, planned, did, err)
		}
	}
	e, ok, err := Lookup(share, seed, Root, "file")
	if err != nil || !ok || e != (Entry{Ino: 3, Type: ModeFile >> 12, Name: "file", Cookie: placesOf(seed).entries("file")}) {
		t.Fatalf("%+v %v %v", e, ok, err)
	}
	if _, ok, err := Lookup(share, seed+1, Root, "file"); ok || err != nil {
		t.Fatalf("with another seed: %v %v", ok, err)
	}
	if v, ok, err := Xattr(share, seed, 3, "user.a"); err != nil || !ok || string(v) != "value" {
		t.Fatalf("%q %v %v", v, ok, err)
	}
	if _, err := Load(share, 4); !fail.Is(err, fail.Stale) {
		t.Fatalf("no inode: %v", err)
	}
	if _, err := Target(share, 3); !fail.Is(err, fail.Invalid) {
		t.Fatalf("target of a file: %v", err)
	}
	must(t, List(share, Root, maxCookie, func(Entry) bool {
		t.Error("an entry after the last cookie")
		return false
	}))
	must(t, AddBlocks(share, 3, 5))
	must(t, AddBlocks(share, 3, -9))
	if i, err := Load(share, 3); err != nil || i.Blocks != 0 {
		t.Fatalf("%+v %v", i, err)
	}
	if err := AddBlocks(share, 4, 1); !fail.Is(err, fail.Corrupt) {
		t.Fatalf("blocks of no inode: %v", err)
	}
}
