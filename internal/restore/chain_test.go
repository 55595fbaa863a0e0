package restore

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"varve/internal/fail"
)

// zero is level 0 of a small tree:
//
//	. 2  a 3  a/x 5  a/y 6  b 4  b/z 7  b/hard 5  s 8 (a file)
func zero() []byte {
	a := newTape("ufs2", binary.LittleEndian)
	all := []uint32{2, 3, 4, 5, 6, 7, 8}
	a.begin(all, all)
	a.dir(2, 2, name{3, 4, "a"}, name{4, 4, "b"}, name{8, 8, "s"})
	a.dir(3, 2, name{5, 8, "x"}, name{6, 8, "y"})
	a.dir(4, 2, name{7, 8, "z"}, name{5, 8, "hard"})
	for ino := uint32(5); ino <= 8; ino++ {
		a.file(ino, strings.Repeat(string(rune('0'+ino)), 2000))
	}
	return a.end()
}

// next is the level after another.
func next(level uint32, used, dumped []uint32, fill func(a *tape)) []byte {
	a := newTape("ufs2", binary.LittleEndian)
	a.level, a.ddate = level, when1+int64(level-1)
	a.date = when1 + int64(level)
	a.begin(used, dumped)
	fill(a)
	return a.end()
}

// tree lists a directory: paths and the first byte of files.
func tree(t *testing.T, root string) string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == root || d.Name() == TableName {
			return err
		}
		line := strings.TrimPrefix(path, root+"/")
		if d.Type().IsRegular() {
			line += "=" + (read(t, path) + "-")[:1]
		}
		list = append(list, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// TestChain: what can happen between two levels.
func TestChain(t *testing.T) {
	for what, c := range map[string]struct {
		level []byte
		want  string
	}{
		"nothing": {next(1, []uint32{2, 3, 4, 5, 6, 7, 8}, []uint32{2}, func(a *tape) {
			a.dir(2, 2, name{3, 4, "a"}, name{4, 4, "b"}, name{8, 8, "s"})
		}), "a a/x=5 a/y=6 b b/hard=5 b/z=7 s=8"},
		"directories change places": {next(1, []uint32{2, 3, 4, 5, 6, 7, 8}, []uint32{2}, func(a *tape) {
			a.dir(2, 2, name{3, 4, "b"}, name{4, 4, "a"}, name{8, 8, "s"})
		}), "a a/hard=5 a/z=7 b b/x=5 b/y=6 s=8"},
		"a directory goes into another, which goes into a new one": {next(1, []uint32{2, 3, 4, 5, 6, 7, 8, 9}, []uint32{2, 4, 9}, func(a *tape) {
			a.dir(2, 2, name{9, 4, "new"}, name{8, 8, "s"})
			a.dir(4, 9, name{7, 8, "z"}, name{3, 4, "in"}, name{5, 8, "hard"})
			a.dir(9, 2, name{4, 4, "b"})
		}), "new new/b new/b/hard=5 new/b/in new/b/in/x=5 new/b/in/y=6 new/b/z=7 s=8"},
		"files change names, their data do not": {next(1, []uint32{2, 3, 4, 5, 6, 7, 8}, []uint32{2, 3, 4}, func(a *tape) {
			a.dir(2, 2, name{3, 4, "a"}, name{4, 4, "b"}, name{7, 8, "s"})
			a.dir(3, 2, name{6, 8, "x"}, name{5, 8, "y"}, name{8, 8, "s"})
			a.dir(4, 2, name{5, 8, "z"}, name{6, 8, "hard"})
		}), "a a/s=8 a/x=6 a/y=5 b b/hard=6 b/z=5 s=7"},
		"one more name for what did not change": {next(1, []uint32{2, 3, 4, 5, 6, 7, 8}, []uint32{2, 4}, func(a *tape) {
			a.dir(2, 2, name{3, 4, "a"}, name{4, 4, "b"}, name{8, 8, "s"})
			a.dir(4, 2, name{7, 8, "z"}, name{5, 8, "hard"}, name{6, 8, "more"}, name{7, 8, "zz"})
		}), "a a/x=5 a/y=6 b b/hard=5 b/more=6 b/z=7 b/zz=7 s=8"},
		"types change, under the same names and inodes": {next(1, []uint32{2, 3, 4, 5, 6, 7, 8}, []uint32{2, 3, 8, 6}, func(a *tape) {
			a.dir(2, 2, name{3, 8, "a"}, name{4, 4, "b"}, name{8, 4, "s"})
			a.dir(8, 2, name{6, 8, "in"})
			a.file(3, "3")
			a.file(6, "new")
		}), "a=3 b b/hard=5 b/z=7 s s/in=n"},
		"a directory goes with all that is in it": {next(1, []uint32{2, 3, 5, 6, 8}, []uint32{2}, func(a *tape) {
			a.dir(2, 2, name{3, 4, "a"}, name{8, 8, "s"})
		}), "a a/x=5 a/y=6 s=8"},
		"a directory goes, what was in it stays elsewhere": {next(1, []uint32{2, 4, 5, 6, 7, 8}, []uint32{2, 4}, func(a *tape) {
			a.dir(2, 2, name{4, 4, "b"}, name{6, 8, "a"})
			a.dir(4, 2, name{7, 8, "z"}, name{5, 8, "hard"}, name{8, 8, "s"})
		}), "a=6 b b/hard=5 b/s=8 b/z=7"},
		"new data for a file with two names": {next(1, []uint32{2, 3, 4, 5, 6, 7, 8}, []uint32{2, 3, 4, 5}, func(a *tape) {
			a.dir(2, 2, name{3, 4, "a"}, name{4, 4, "b"}, name{8, 8, "s"})
			a.dir(3, 2, name{5, 8, "x"}, name{6, 8, "y"})
			a.dir(4, 2, name{7, 8, "z"}, name{5, 8, "hard"})
			a.file(5, "new")
		}), "a a/x=n a/y=6 b b/hard=n b/z=7 s=8"},
		"a number that is used again": {next(1, []uint32{2, 3, 4, 5, 6, 7, 8}, []uint32{2, 3, 5}, func(a *tape) {
			a.dir(2, 2, name{3, 4, "a"}, name{4, 4, "b"}, name{8, 8, "s"}, name{5, 8, "other"})
			a.dir(3, 2, name{6, 8, "y"})
			a.file(5, "another file")
		}), "a a/y=6 b b/hard=a b/z=7 other=a s=8"},
	} {
		root := filepath.Join(t.TempDir(), "root")
		must(t, Update, root, inMemory(zero()))
		must(t, Update, root, inMemory(c.level))
		if got := tree(t, root); got != c.want {
			t.Errorf("%s:\n  %s, not\n  %s", what, got, c.want)
		}
		if _, err := os.Lstat(filepath.Join(root, stageName)); err == nil {
			t.Errorf("%s: the stage is still there", what)
		}
		must(t, Compare, root, inMemory(c.level))
		last := next(2, []uint32{2}, []uint32{2}, func(a *tape) { a.dir(2, 2) }) // and everything goes
		must(t, Update, root, inMemory(last))
		if got := tree(t, root); got != "" {
			t.Errorf("%s, and then nothing is left: %s", what, got)
		}
	}
}

// TestChainRefused: an archive that does not follow changes nothing.
func TestChainRefused(t *testing.T) {
	level := func(n uint32) []byte {
		return next(n, []uint32{2, 8}, []uint32{2}, func(a *tape) { a.dir(2, 2, name{8, 8, "s"}) })
	}
	refused := func(root string, b []byte, kind fail.Kind, want string) {
		t.Helper()
		before := tree(t, root)
		_, err := do(t, Update, root, false, inMemory(b))
		if !fail.Is(err, kind) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %v, %q", err, kind, want)
		}
		if after := tree(t, root); after != before {
			t.Errorf("%s became %s", before, after)
		}
	}
	root := t.TempDir()
	refused(root, level(1), fail.BaseMissing, "which was not restored here; restore level 0 first")
	must(t, Update, root, inMemory(zero()))
	refused(root, level(2), fail.BaseMissing, "and the last that was restored here is of")
	refused(root, zero(), fail.Exists, "restored here already")
	os.Mkdir(filepath.Join(root, stageName), 0o700)
	os.WriteFile(filepath.Join(root, stageName, stageMark), nil, 0o600)
	refused(root, level(1), fail.Corrupt, "was interrupted here")
	os.RemoveAll(filepath.Join(root, stageName))

	table := filepath.Join(root, TableName)
	good := read(t, table)
	os.WriteFile(table, []byte(good[:40]+"x"+good[41:]), 0o600)
	refused(root, level(1), fail.Corrupt, "restore level 0 anew")
	os.WriteFile(table, []byte(good[:len(good)-5]), 0o600)
	refused(root, level(1), fail.Corrupt, "ends too soon")
	os.WriteFile(table, []byte("somebody else's table of names"), 0o600)
	refused(root, level(1), fail.Unsupported, "not written by varve restore")
	os.WriteFile(table, []byte(good), 0o600)

	damaged := level(1)
	damaged[1024+33] ^= 1 // the map of what is in use
	if _, err := do(t, Update, root, true, inMemory(damaged)); !fail.Is(err, fail.Corrupt) || !strings.Contains(err.Error(), "what was removed is not known") {
		t.Errorf("a damaged map: %v", err)
	}
	if got := tree(t, root); got != "a a/x=5 a/y=6 b b/hard=5 b/z=7 s=8" {
		t.Errorf("after all that: %s", got)
	}
}

// TestChainKeepsOthers: what no archive knows of is not removed.
func TestChainKeepsOthers(t *testing.T) {
	root := t.TempDir()
	must(t, Update, root, inMemory(zero()))
	os.WriteFile(filepath.Join(root, "a", "mine"), []byte("m"), 0o600)
	s, err := do(t, Update, root, false, inMemory(next(1, []uint32{2}, []uint32{2}, func(a *tape) { a.dir(2, 2) })))
	if err != nil || !strings.Contains(strings.Join(s.losses, "\n"), "[./a] its change from the last level: the directory is to go, and holds what no archive knows of") {
		t.Errorf("%v, lost %q", err, s.losses)
	}
	if got := tree(t, root); got != "a a/mine=m" {
		t.Errorf("left is %s", got)
	}
}

// TestNodump: names of what no level has are left out, and it is said.
func TestNodump(t *testing.T) {
	root := t.TempDir()
	must(t, Update, root, inMemory(zero()))
	s := must(t, Update, root, inMemory(next(1, []uint32{2, 3, 4, 5, 6, 7, 8, 9}, []uint32{2}, func(a *tape) {
		a.dir(2, 2, name{3, 4, "a"}, name{4, 4, "b"}, name{8, 8, "s"}, name{9, 8, "nodump"})
	})))
	if got := tree(t, root); got != "a a/x=5 a/y=6 b b/hard=5 b/z=7 s=8" || len(s.notes) != 1 || !strings.HasPrefix(s.notes[0], "1 names lead to inodes") {
		t.Errorf("%s, notes %q", got, s.notes)
	}
}
