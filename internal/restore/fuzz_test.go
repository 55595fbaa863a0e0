package restore

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"varve/internal/dump"
)

// patched changes a base by a script, so that what is tried stays small and is an
// archive nearly everywhere: four bytes a step, where (of 65536 parts), and what.
func patched(base, script []byte) []byte {
	b := bytes.Clone(base)
	for ; len(script) >= 4 && len(b) > 4; script = script[4:] {
		at := (int(script[0])<<8 | int(script[1])) * (len(b) - 4) >> 16
		switch script[2] & 7 {
		case 0:
			b[at] = script[3]
		case 1:
			b[at] ^= 1 << (script[3] & 7)
		case 2: // a number of some header
			binary.LittleEndian.PutUint32(b[at&^3:], uint32(script[3])<<(script[2]>>3))
		case 3: // a field of a header
			if rec := at &^ 1023; rec+1024 <= len(b) {
				b[rec+int(script[2]>>3)*32+int(script[3]&31)] = script[3]
			}
		case 4: // a record goes
			if rec := at &^ 1023; rec+1024 <= len(b) {
				b = append(b[:rec:rec], b[rec+1024:]...)
			}
		case 5: // a record comes twice
			if rec := at &^ 1023; rec+1024 <= len(b) && len(b) < 256<<10 {
				b = append(b[:rec+1024:rec+1024], b[rec:]...)
			}
		case 6: // bytes go
			b = append(b[:at:at], b[min(len(b), at+int(script[3])):]...)
		case 7: // the rest goes
			b = b[:at]
		}
	}
	return b
}

// fuzzed are archives of all kinds, small ones.
func fuzzed() (list [][]byte) {
	list = append(list, twoFiles(), squeeze(twoFiles()))
	for _, o := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, kind := range []string{"ufs2", "linux"} {
			a := newTape(kind, o)
			all := []uint32{2, 3, 4, 5, 6}
			a.begin(all, all)
			a.dir(2, 2, name{3, 4, "d"}, name{4, 8, "f"}, name{5, 10, "l"}, name{6, 1, "p"})
			var ext []byte
			if kind == "ufs2" {
				ext = a.ufsXattr(1, "x", "y")
			}
			a.object(3, inode{mode: 0o40755}, a.dirData(3, 2, name{4, 8, "h"}), ext)
			a.object(4, inode{mode: 0o100644}, []byte(noise(1500)), ext)
			a.link(5, "../x")
			a.object(6, inode{mode: 0o10644}, nil, nil)
			list = append(list, a.end())
		}
	}
	return list
}

// FuzzRestore: whatever an archive says, restoring, comparing and listing it ends,
// touches nothing beside the target, and what is whole afterwards compares as equal.
func FuzzRestore(f *testing.F) {
	bases := fuzzed()
	for n := range bases {
		f.Add(uint8(n), []byte{}, true)
		f.Add(uint8(n), []byte{200, 0, 4, 0, 100, 0, 1, 3, 60, 0, 3, 160}, false)
	}
	f.Fuzz(func(t *testing.T, n uint8, script []byte, volumes bool) {
		if len(script) > 400 {
			return
		}
		b := sealed(patched(bases[int(n)%len(bases)], script))
		v := inMemory(b)
		if volumes {
			v = inMemory(b[:len(b)/2048*1024], b[len(b)/2048*1024:])
		}
		root := filepath.Join(t.TempDir(), "root")
		defer unflag(root)
		op := []Op{Extract, Update}[n>>7]
		s, err := do(t, op, root, true, v)
		if s.Bytes > 2<<20 {
			t.Fatalf("%d bytes out of %d", s.Bytes, len(b))
		}
		again, cerr := do(t, Compare, root, true, v)
		if op == Update && err == nil && cerr == nil && len(s.losses) == 0 && len(again.differences) > 0 {
			t.Fatalf("restored and different: %q", again.differences)
		}
		if list, err := os.ReadDir(filepath.Dir(root)); err != nil || len(list) != 1 {
			t.Fatalf("beside the target is %v, %v", list, err)
		}
		do(t, List, "", true, v)
	})
}

// unflag takes away the flags that an archive may ask for and that would keep a
// tree from being removed.
func unflag(root string) {
	filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() && !e.Type().IsRegular() {
			return nil
		}
		if f, err := os.Open(path); err == nil {
			setFlags(int(f.Fd()), 0, fsFrozen)
			f.Close()
		}
		return nil
	})
}

// sealed gives records that look like headers their checksum, without which nothing
// behind it would be reached.
func sealed(b []byte) []byte {
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
	base := squeeze(twoFiles())[10240:]
	f.Add([]byte{}, false)
	f.Add([]byte{0, 0, 6, 5}, false)
	f.Add([]byte{100, 0, 0, 5, 150, 0, 7, 0}, true)
	p := make([]byte, maxBlock)
	s := &blocks{size: 10240, buf: make([]byte, 2*(maxBlock+slack))}
	f.Fuzz(func(t *testing.T, script []byte, big bool) {
		b := patched(base, script)
		*s = blocks{in: bytes.NewReader(b), order: binary.LittleEndian, size: s.size, buf: s.buf}
		if big {
			s.order = binary.BigEndian
		}
		gaps, pieces := 0, 0
		for {
			n, _, err := s.piece(p)
			if n != 0 && n != s.size {
				t.Fatalf("a piece of %d bytes", n)
			}
			if pieces++; pieces > len(b)+2 {
				t.Fatalf("%d pieces of %d bytes", pieces, len(b))
			}
			if err == errGap {
				if gaps++; gaps > len(b) {
					t.Fatalf("%d gaps in %d bytes", gaps, len(b))
				}
			} else if err != nil {
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
		if err != nil || second.date != first.date || second.names.refs.len() > first.names.refs.len() {
			t.Fatalf("read again: %v", err)
		}
	})
}
