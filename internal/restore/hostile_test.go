package restore

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// nest makes a directory with a target in it, and something beside that nothing may
// touch; it fails the test if something did.
func nest(t *testing.T) (root string) {
	t.Helper()
	top := t.TempDir()
	root = filepath.Join(top, "a", "root")
	beside := filepath.Join(top, "beside")
	for _, dir := range []string{root, beside} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(beside, "precious"), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for path, want := range map[string]string{".": "a beside", "a": "root", "beside": "precious"} {
			list, err := os.ReadDir(filepath.Join(top, path))
			var names []string
			for _, e := range list {
				names = append(names, e.Name())
			}
			if strings.Join(names, " ") != want || err != nil {
				t.Errorf("%s holds %q, %v", path, names, err)
			}
		}
		i, err := os.Lstat(filepath.Join(beside, "precious"))
		if err != nil || i.Mode() != 0o600 || read(t, filepath.Join(beside, "precious")) != "precious" {
			t.Errorf("what is beside the target changed: %v", err)
		}
	})
	return root
}

// TestHostile: whatever an archive says, nothing leaves the target, nothing fails but
// with an error, and what cannot be is said.
func TestHostile(t *testing.T) {
	all := []uint32{2, 3, 4, 5, 6}
	outside := "../../beside"
	for what, c := range map[string]struct {
		make func(a *tape)
		lost string // "" if nothing is
		good string // a path that must be there
	}{
		"a name with ..": {func(a *tape) {
			a.dir(2, 2, name{3, 8, "../../beside/x"}, name{4, 8, "good"})
			a.file(3, "bad")
			a.file(4, "x")
		}, `the name "../../beside/x", which cannot be one`, "good"},
		"a name that is ..": {func(a *tape) {
			a.dir(2, 2, name{3, 4, ".."}, name{4, 8, "good"})
			a.dir(3, 2, name{5, 8, "x"})
			a.file(4, "x")
			a.file(5, "bad")
		}, "which no name leads to", "good"},
		"absolute": {func(a *tape) {
			a.dir(2, 2, name{3, 8, "/tmp/x"}, name{4, 8, "good"})
			a.file(3, "bad")
			a.file(4, "x")
		}, "which cannot be one", "good"},
		"NUL": {func(a *tape) {
			a.dir(2, 2, name{3, 8, "x\x00y"}, name{4, 8, "good"})
			a.file(3, "bad")
			a.file(4, "x")
		}, `the name "x\x00y", which cannot be one`, "good"},
		"empty": {func(a *tape) {
			a.dir(2, 2, name{3, 8, ""}, name{4, 8, "good"})
			a.file(3, "bad")
			a.file(4, "x")
		}, `the name ""`, "good"},
		"a link and a directory of one name": {func(a *tape) {
			a.dir(2, 2, name{3, 10, "sub"}, name{4, 4, "sub"})
			a.dir(4, 2, name{5, 8, "x"})
			a.link(3, outside)
			a.file(5, "bad")
		}, "twice", "sub"},
		"a directory and a link of one name": {func(a *tape) {
			a.dir(2, 2, name{4, 4, "sub"}, name{3, 10, "sub"})
			a.dir(4, 2, name{5, 8, "x"})
			a.link(3, outside)
			a.file(5, "good")
		}, "twice", "sub/x"},
		"a link, and then a directory as the same inode": {func(a *tape) {
			a.dir(2, 2, name{3, 10, "sub"}, name{4, 8, "good"})
			a.link(3, outside)
			a.dir(3, 2, name{5, 8, "x"})
			a.file(4, "x")
			a.file(5, "bad")
		}, "", "good"},
		"a directory in itself": {func(a *tape) {
			a.dir(2, 2, name{3, 4, "a"})
			a.dir(3, 2, name{4, 4, "b"}, name{3, 4, "itself"})
			a.dir(4, 3, name{3, 4, "c"}, name{2, 4, "root"}, name{5, 8, "good"})
			a.file(5, "x")
		}, "second name", "a/b/good"},
		"directories that hold each other": {func(a *tape) {
			a.dir(2, 2, name{5, 8, "good"})
			a.dir(3, 4, name{4, 4, "x"})
			a.dir(4, 3, name{3, 4, "y"})
			a.file(5, "x")
		}, "which no name leads to", "good"},
		"an inode twice": {func(a *tape) {
			a.dir(2, 2, name{3, 8, "good"})
			a.file(3, "first")
			a.file(3, "second")
		}, "", "good"},
		"a directory after files": {func(a *tape) {
			a.dir(2, 2, name{3, 8, "good"}, name{4, 4, "late"})
			a.file(3, "x")
			a.dir(4, 2, name{5, 8, "x"})
		}, "", "good"},
		"a target of nothing": {func(a *tape) {
			a.dir(2, 2, name{3, 10, "link"}, name{4, 8, "good"})
			a.link(3, "")
			a.file(4, "x")
		}, "cannot be one", "good"},
		"a target with NUL": {func(a *tape) {
			a.dir(2, 2, name{3, 10, "link"}, name{4, 8, "good"})
			a.link(3, "a\x00b")
			a.file(4, "x")
		}, "cannot be one", "good"},
		"a target without end": {func(a *tape) {
			a.dir(2, 2, name{3, 10, "link"}, name{4, 8, "good"})
			a.link(3, noise(900<<10))
			a.file(4, "x")
		}, "cannot be one", "good"},
		"an unknown type": {func(a *tape) {
			a.dir(2, 2, name{3, 14, "white"}, name{4, 8, "good"})
			a.object(3, inode{mode: 0o160644}, nil, nil)
			a.file(4, "x")
		}, "unknown type", "good"},
		"a size beyond everything": {func(a *tape) {
			a.dir(2, 2, name{3, 8, "huge"}, name{4, 8, "good"})
			a.header(2, 3, inode{mode: 0o100644, size: 1<<63 - 1}, nil, 0)
			a.file(4, "x")
		}, "./huge", "good"},
		"entries of length 0": {func(a *tape) {
			d := a.dirData(2, 2, name{4, 8, "good"})
			a.object(2, inode{mode: 0o40755}, append(d, make([]byte, 511)...), nil)
			a.object(3, inode{mode: 0o40755}, []byte(strings.Repeat("\xff", 1024)), nil)
			a.file(4, "x")
		}, "makes no sense", "good"},
		"a file that goes on in nothing": {func(a *tape) {
			a.dir(2, 2, name{3, 8, "goes-on"}, name{4, 8, "good"})
			a.header(4, 3, inode{mode: 0o100644, size: 1 << 20}, []byte{1}, 1)
			a.record([]byte("stray"))
			a.file(4, "x")
		}, "./goes-on", "good"},
		"a temporary name": {func(a *tape) {
			a.dir(2, 2, name{3, 8, ".varve-restore"}, name{4, 8, "restoresymtable"}, name{5, 8, "good"})
			a.file(3, "x")
			a.file(4, "x")
			a.file(5, "x")
		}, "", "good"},
	} {
		t.Run(what, func(t *testing.T) {
			a := newTape("linux", binary.LittleEndian)
			a.begin(all, all)
			c.make(a)
			b := a.end()
			for _, op := range []Op{Extract, Update} {
				root := nest(t)
				s, err := do(t, op, root, true, inMemory(b))
				if err != nil {
					t.Fatal(err)
				}
				if all := strings.Join(s.losses, "\n"); !strings.Contains(all, c.lost) {
					t.Errorf("lost %q, damaged %q; want %q", s.losses, s.damages, c.lost)
				}
				if _, err := os.Lstat(filepath.Join(root, c.good)); err != nil {
					t.Error(err)
				}
			}
			if _, err := do(t, List, "", true, inMemory(b)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPlanted: links that are in the target already lead nowhere.
func TestPlanted(t *testing.T) {
	a := newTape("linux", binary.LittleEndian)
	all := []uint32{2, 3, 4, 5}
	a.begin(all, all)
	a.dir(2, 2, name{3, 4, "sub"}, name{5, 8, "precious"})
	a.dir(3, 2, name{4, 8, "x"})
	a.file(4, "bad")
	a.file(5, "new")
	b := a.end()
	for _, op := range []Op{Extract, Update} {
		root := nest(t)
		os.Symlink("../../beside", filepath.Join(root, "sub"))
		os.Symlink("../../beside/precious", filepath.Join(root, "precious"))
		s, err := do(t, op, root, true, inMemory(b))
		if err != nil || !strings.Contains(strings.Join(s.losses, "\n"), "[./sub] the directory and what is in it: there is something else already") {
			t.Errorf("%v, lost %q", err, s.losses)
		}
		if read(t, filepath.Join(root, "precious")) != "new" {
			t.Error("a link in the way of a file was not replaced")
		}
	}
}

// TestUnreadable: what is no archive, or one of a kind that cannot be read, is named.
func TestUnreadable(t *testing.T) {
	good := func(change func(r []byte)) []byte {
		a := newTape("linux", binary.LittleEndian)
		a.header(1, 0, inode{}, nil, 1, change)
		return a.b
	}
	lzo := squeeze(twoFiles())
	binary.LittleEndian.PutUint32(lzo[10240:], binary.LittleEndian.Uint32(lzo[10240:])|2<<1)
	for what, c := range map[string]struct {
		b    []byte
		want string
	}{
		"nothing":  {nil, "ends after 0 bytes, which is not even one header"},
		"little":   {[]byte("x"), "ends after 1 bytes"},
		"gzip":     {append([]byte("\x1f\x8b"), make([]byte, 2000)...), "is compressed by gzip; varve restore -f - reads what zcat writes"},
		"zeros":    {make([]byte, 20000), "does not begin with a header of dump"},
		"4.2BSD":   {good(func(r []byte) { binary.LittleEndian.PutUint32(r[24:], 60011) }), "4.2BSD (magic 60011)"},
		"4.3BSD":   {good(func(r []byte) { binary.LittleEndian.PutUint32(r[888:], 0) }), "directories of 4.3BSD"},
		"volume 2": {good(func(r []byte) { binary.LittleEndian.PutUint32(r[12:], 2) }), "is volume 2 of an archive; give volume 1 first"},
		"block of 0": {good(func(r []byte) {
			binary.LittleEndian.PutUint32(r[888:], 0x83)
			binary.LittleEndian.PutUint32(r[896:], 0)
		}), "blocks of 0 records"},
		"block of 4G": {good(func(r []byte) {
			binary.LittleEndian.PutUint32(r[888:], 0x83)
			binary.LittleEndian.PutUint32(r[896:], 1<<31-1)
		}), "which cannot be"},
		"LZO":         {lzo, "compressed by LZO"},
		"a table":     {append([]byte(tableMagic), make([]byte, 2000)...), "is a table of restored names"},
		"only a head": {good(func([]byte) {}), "without an end record"},
	} {
		for _, op := range []Op{List, Extract} {
			if _, err := do(t, op, t.TempDir(), false, inMemory(c.b)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v; want %q", what, err, c.want)
			}
		}
		do(t, Extract, t.TempDir(), true, inMemory(c.b))
	}
}

// TestDamagedPrefix: the second block's prefix, damaged, is none of LZO for one bit of it.
func TestDamagedPrefix(t *testing.T) {
	plain, contents := sample("linux", binary.LittleEndian)
	b := squeeze(plain)
	binary.LittleEndian.PutUint32(b[10240:], 0xfffffff0|2<<1|1)
	dir := filepath.Join(t.TempDir(), "root")
	s, err := do(t, Extract, dir, true, inMemory(b))
	if err != nil {
		t.Fatal(err)
	}
	judge(t, s, dir, contents, "a damaged prefix")
}

// twoFiles is a small archive.
func twoFiles() []byte {
	a := newTape("linux", binary.LittleEndian)
	all := []uint32{2, 3, 4}
	a.begin(all, all)
	a.dir(2, 2, name{3, 8, "one"}, name{4, 8, "two"})
	a.file(3, noise(3000))
	a.file(4, noise(30000))
	return a.end()
}
