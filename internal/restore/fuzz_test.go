package restore

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"varve/internal/dump"
)

// most is how much a fuzzed archive may hold: bytes.
const most = 256 << 10

// FuzzRestore: whatever an archive says, restoring, comparing and listing it ends,
// touches nothing beside the target, and what is whole afterwards compares as equal.
func FuzzRestore(f *testing.F) {
	f.Add(twoFiles())
	f.Add(squeeze(twoFiles()))
	for _, o := range orders {
		a := newTape("ufs2", o)
		all := []uint32{2, 3, 4, 5}
		a.begin(all, all)
		a.dir(2, 2, name{3, 4, "d"}, name{4, 8, "f"}, name{5, 10, "l"})
		a.object(3, inode{mode: 0o40755}, a.dirData(3, 2, name{4, 8, "h"}), a.ufsXattr(1, "x", "y"))
		a.object(4, inode{mode: 0o100644}, []byte(noise(1500)), a.ufsXattr(1, "x", "y"))
		a.link(5, "../x")
		f.Add(a.end())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > most {
			return
		}
		b = sealed(b)
		root := filepath.Join(t.TempDir(), "root")
		for _, op := range []Op{Extract, Update} {
			s, err := do(t, op, root, true, inMemory(b[:len(b)/2], b[len(b)/2:]))
			if s.Bytes > 2<<20 {
				t.Fatalf("%d bytes out of %d", s.Bytes, len(b))
			}
			again, cerr := do(t, Compare, root, true, inMemory(b[:len(b)/2], b[len(b)/2:]))
			if op == Update && err == nil && cerr == nil && len(s.losses) == 0 && len(again.differences) > 0 {
				t.Fatalf("restored and different: %q", again.differences)
			}
		}
		if list, err := os.ReadDir(filepath.Dir(root)); err != nil || len(list) != 1 {
			t.Fatalf("beside the target is %v, %v", list, err)
		}
		do(t, List, "", true, inMemory(b))
	})
}

// sealed gives records that look like headers their checksum, without which nothing
// behind it would be reached.
func sealed(b []byte) []byte {
	b = bytes.Clone(b)
	for at := 0; at+1024 <= len(b); at += 1024 {
		for _, o := range orders {
			if m := o.Uint32(b[at+24:]); m != 60012 && m != dump.MagicUFS2 {
				continue
			}
			o.PutUint32(b[at+28:], 0)
			sum := uint32(0)
			for k := 0; k < 1024; k += 4 {
				sum += o.Uint32(b[at+k:])
			}
			o.PutUint32(b[at+28:], 84446-sum)
		}
	}
	return b
}

// FuzzBlocks: a compressed volume gives at most a block for each prefix, and ends.
func FuzzBlocks(f *testing.F) {
	packed := squeeze(twoFiles())
	f.Add(packed[10240:], false)
	f.Add([]byte("\x00\x01\x00\x00BZh9"), true)
	f.Fuzz(func(t *testing.T, b []byte, big bool) {
		if len(b) > most {
			return
		}
		s := &blocks{in: bytes.NewReader(b), order: binary.LittleEndian, size: 10240, buf: make([]byte, 2*(maxBlock+slack))}
		if big {
			s.order = binary.BigEndian
		}
		p := make([]byte, maxBlock)
		gaps, pieces := 0, 0
		for {
			n, _, err := s.piece(p)
			if n != 0 && n != s.size {
				t.Fatalf("a piece of %d bytes", n)
			}
			if pieces++; pieces > len(b)+2 {
				t.Fatalf("%d pieces of %d bytes", pieces, len(b))
			}
			switch err {
			case nil:
			case errGap:
				if gaps++; gaps > len(b) {
					t.Fatalf("%d gaps in %d bytes", gaps, len(b))
				}
			case io.EOF:
				return
			default:
				return
			}
		}
	})
}

// FuzzDirents: a directory has no names but such as can be.
func FuzzDirents(f *testing.F) {
	for _, o := range orders {
		a := newTape("linux", o)
		f.Add(a.dirData(2, 2, name{3, 8, "file"}, name{4, 4, strings.Repeat("d", 255)}, name{5, 8, "../x"}), o == binary.ByteOrder(binary.BigEndian))
	}
	f.Fuzz(func(t *testing.T, b []byte, big bool) {
		d := dirents{order: binary.LittleEndian, bad: func(string) {}}
		if big {
			d.order = binary.BigEndian
		}
		n := 0
		d.fn = func(e entry) error {
			if n++; n > len(b)/12+1 || e.ino == 0 || e.name == "" || e.name == "." || e.name == ".." || strings.ContainsAny(e.name, "/\x00") {
				t.Fatalf("%d: %d %q", n, e.ino, e.name)
			}
			return nil
		}
		if err := d.read(b); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzXattrs: extended attributes of both forms have names that can be, and take no
// more than there is.
func FuzzXattrs(f *testing.F) {
	a := newTape("ufs2", binary.LittleEndian)
	f.Add(append(a.ufsXattr(1, "color", "blue"), a.ufsXattr(2, "security.x", "y")...))
	body := "\x01\x00\x02\xea\x01\x01\x54\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00x\x00\x00\x00\x00\x00\x00\x00"
	f.Add([]byte(body + strings.Repeat("\x00", 60) + "hello"))
	f.Add([]byte("\x00\x00\x02\xea" + strings.Repeat("\x00", 28) + "\x00\x02\x30\x00\x00\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x06\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ext, _ := extXattrs(b)
		ufs, _ := ufsXattrs(b, binary.BigEndian)
		for _, x := range append(ext, ufs...) {
			if !goodXattrName(x.Name) || len(x.Value) > 2*len(b)+4 {
				t.Fatalf("%q of %d bytes", x.Name, len(x.Value))
			}
		}
		if len(ext) > len(b)/16 || len(ufs) > len(b)/8 {
			t.Fatalf("%d and %d attributes in %d bytes", len(ext), len(ufs), len(b))
		}
	})
}

// FuzzTable: a table of what was restored is read whole, or refused.
func FuzzTable(f *testing.F) {
	var b bytes.Buffer
	n := newNames()
	n.beginDir(2)
	n.add(entry{3, 4, "dir"})
	n.add(entry{4, 8, "file"})
	n.beginDir(3)
	n.index()
	n.connect(func(uint32, string) {})
	if err := writeTable(&b, &table{date: 7, level: 1, filesystem: "/home", names: n}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		first, err := readTable(bytes.NewReader(b))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := writeTable(&again, first); err != nil {
			t.Fatal(err)
		}
		second, err := readTable(&again)
		if err != nil || second.date != first.date || len(second.names.refs) > len(first.names.refs) {
			t.Fatalf("read again: %v", err)
		}
	})
}
