// Package layering holds the architecture in place: which package may import
// which, how large a file and a function may become, and which package names
// say nothing.
package layering

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"varve/test/daemon"
)

// floors is the house, from the roof down. A package may import those of lower
// floors only. The front ends share a floor: none knows another.
var floors = [][]string{
	{"cmd/varve"},
	{"internal/metrics"},
	{"internal/nfs3", "internal/fusefs", "internal/iscsi", "internal/nbd", "internal/httpapi", "internal/webui", "internal/metrics"},
	{"internal/redo"},
	{"internal/ask"},
	{"internal/files", "internal/scsi"},
	{"internal/fs", "internal/vol"},
	{"internal/chain"},
	{"internal/extfs", "internal/ufs", "internal/restore"},
	{"internal/blockmap", "internal/inodetable"},
	{"internal/dump"},
	{"internal/ship", "internal/lease"},
	{"internal/engine"},
	{"internal/inode"},
	{"internal/tree", "internal/opfile"},
	{"internal/oplog", "internal/segment"},
	{"internal/segstore"},
	{"internal/vfs"},
}

// leaves know nothing but each other, and all may use them. fail is the error
// type, when the grammar of moments, varint the one codec of small numbers,
// keep the policies of retention, poolclock the time of a pool, accept the
// connections of a server, outbox what it sends to a peer, workers what they must not wait for,
// bytesize how bytes are written.
var leaves = []string{"internal/fail", "internal/when", "internal/varint", "internal/keep", "internal/poolclock", "internal/outbox", "internal/awake", "internal/accept", "internal/workers", "internal/bytesize"}

// nameless are package names that say nothing of what a package is for.
var nameless = []string{"util", "utils", "common", "types", "models", "pkg", "base", "core", "helpers", "misc", "shared", "lib"}

const (
	maxFileLines     = 600
	maxFunctionLines = 70 // of code that ships; a table in a test may be longer
)

type source struct {
	path    string // from the top of the module
	test    bool
	lines   int
	file    *ast.File
	fileset *token.FileSet
}

// folder is the package a source belongs to. The packages below
// internal/segstore are the store's kinds and stand on its floor.
func (s source) folder() string { return filepath.ToSlash(filepath.Dir(s.path)) }

func sources(t *testing.T) []source {
	t.Helper()
	root, err := daemon.Root()
	if err != nil {
		t.Fatal(err)
	}
	var list []source
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != root) {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		s := source{path: filepath.ToSlash(rel), test: strings.HasSuffix(path, "_test.go"), fileset: token.NewFileSet()}
		if s.file, err = parser.ParseFile(s.fileset, path, nil, parser.SkipObjectResolution); err != nil {
			return err
		}
		s.lines = s.fileset.File(s.file.Pos()).LineCount()
		list = append(list, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 20 {
		t.Fatalf("only %d sources found below %s", len(list), root)
	}
	return list
}

// floor returns the index of the floor a package stands on, len(floors) for a
// leaf, -1 for none.
func floor(folder string) int {
	if slices.Contains(leaves, folder) {
		return len(floors)
	}
	if strings.HasPrefix(folder, "internal/") {
		// internal/segstore/dir belongs to segstore
		folder = strings.Join(strings.SplitN(folder, "/", 3)[:2], "/")
	}
	return slices.IndexFunc(floors, func(names []string) bool { return slices.Contains(names, folder) })
}

// allowed judges one import. Inside one floor nothing is allowed but a
// package's own parts, and leaves using leaves.
func allowed(from, to string) bool {
	a, b := floor(from), floor(to)
	if a == b && a < len(floors) {
		return strings.HasPrefix(from, to+"/") || strings.HasPrefix(to, from+"/") || sibling(from, to)
	}
	return a <= b
}

// sibling: two parts of one package, such as segstore/mem and
// segstore/segstoretest.
func sibling(a, b string) bool {
	x, y := strings.Split(a, "/"), strings.Split(b, "/")
	return len(x) > 2 && len(y) > 2 && x[1] == y[1]
}

func TestImportsPointDown(t *testing.T) {
	for _, s := range sources(t) {
		from := s.folder()
		if strings.HasPrefix(from, "test/") {
			continue // the harness may use what it tests
		}
		if floor(from) < 0 {
			t.Errorf("%s: package %s has no floor in the house; give it one in this test", s.path, from)
			continue
		}
		if s.test {
			continue // a test may look at a package from above
		}
		for _, spec := range s.file.Imports {
			to, inside := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), "varve/")
			if inside && !allowed(from, to) {
				t.Errorf("%s imports %s, which is not below it", s.path, to)
			}
		}
	}
}

// TestRuleCanFail: the rule itself refuses what it should.
func TestRuleCanFail(t *testing.T) {
	for _, c := range []struct {
		from, to string
		ok       bool
	}{
		{"cmd/varve", "internal/nbd", true},
		{"internal/engine", "internal/segstore", true},
		{"internal/engine", "internal/fail", true},
		{"internal/segstore/dir", "internal/segstore", true},
		{"internal/segstore/dir", "internal/vfs", true},
		{"internal/nbd", "internal/httpapi", false},
		{"internal/vol", "internal/nbd", false},
		{"internal/engine", "internal/vol", false},
		{"internal/tree", "internal/engine", false},
		{"internal/segment", "internal/oplog", false},
		{"internal/vfs", "internal/segstore", false},
		{"internal/fail", "internal/vfs", false},
		{"internal/vfs", "test/daemon", false},
		{"internal/tree", "cmd/varve", false},
	} {
		if got := allowed(c.from, c.to); got != c.ok {
			t.Errorf("%s -> %s: allowed %v, want %v", c.from, c.to, got, c.ok)
		}
	}
}

func TestPackageNamesSaySomething(t *testing.T) {
	for _, s := range sources(t) {
		for part := range strings.SplitSeq(s.folder(), "/") {
			if slices.Contains(nameless, part) {
				t.Errorf("%s: a package called %q; name it for what it does", s.path, part)
			}
		}
	}
}

func TestSizes(t *testing.T) {
	for _, s := range sources(t) {
		if s.lines > maxFileLines {
			t.Errorf("%s has %d lines, more than %d: it holds more than one concept", s.path, s.lines, maxFileLines)
		}
		if s.test {
			continue
		}
		for _, decl := range s.file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := s.fileset.Position(fn.End()).Line - s.fileset.Position(fn.Pos()).Line + 1; n > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, more than %d", s.fileset.Position(fn.Pos()), fn.Name.Name, n, maxFunctionLines)
			}
		}
	}
}
