package inode

import (
	"context"
	"errors"
	"strings"
	"testing"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/tree"
)

// damage is something that a check has to find: all of says, and nothing else.
type damage struct {
	name string
	do   func(w *world, s *sample)
	says []string
}

// A sample is a share with a bit of everything.
type sample struct{ file, linked, dir, sub, low, link uint64 }

func newSample(w *world) *sample {
	s := &sample{dir: w.mkdir(Root, "dir")}
	s.sub = w.mkdir(s.dir, "sub")
	s.low = w.mkdir(s.sub, "low")
	s.file = w.create(s.sub, "file")
	w.fill(s.file, 0, 3)
	w.fill(s.file, 9, 2)
	s.linked = w.create(s.dir, "linked")
	w.do(&oplog.Op{Kind: oplog.Link, Dir: Root, Name: "other", Ino: s.linked})
	s.link = w.ino()
	w.do(&oplog.Op{
		Kind: oplog.Symlink, Dir: Root, Name: "link", Ino: s.link, Value: strings.Repeat("t", 2000),
		Attr: oplog.Attr{Mask: oplog.SetMode, Mode: ModeLink | 0o777},
	})
	w.do(&oplog.Op{Kind: oplog.SetXattr, Ino: s.file, Name: "user.x", Value: strings.Repeat("v", 2000)})
	w.sound()
	return s
}

// change changes an inode behind everybody's back.
func (w *world) change(ino uint64, fn func(i *Inode)) {
	w.Helper()
	i := w.inode(ino)
	fn(&i)
	w.raw(Key(ino), i.Append(nil))
}

// unname deletes an entry behind everybody's back.
func (w *world) unname(dir uint64, name string) {
	w.Helper()
	e, ok := w.named(dir, name)
	if !ok {
		w.Fatalf("there is no %q in %d", name, dir)
	}
	w.raw(entryKey(dir, e.Cookie), nil)
}

// name puts an entry at the nth slot of its name.
func (w *world) name(dir uint64, n uint64, e Entry) {
	w.Helper()
	w.raw(entryKey(dir, w.places.entries(e.Name)+n), e.append(nil))
}

const (
	fileType = ModeFile >> typeShift
	dirType  = ModeDir >> typeShift
)

var damages = []damage{
	{"an entry lost", func(w *world, s *sample) { w.unname(s.sub, "file") },
		[]string{"directory 4 counts 2 entries, but has 1", "no name leads to inode 6"}},
	{"one of two names lost", func(w *world, s *sample) { w.unname(Root, "other") },
		[]string{"directory 2 counts 3 entries, but has 2", "inode 7 has 2 links, but 1 names"}},
	{"an inode lost", func(w *world, s *sample) { w.raw(Key(s.linked), nil) },
		[]string{"2 names lead to inode 7, which is not there"}},
	{"a file's inode lost", func(w *world, s *sample) { w.raw(Key(s.file), nil) },
		[]string{"there is no inode 6, but there are 2 extents", "1 names lead to inode 6, which is not there"}},
	{"a symlink's inode lost", func(w *world, s *sample) { w.raw(Key(s.link), nil) },
		[]string{"there is no inode 8, but there are 0 extents, 0 entries and 2000 bytes of a target", "1 names lead to inode 8"}},
	{"a directory's inode lost", func(w *world, s *sample) { w.raw(Key(s.sub), nil) },
		[]string{"there is no inode 4, but there are 0 extents, 2 entries", "1 names lead to inode 4"}},
	{"an unreadable inode", func(w *world, s *sample) { w.raw(Key(s.sub), []byte("rubbish")) },
		[]string{"inode 4: an inode's item is malformed"}},
	{"a second inode item", func(w *world, s *sample) { w.raw(itemKey(s.file, inodeItem, 5), []byte("x")) },
		[]string{"inode 6 has another inode item"}},
	{"an item of no type", func(w *world, s *sample) { w.raw(itemKey(s.file, 9, 5), []byte("x")) },
		[]string{"inode 6 has an item of no known type"}},
	{"links of a file", func(w *world, s *sample) { w.change(s.file, func(i *Inode) { i.Nlink = 2 }) },
		[]string{"inode 6 has 2 links, but 1 names"}},
	{"links of a directory", func(w *world, s *sample) { w.change(s.dir, func(i *Inode) { i.Nlink = 4 }) },
		[]string{"directory 3 has 4 links, but 1 subdirectories"}},
	{"links of the root", func(w *world, s *sample) { w.change(Root, func(i *Inode) { i.Nlink = 2 }) },
		[]string{"directory 2 has 2 links, but 1 subdirectories"}},
	{"entries", func(w *world, s *sample) { w.change(s.dir, func(i *Inode) { i.Entries++ }) },
		[]string{"directory 3 counts 3 entries, but has 2"}},
	{"the parent of a directory", func(w *world, s *sample) { w.change(s.sub, func(i *Inode) { i.Parent = Root }) },
		[]string{"directory 4 has parent 2, but is in directory 3"}},
	{"the parent of the root", func(w *world, s *sample) { w.change(Root, func(i *Inode) { i.Parent = s.dir }) },
		[]string{"directory 2 has parent 3, but is in directory 2"}},
	{"the parent of a file", func(w *world, s *sample) { w.change(s.file, func(i *Inode) { i.Parent = 77 }) }, nil},
	{"a directory with two names", func(w *world, s *sample) {
		w.name(Root, 0, Entry{Ino: s.sub, Type: dirType, Name: "again"})
		w.change(Root, func(i *Inode) { i.Entries++; i.Nlink++ })
	}, []string{"directory 4 has 2 names", "directory 4 has parent 3, but is in directory 2"}},
	{"a name of the root", func(w *world, s *sample) {
		w.name(s.sub, 0, Entry{Ino: Root, Type: dirType, Name: "up"})
		w.change(s.sub, func(i *Inode) { i.Entries++; i.Nlink++ })
	}, []string{"1 names lead to the root directory"}},
	{"a cycle", func(w *world, s *sample) {
		w.unname(s.dir, "sub")
		w.change(s.dir, func(i *Inode) { i.Entries--; i.Nlink-- })
		w.name(s.low, 0, Entry{Ino: s.sub, Type: dirType, Name: "sub"})
		w.change(s.low, func(i *Inode) { i.Entries++; i.Nlink++ })
		w.change(s.sub, func(i *Inode) { i.Parent = s.low })
	}, []string{"directory 4 cannot be reached from the root, but is in directory 5", "directory 5 cannot be reached"}},
	{"a directory lost with all below", func(w *world, s *sample) {
		w.unname(Root, "dir")
		w.change(Root, func(i *Inode) { i.Entries--; i.Nlink-- })
	}, []string{"no name leads to inode 3", "directory 4 cannot be reached", "directory 5 cannot be reached"}},
	{"a name that says another type", func(w *world, s *sample) {
		w.name(s.sub, 0, Entry{Ino: s.file, Type: ModeLink >> typeShift, Name: "file"})
	}, []string{"inode 6 has type 8, but a name that says otherwise"}},
	{"a file that is said to be a directory", func(w *world, s *sample) {
		w.name(s.sub, 0, Entry{Ino: s.file, Type: dirType, Name: "file"})
		w.change(s.sub, func(i *Inode) { i.Nlink++ })
	}, []string{"inode 6 has type 8, but a name that says otherwise"}},
	{"an unreadable entry", func(w *world, s *sample) {
		e, _ := w.named(s.sub, "file")
		w.raw(entryKey(s.sub, e.Cookie), []byte{0})
	}, []string{"the entry at cookie", "no name leads to inode 6"}},
	{"a name that cannot be", func(w *world, s *sample) {
		w.unname(s.sub, "file")
		w.name(s.sub, 0, Entry{Ino: s.file, Type: fileType, Name: "a/b"})
	}, []string{`directory 4 has the name "a/b", which cannot be`}},
	{"a name under another's hash", func(w *world, s *sample) {
		w.unname(s.sub, "file")
		e := Entry{Ino: s.file, Type: fileType, Name: "file"}
		w.raw(entryKey(s.sub, w.places.entries("other")), e.append(nil))
	}, []string{`the entry "file" of inode 4 is at`}},
	{"a name twice", func(w *world, s *sample) {
		w.name(s.sub, 7, Entry{Ino: s.file, Type: fileType, Name: "file"})
		w.change(s.sub, func(i *Inode) { i.Entries++ })
		w.change(s.file, func(i *Inode) { i.Nlink++ })
	}, []string{`inode 4 has the entry "file" twice`}},
	{"entries in a file", func(w *world, s *sample) {
		w.name(s.file, 0, Entry{Ino: s.linked, Type: fileType, Name: "x"})
		w.change(s.linked, func(i *Inode) { i.Nlink++ })
	}, []string{"inode 6 is no directory, but has 1 entries"}},
	{"a piece of an xattr lost", func(w *world, s *sample) { w.raw(xattrKey(s.file, w.places.xattrs("user.x")+1), nil) },
		[]string{"an extended attribute of inode 6 lacks"}},
	{"the last piece of an xattr lost", func(w *world, s *sample) { w.raw(xattrKey(s.file, w.places.xattrs("user.x")+2), nil) },
		[]string{"an extended attribute of inode 6 lacks"}},
	{"an xattr under another's hash", func(w *world, s *sample) {
		w.raw(xattrKey(Root, w.places.xattrs("user.other")), append(appendHead(nil, "user.x", 1), 'v'))
	}, []string{`the extended attribute "user.x" of inode 2 is at`}},
	{"an xattr twice", func(w *world, s *sample) {
		for slot := range uint64(2) {
			w.raw(xattrKey(Root, w.places.xattrs("user.x")+slot<<pieceBits), append(appendHead(nil, "user.x", 1), 'v'))
		}
	}, []string{`inode 2 has the extended attribute "user.x" twice`}},
	{"an xattr of nobody", func(w *world, s *sample) {
		w.raw(xattrKey(99, w.places.xattrs("user.x")), append(appendHead(nil, "user.x", 1), 'v'))
	}, []string{"there is no inode 99"}},
	{"a piece of a target lost", func(w *world, s *sample) { w.raw(itemKey(s.link, targetItem, 1), nil) },
		[]string{"the target of inode 8 has a piece at", "inode 8 with mode 0120777 and size 2000 has a target of 1100 bytes"}},
	{"a short piece of a target", func(w *world, s *sample) { w.raw(itemKey(s.link, targetItem, 0), []byte("short")) },
		[]string{"piece at", "piece at", "has a target of 1105 bytes"}},
	{"a target of a file", func(w *world, s *sample) { w.raw(itemKey(s.file, targetItem, 0), []byte("x")) },
		[]string{"inode 6 with mode 0100644 and size 45056 has a target of 1 bytes"}},
	{"a target of nobody", func(w *world, s *sample) { w.raw(itemKey(99, targetItem, 0), []byte("x")) },
		[]string{"there is no inode 99"}},
	{"blocks", func(w *world, s *sample) { w.change(s.file, func(i *Inode) { i.Blocks++ }) },
		[]string{"inode 6 counts 6 blocks, but has 5"}},
	{"too few blocks, roughly", func(w *world, s *sample) { w.change(s.file, func(i *Inode) { i.Rough = true; i.Blocks-- }) },
		[]string{"inode 6 counts 4 blocks, but has 5"}},
	{"too many blocks, roughly", func(w *world, s *sample) { w.change(s.file, func(i *Inode) { i.Rough = true; i.Blocks++ }) }, nil},
	{"an extent lost", func(w *world, s *sample) { w.raw(DataKey(s.file, 9), nil) },
		[]string{"inode 6 counts 5 blocks, but has 3"}},
	{"an extent beyond the size", func(w *world, s *sample) { w.change(s.file, func(i *Inode) { i.Size = 10 * blockSize }) },
		[]string{"inode 6 has a block 10 beyond its size of 40960 bytes"}},
	{"an extent up to the size", func(w *world, s *sample) { w.change(s.file, func(i *Inode) { i.Size = 10*blockSize + 1 }) }, nil},
	{"extents that overlap", func(w *world, s *sample) {
		w.raw(DataKey(s.file, 2), []byte("1 blocks"))
		w.change(s.file, func(i *Inode) { i.Blocks++ })
	}, []string{"block 2 of inode 6 is mapped twice"}},
	{"an unreadable extent", func(w *world, s *sample) { w.raw(DataKey(s.file, 5), []byte("rubbish")) },
		[]string{"the extent at block 5 of inode 6 cannot be read", "inode 6 counts 5 blocks, but has 6"}},
	{"an extent of a directory", func(w *world, s *sample) { w.raw(DataKey(s.dir, 5), []byte("1 blocks")) },
		[]string{"inode 3 with mode 040755 has 1 extents and counts 0 blocks"}},
	{"an extent of nobody", func(w *world, s *sample) { w.raw(DataKey(0, 5), []byte("1 blocks")) },
		[]string{"there is no inode 0"}},
	{"no root", func(w *world, s *sample) { w.raw(Key(Root), nil) },
		[]string{"there is no inode 2, but", "there is no root directory"}},
}

func TestCheckFinds(t *testing.T) {
	for _, p := range []places{placesOf(1), {seed: 1, bits: 20}} {
		for _, d := range damages {
			t.Run(d.name, func(t *testing.T) {
				w := newWorld(t, p)
				defer w.close()
				d.do(w, newSample(w))
				got, _ := w.problems()
				ok := len(got) == len(d.says)
				for i := 0; ok && i < len(got); i++ {
					ok = strings.Contains(got[i], d.says[i])
				}
				if !ok {
					t.Errorf("the check says\n\t%s\nnot\n\t%s", strings.Join(got, "\n\t"), strings.Join(d.says, "\n\t"))
				}
			})
		}
	}
}

func TestCheckStops(t *testing.T) {
	w := newWorld(t, placesOf(1))
	defer w.close()
	newSample(w)
	v := w.freeze()
	defer v.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Check(ctx, v.Blocking(), 1, blocksIn, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("after a cancel: %v", err)
	}
	w.evict()
	var miss *tree.Miss
	if _, err := Check(context.Background(), w.tree, 1, blocksIn, nil); !errors.As(err, &miss) {
		t.Errorf("a reader that does not wait: %v", err)
	}
}

// What a check would object to does not read as something else.
func TestReadingDamage(t *testing.T) {
	w := newWorld(t, allCollide)
	defer w.close()
	s := newSample(w)
	xattr := func() ([]byte, error) {
		v, _, err := w.xattr(w.tree, s.file, "user.x")
		return v, err
	}
	if v, err := xattr(); err != nil || len(v) != 2000 {
		t.Fatalf("%d bytes, %v", len(v), err)
	}
	// Another's piece in place of the last, of the same length.
	rest := len(appendHead(nil, "user.x", 2000)) + 2000 - 2*pieceSize
	w.do(&oplog.Op{Kind: oplog.SetXattr, Ino: s.file, Name: "user.y", Value: strings.Repeat("w", rest-len(appendHead(nil, "user.y", 200)))})
	w.raw(xattrKey(s.file, w.places.xattrs("user.x")+2), nil)
	if v, err := xattr(); !fail.Is(err, fail.Corrupt) {
		t.Errorf("an xattr without its last piece: %d bytes, %v", len(v), err)
	}
	w.raw(itemKey(s.link, targetItem, 2), nil)
	if v, err := Target(w.tree, s.link); !fail.Is(err, fail.Corrupt) {
		t.Errorf("a target without its last piece: %d bytes, %v", len(v), err)
	}
}
