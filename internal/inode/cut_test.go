package inode

import (
	"testing"

	"varve/internal/oplog"
)

func truncate(ino, size uint64) *oplog.Op {
	return &oplog.Op{Kind: oplog.Setattr, Ino: ino, Attr: oplog.Attr{Mask: oplog.SetSize, Size: size}}
}

func TestLargeCuts(t *testing.T) {
	w := newWorld(t, placesOf(1))
	defer w.close()
	expect := func(op *oplog.Op, want Effect) {
		t.Helper()
		if got := w.do(op); got != want {
			t.Fatalf("%v: %+v, not %+v", op, got, want)
		}
		w.sound()
	}
	blocks := func(ino, n uint64, rough bool) {
		t.Helper()
		if i := w.inode(ino); i.Blocks != n || i.Rough != rough {
			t.Fatalf("inode %d has %d blocks, rough %v, not %d, %v", ino, i.Blocks, i.Rough, n, rough)
		}
	}
	f := w.create(Root, "f")
	w.fill(f, 0, 3000)
	w.fill(f, 10000, 4000)
	blocks(f, 7000, false)

	// Up to the limit, a cut is counted.
	expect(truncate(f, 13000*blockSize+1), Effect{Cut: true, Ino: f, From: 13001})
	blocks(f, 6001, false)
	w.fill(f, 13001, 999)
	expect(truncate(f, 9904*blockSize), Effect{Cut: true, Ino: f, From: 9904})
	blocks(f, 3000, false)

	w.fill(f, 10000, 4000)
	expect(truncate(f, 5000*blockSize), Effect{Cut: true, Ino: f, From: 5000, Large: true})
	blocks(f, 5000, true) // 3000 are there
	expect(truncate(f, 9000*blockSize), Effect{})
	w.fill(f, 8000, 10)
	blocks(f, 5010, true)
	expect(truncate(f, 8000*blockSize), Effect{Cut: true, Ino: f, From: 8000})
	blocks(f, 5000, true)
	expect(truncate(f, 3000*blockSize), Effect{Cut: true, Ino: f, From: 3000, Large: true})
	blocks(f, 3000, true)
	expect(truncate(f, 2999*blockSize+1), Effect{})
	expect(truncate(f, 0), Effect{Cut: true, Ino: f})
	blocks(f, 0, false)
	expect(truncate(f, 1), Effect{})

	w.fill(f, 0, LargeCut)
	expect(&oplog.Op{Kind: oplog.Remove, Dir: Root, Name: "f", Ino: f}, Effect{Cut: true, Ino: f, Inodes: -1})
	f = w.create(Root, "f")
	w.fill(f, 0, LargeCut+1)
	g := w.create(Root, "g")
	w.fill(g, 1<<40, 1)
	// A hole costs nothing, however large.
	expect(truncate(g, 0), Effect{Cut: true, Ino: g})
	expect(&oplog.Op{Kind: oplog.Move, Dir: Root, Name: "g", Ino: g, Dir2: Root, Name2: "f", Ino2: f},
		Effect{Cut: true, Ino: f, Large: true, Inodes: -1})
}

// An object takes all that is under its number along, and nothing else.
func TestObjectGoesWhole(t *testing.T) {
	w := newWorld(t, placesOf(1))
	defer w.close()
	link := &oplog.Op{Kind: oplog.Symlink, Dir: Root, Name: "link", Ino: w.ino(), Value: string(make([]byte, MaxTarget)), Attr: oplog.Attr{Mask: oplog.SetMode, Mode: ModeLink | 0o777}}
	w.do(link)
	file := w.create(Root, "file")
	w.fill(file, 0, 3)
	dir := w.mkdir(Root, "dir")
	for _, ino := range []uint64{link.Ino, file, dir} {
		w.do(&oplog.Op{Kind: oplog.SetXattr, Ino: ino, Name: "user.large", Value: string(make([]byte, MaxXattr))})
	}
	w.evict()
	w.do(&oplog.Op{Kind: oplog.Remove, Dir: Root, Name: "link", Ino: link.Ino})
	w.do(&oplog.Op{Kind: oplog.Remove, Dir: Root, Name: "file", Ino: file})
	w.do(&oplog.Op{Kind: oplog.Rmdir, Dir: Root, Name: "dir", Ino: dir})
	w.sound()
	v := w.freeze()
	defer v.Close()
	if all := dump(t, v); len(all) != 1 {
		t.Errorf("left over: %v", all)
	}
	if i := w.inode(Root); i.Nlink != 2 || i.Entries != 0 || i.Mtime != w.now {
		t.Errorf("the root is %+v", i)
	}
}
