package dump

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"varve/internal/fail"
)

func options(p Profile) *Options {
	return &Options{Profile: p, Date: 1700000000, Blocking: 10, Filesys: "/f", Dev: "dev", Host: "h"}
}

// TestWriteRandom: trees of every shape come out of the archive as they went in,
// in both profiles, and are as long as foretold.
func TestWriteRandom(t *testing.T) {
	for round := range 5 {
		seed := uint64(time.Now().UnixNano())
		r := rand.New(rand.NewPCG(seed, uint64(round)))
		f := randomFake(r)
		for _, p := range []Profile{Portable, Linux} {
			o := options(p)
			o.Blocking = 1 + r.IntN(20)
			inodes, order := parse(t, written(t, f, Since{}, o), o)
			if len(inodes) != len(f.nodes) {
				t.Errorf("seed %d: %d inodes of %d", seed, len(inodes), len(f.nodes))
			}
			dirs := slices.IndexFunc(order, func(i uint32) bool { return !f.nodes[i].IsDir() })
			if dirs < 0 {
				dirs = len(order)
			}
			if !slices.IsSorted(order[:dirs]) || !slices.IsSorted(order[dirs:]) || slices.ContainsFunc(order[dirs:], func(i uint32) bool { return f.nodes[i].IsDir() }) {
				t.Errorf("seed %d: the order is %v", seed, order)
			}
			for ino, n := range f.nodes {
				checkArchived(t, f, n, inodes[ino], p)
			}
			if t.Failed() {
				t.Fatalf("seed %d round %d profile %d", seed, round, p)
			}
		}
	}
}

func checkArchived(t *testing.T, f *fake, n *node, a *archived, p Profile) {
	t.Helper()
	if a == nil {
		t.Errorf("inode %d is missing", n.Ino)
		return
	}
	if uint32(a.Mode) != n.Mode || a.UID != n.UID || a.Mtime != n.Mtime || a.Nlink != n.Nlink {
		t.Errorf("inode %d: %+v", n.Ino, a.Header)
	}
	switch n.Mode & ModeType {
	case ModeFile:
		if !bytes.Equal(a.data, n.whole()) {
			t.Errorf("inode %d: %d bytes differ from %d", n.Ino, len(a.data), n.Size)
		}
		holes := int(records(n.Size))
		seen := make(map[uint64]bool)
		for at, d := range n.data {
			for r := at / RecordSize; r < records(at+uint64(len(d))); r++ {
				seen[r] = true
			}
		}
		if n.Size > 0 {
			seen[records(n.Size)-1] = true // the last record is no hole
		}
		if holes -= len(seen); holes != a.holes {
			t.Errorf("inode %d has %d holes, not %d", n.Ino, a.holes, holes)
		}
	case ModeLink:
		if string(a.data) != n.target {
			t.Errorf("inode %d leads to %.50q", n.Ino, a.data)
		}
	case ModeDir:
		checkDirectory(t, f, n, a.data)
	}
	switch {
	case p == Portable && !bytes.Equal(a.ext, appendBSD(nil, n.xattrs)):
		t.Errorf("inode %d: attributes %q", n.Ino, a.ext)
	case p == Linux && !n.IsDir() && len(n.xattrs) > 0:
		list, size, _ := extEntries(n.xattrs)
		if !bytes.Equal(a.linux, extBlock(list, size)) {
			t.Errorf("inode %d: attributes %q", n.Ino, a.linux)
		}
	}
}

func checkDirectory(t *testing.T, f *fake, n *node, b []byte) {
	t.Helper()
	if len(b) == 0 || len(b)%dirBlock != 0 {
		t.Fatalf("directory %d has %d bytes", n.Ino, len(b))
	}
	want := append([]Entry{{n.Ino, dirType, "."}, {n.parent, dirType, ".."}}, n.names...)
	want = slices.DeleteFunc(want, func(e Entry) bool { return f.nodes[e.Ino] == nil })
	for at := 0; at < len(b); {
		size := int(b[at+4]) | int(b[at+5])<<8
		if size < 12 || at%dirBlock+size > dirBlock || len(want) == 0 {
			t.Fatalf("directory %d: an entry of %d bytes at %d", n.Ino, size, at)
		}
		e := Entry{uint32(b[at]) | uint32(b[at+1])<<8 | uint32(b[at+2])<<16, b[at+6], string(b[at+8 : at+8+int(b[at+7])])}
		if e != want[0] || b[at+8+int(b[at+7])] != 0 {
			t.Fatalf("directory %d: %v, not %v", n.Ino, e, want[0])
		}
		want, at = want[1:], at+size
	}
	if len(want) > 0 {
		t.Errorf("directory %d lacks %v", n.Ino, want)
	}
}

func randomFake(r *rand.Rand) *fake {
	f := newFake()
	dirs := []uint32{RootIno}
	ino := uint32(RootIno)
	for range r.IntN(40) {
		ino += 1 + uint32(r.IntN(3))
		dir := dirs[r.IntN(len(dirs))]
		name := fmt.Sprint(ino, strings.Repeat("n", r.IntN(240)))
		var n *node
		switch r.IntN(8) {
		case 0, 1:
			n = f.add(ino, dir, name, ModeDir|0o700)
			dirs = append(dirs, ino)
		case 2:
			n = f.add(ino, dir, name, ModeLink|0o777)
			n.target = strings.Repeat("t", 1+r.IntN(3000))
			n.Size = uint64(len(n.target))
		case 3:
			n = f.add(ino, dir, name, ModeChar|0o600)
			n.Major, n.Minor = 259, 70_000
		default:
			n = f.add(ino, dir, name, ModeFile|0o600)
			off := uint64(0)
			for range r.IntN(4) {
				off += uint64(r.IntN(2)*r.IntN(3_000_000)) / 512 * 512
				b := make([]byte, r.IntN(20_000))
				if r.IntN(4) == 0 {
					b = make([]byte, r.IntN(800_000))
				}
				rand.NewChaCha8([32]byte{byte(ino)}).Read(b)
				n.put(off, b)
				off += uint64(len(b)+511) / 512 * 512
			}
			n.Size += uint64(r.IntN(2) * r.IntN(1_200_000))
		}
		n.UID = r.Uint32()
		n.Mtime = Time{int64(r.Int32()), uint32(r.IntN(1e9))}
		for range r.IntN(3) * r.IntN(2) {
			n.xattr([]string{"user.", "trusted.", "security.", "system."}[r.IntN(4)]+fmt.Sprint(len(n.xattrs)), make([]byte, r.IntN(2000)))
		}
	}
	f.nodes[RootIno].names = append(f.nodes[RootIno].names, Entry{f.max, ModeFile >> 12, "to nothing"})
	f.max++
	return f
}

// TestManyXattrs: extended attributes that no header of the data has room for.
func TestManyXattrs(t *testing.T) {
	f := newFake()
	n := f.add(5, RootIno, "file", ModeFile|0o600)
	n.put(0, bytes.Repeat([]byte("x"), 510*RecordSize))
	for i := range 5 {
		n.xattr(fmt.Sprintf("user.%d", i), make([]byte, 60_000))
	}
	o := options(Portable)
	inodes, _ := parse(t, written(t, f, Since{}, o), o)
	checkArchived(t, f, n, inodes[5], Portable)
}

func TestWriteFails(t *testing.T) {
	f := newFake()
	for i := range uint32(50) {
		f.add(10+i, RootIno, fmt.Sprint(i), ModeFile|0o600).put(0, make([]byte, 300_000))
	}
	o := options(Portable)
	plan, err := Examine(context.Background(), f, Since{}, o)
	if err != nil {
		t.Fatal(err)
	}
	f.fail = 40
	_, err = Write(context.Background(), &bytes.Buffer{}, f, plan, o, nil)
	if !fail.Is(err, fail.Corrupt) || !strings.Contains(err.Error(), "inode 40: a damaged block") {
		t.Errorf("damage: %v", err)
	}
	f.fail = 0
	if _, err = Write(context.Background(), &full{room: 5_000_000}, f, plan, o, nil); !errors.Is(err, errFull) {
		t.Errorf("nobody takes it: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	_, err = Write(ctx, &full{room: 1 << 40, at: 3_000_000, then: cancel}, f, plan, o, nil)
	if !fail.Is(err, fail.Canceled) {
		t.Errorf("given up: %v", err)
	}
	before := f.reads.Load()
	time.Sleep(5 * time.Millisecond)
	if f.reads.Load() != before {
		t.Error("readers go on after Write returned")
	}
}

var errFull = errors.New("full")

// full takes so many bytes and no more.
type full struct {
	room, at int
	then     func()
}

func (f *full) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, errFull
	}
	if f.at -= len(p); f.then != nil && f.at < 0 {
		f.then()
	}
	return len(p), nil
}
