package dump

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"testing"

	"varve/internal/fail"
)

// fake is a Source in memory.
type fake struct {
	nodes map[uint32]*node
	max   uint32
	fail  uint32 // the inode whose contents cannot be read
	reads atomic.Int64
}

type node struct {
	Inode
	parent uint32
	names  []Entry
	data   map[uint64][]byte // by offset
	target string
	xattrs []Xattr
}

func newFake() *fake {
	f := &fake{nodes: make(map[uint32]*node), max: 2}
	f.add(RootIno, RootIno, "", ModeDir|0o755)
	return f
}

// add makes an inode, with a name if there is one.
func (f *fake) add(ino, parent uint32, name string, mode uint32) *node {
	n := &node{parent: parent}
	n.Inode = Inode{Ino: ino, Mode: mode, Nlink: 1, Mtime: Time{Sec: 100}, Ctime: Time{Sec: 100}}
	f.nodes[ino] = n
	f.max = max(f.max, ino)
	if name != "" {
		f.name(parent, name, ino)
	}
	return n
}

func (f *fake) name(dir uint32, name string, ino uint32) {
	d := f.nodes[dir]
	d.names = append(d.names, Entry{ino, uint8(f.nodes[ino].Mode >> 12), name})
}

// put gives a file bytes at an offset.
func (n *node) put(off uint64, b []byte) {
	if n.data == nil {
		n.data = make(map[uint64][]byte)
	}
	n.data[off] = b
	n.Size = max(n.Size, off+uint64(len(b)))
	n.Blocks += uint64(len(b)+511) / 512
}

func (n *node) xattr(name string, value []byte) {
	n.xattrs = append(n.xattrs, Xattr{name, value})
	n.HasXattrs = true
}

func (f *fake) Info() Info         { return Info{Kind: "fake", MaxIno: f.max, BlockSize: 512} }
func (f *fake) Warnings() []string { return nil }

func (f *fake) Scan(ctx context.Context, want *Map, fn func(*Inode) error) error {
	for _, ino := range slices.Sorted(maps.Keys(f.nodes)) {
		if want != nil && !want.Has(ino) {
			continue
		}
		i := f.nodes[ino].Inode
		if err := cmp.Or(ctx.Err(), fn(&i)); err != nil {
			return err
		}
		i = Inode{} // what fn was given is valid no more
	}
	return nil
}

func (f *fake) Entries(_ context.Context, dir *Inode, fn func(Entry) error) error {
	for _, e := range f.nodes[dir.Ino].names {
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

func (f *fake) Parent(_ context.Context, dir *Inode) (uint32, error) {
	return f.nodes[dir.Ino].parent, nil
}
func (f *fake) Target(_ context.Context, i *Inode) (string, error) { return f.nodes[i.Ino].target, nil }
func (f *fake) Xattrs(_ context.Context, i *Inode) ([]Xattr, error) {
	return f.nodes[i.Ino].xattrs, nil
}
func (f *fake) Open(_ context.Context, i *Inode) (File, error) {
	return fakeFile{f, f.nodes[i.Ino]}, nil
}

type fakeFile struct {
	f *fake
	*node
}

func (x fakeFile) Next(_ context.Context, off uint64) (from, to uint64, err error) {
	for _, at := range slices.Sorted(maps.Keys(x.data)) {
		if end := at + uint64(len(x.data[at])); end > off {
			return max(at, off), end, nil
		}
	}
	return x.Size, x.Size, nil
}

func (x fakeFile) Read(ctx context.Context, p []byte, off uint64) error {
	x.f.reads.Add(1)
	if x.Ino == x.f.fail {
		return fail.New(fail.Corrupt, "a damaged block")
	}
	clear(p)
	for at, b := range x.data {
		if at < off+uint64(len(p)) && at+uint64(len(b)) > off {
			if at < off {
				copy(p, b[off-at:])
			} else {
				copy(p[at-off:], b)
			}
		}
	}
	return ctx.Err()
}

// archived is what a parser finds of an inode in an archive.
type archived struct {
	Header
	data  []byte
	holes int
	ext   []byte
	linux []byte // Linux's extended attributes
}

// parse reads an archive and checks what holds for all of them.
func parse(t *testing.T, b []byte, o *Options) (inodes map[uint32]*archived, order []uint32) {
	t.Helper()
	if len(b)%(o.Blocking*RecordSize) != 0 {
		t.Fatalf("%d bytes in blocks of %d records", len(b), o.Blocking)
	}
	inodes = make(map[uint32]*archived)
	var cur *archived
	ended := false
	for at := 0; at < len(b); {
		var h Header
		if _, err := h.Decode(b[at : at+RecordSize]); err != nil {
			t.Fatalf("record %d: %v", at/RecordSize, err)
		}
		if h.TapeA != int64(at/RecordSize) || h.Date != o.Date || h.DDate != o.DDate || h.Level != int32(o.Level) {
			t.Fatalf("record %d: %+v", at/RecordSize, h)
		}
		at += RecordSize
		switch h.Type {
		case TypeClri, TypeBits:
			at += int(h.Count) * RecordSize
			continue
		case TypeEnd:
			ended = true
			continue
		case TypeTape:
			continue
		case TypeInode:
			cur = &archived{Header: h}
			if h.Flags&FlagXattrs == 0 {
				inodes[h.Ino] = cur
				order = append(order, h.Ino)
			}
		}
		if ended {
			t.Fatal("something comes after the end")
		}
		var data []byte
		for _, a := range h.Addr[:h.Count] {
			if uint64(len(cur.data)) < cur.Size && a == 0 {
				cur.holes++
			}
			rec := make([]byte, RecordSize)
			if a != 0 {
				copy(rec, b[at:at+RecordSize])
				at += RecordSize
			}
			if records(uint64(len(cur.data)+len(data))) < records(cur.Size) {
				data = append(data, rec...)
			} else {
				cur.ext = append(cur.ext, rec...)
			}
		}
		cur.data = append(cur.data, data...)
		if h.Flags&FlagXattrs != 0 {
			inodes[h.Ino].linux = append(inodes[h.Ino].linux, cur.data...)
		}
	}
	for _, a := range inodes {
		a.data = a.data[:a.Size]
		a.ext = a.ext[:a.ExtSize]
	}
	return inodes, order
}

// written dumps a source, whose length must be what Measure foretells.
func written(t *testing.T, f *fake, since Since, o *Options) []byte {
	t.Helper()
	plan, err := Examine(context.Background(), f, since, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := Measure(context.Background(), f, plan, o); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	r, err := Write(context.Background(), &b, f, plan, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Bytes != plan.Bytes(o) || uint64(b.Len()) != r.Bytes {
		t.Errorf("%d bytes, %d of them told, %d foretold", b.Len(), r.Bytes, plan.Bytes(o))
	}
	return b.Bytes()
}

// whole is what a file has in it.
func (n *node) whole() []byte {
	b := make([]byte, n.Size)
	for at, d := range n.data {
		copy(b[at:], d)
	}
	return b
}
