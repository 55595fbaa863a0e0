package interop

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	nfs "varve/test/nfsclient"
)

// url names a path of a share for libnfs.
func (s *shore) url(path string) string {
	_, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	return fmt.Sprintf("nfs://127.0.0.1%s?version=3&nfsport=%s&mountport=%s", path, port, port)
}

// TestLibnfs: the tools of a client library that no one here wrote carry a tree
// in, list it, and read it, now and in the past, after a kill too.
func TestLibnfs(t *testing.T) {
	s := newShore(t)
	c, root := s.home(t)
	source := filepath.Join(strings.TrimSpace(do(t, "go", "env", "GOROOT")), "src", "encoding")
	var files []string
	err := filepath.WalkDir(source, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, strings.TrimPrefix(path, source))
		}
		return err
	})
	if err != nil || len(files) < 50 {
		t.Fatalf("%d files below %s, %v", len(files), source, err)
	}
	must(t, c.Mkdir(root, "tree", nfs.Mode(0o755)))
	dirs := map[string]nfs.FH{"/": found(t, c, root, "tree")}
	for _, f := range files {
		s.makeDirs(t, c, dirs, filepath.Dir(f))
		do(t, "nfs-cp", source+f, s.url("/home/tree"+f))
	}
	big := pattern(t, 40<<20, t.Name())
	do(t, "nfs-cp", big, s.url("/home/big"))
	s.varve("snapshot", "home@dawn")
	noon := s.lastLSN()
	rot(t, c, dirs["/"], files[0])
	do(t, "nfs-cp", source+files[1], s.url("/home/big2"))

	check := func(when string) {
		t.Helper()
		for i, f := range files {
			if i%4 == 0 || i < 5 { // a program for each takes its time
				s.sameCat(t, source+f, "/home/.snapshot/dawn/tree"+f)
			}
		}
		s.sameCat(t, source+files[0], "/home/tree/.snapshot/dawn"+files[0])
		s.sameCat(t, source+files[0], fmt.Sprintf("/home@lsn:%d/tree%s", noon, files[0]))
		s.sameCat(t, source+files[0], "/home@dawn/tree"+files[0])
		s.sameCat(t, source+files[2], "/home/tree"+files[2])
		back := filepath.Join(t.TempDir(), "back")
		do(t, "nfs-cp", s.url("/home/big"), back)
		sameFile(t, big, back)
		if got, err := attempt("nfs-cat", s.url("/home/tree"+files[0])); err != nil || got != "rotten" {
			t.Errorf("%s: the present holds %.40q, %v", when, got, err)
		}
		for path, want := range map[string]string{"/home": "big big2 tree", "/home@dawn": "big tree", "/home/.snapshot/dawn": "big tree", "/home/.snapshot": "dawn"} {
			if got := s.list(t, path); got != want {
				t.Errorf("%s: %s holds %s, want %s", when, path, got, want)
			}
		}
	}
	check("at once")
	s.crash()
	c = s.client(t)
	must(t, c.Getattr(root)) // it listens
	check("after a kill")
	fails(t, "nfs-cp", big, s.url("/home@dawn/new"))
	fails(t, "nfs-cat", s.url("/home/nothing"))
	fails(t, "nfs-ls", s.url("/nothing"))
	fails(t, "nfs-ls", s.url("/home@nothing"))
	s.finish()
}

// makeDirs makes a directory and those above it; the tools have no way to.
func (s *shore) makeDirs(t *testing.T, c nfs.Client, dirs map[string]nfs.FH, path string) nfs.FH {
	t.Helper()
	if h, ok := dirs[path]; ok {
		return h
	}
	up := s.makeDirs(t, c, dirs, filepath.Dir(path))
	dirs[path] = made(t, c.Mkdir(up, filepath.Base(path), nfs.Mode(0o755)))
	return dirs[path]
}

// rot puts other bytes into a file.
func rot(t *testing.T, c nfs.Client, tree nfs.FH, path string) {
	t.Helper()
	h := tree
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		h = found(t, c, h, name)
	}
	must(t, c.Setattr(h, nfs.Size(0), nil))
	write(t, c, h, 0, []byte("rotten"), nfs.FileSync)
}

// sameCat compares a file with what nfs-cat makes of a path.
func (s *shore) sameCat(t *testing.T, want, path string) {
	t.Helper()
	bytes, err := os.ReadFile(want)
	if err != nil {
		t.Fatal(err)
	}
	if got := do(t, "nfs-cat", s.url(path)); got != string(bytes) {
		t.Errorf("%s: %d bytes, want the %d of %s", path, len(got), len(bytes), want)
	}
}

// list returns the names that nfs-ls shows, in order.
func (s *shore) list(t *testing.T, path string) string {
	t.Helper()
	var names []string
	for line := range strings.Lines(do(t, "nfs-ls", s.url(path))) {
		fields := strings.Fields(line)
		if name := fields[len(fields)-1]; name != "." && name != ".." {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}
