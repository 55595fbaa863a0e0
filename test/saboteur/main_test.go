package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestOutcomes runs the saboteur on a module of one function and one test that
// knows half of it.
func TestOutcomes(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":    "module half\n\ngo 1.26\n",
		"sum.go":    "package half\n\nfunc Sum(a, b int) int {\n\tif a < 0 {\n\t\treturn b + a\n\t}\n\treturn a + b\n}\n",
		"s_test.go": "package half\n\nimport \"testing\"\n\nfunc TestSum(t *testing.T) {\n\tif Sum(1, 2) != 3 {\n\t\tt.Fatal()\n\t}\n}\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := saboteur{root: root, scratch: t.TempDir()}
	known := suite{pkg: ".", run: "TestSum"}
	for _, c := range []struct {
		name  string
		edits []edit
		tests suite
		want  outcome
	}{
		{"noticed", []edit{{"sum.go", "return a + b", "return a - b"}}, known, caught},
		{"not-noticed", []edit{{"sum.go", "return b + a", "return b"}}, known, survived},
		{"no-such-text", []edit{{"sum.go", "a * b", "a"}}, known, unfit},
		{"text-twice", []edit{{"sum.go", "return", "panic(1); return"}}, known, unfit},
		{"typo", []edit{{"sum.go", "return a + b", "return c"}}, known, unbuilt},
		{"no-test", []edit{{"sum.go", "return a + b", "return a - b"}}, suite{pkg: ".", run: "TestNothing"}, testless},
		{"panic", []edit{{"sum.go", "return a + b", "panic(b)"}}, known, caught},
		{"two-edits", []edit{{"sum.go", "return a + b", "return a*b + 1"}, {"sum.go", "a*b + 1", "a*b + 2"}}, known, caught},
	} {
		v := s.commit(fault{name: c.name, edits: c.edits, tests: c.tests})
		if v.outcome != c.want {
			t.Errorf("%s: %s, want %s\n%s", c.name, v.outcome, c.want, v.output)
		}
		if v.outcome == caught && v.by != "TestSum" {
			t.Errorf("%s: caught by %q", c.name, v.by)
		}
	}
	if sound := s.control([]fault{{tests: known}, {tests: suite{pkg: ".", run: "TestNothing"}}}); len(sound) != 1 || sound[0] != known {
		t.Errorf("the control takes %v for sound", sound)
	}
	if noticed := (fault{name: "n", edits: []edit{{"sum.go", "return a + b", "return a - b"}}, tests: known}); !s.all([]fault{noticed}) {
		t.Error("a fault that is noticed fails the run")
	}
	if not := (fault{name: "m", edits: []edit{{"sum.go", "return b + a", "return b"}}, tests: known}); s.all([]fault{not}) {
		t.Error("a survivor does not fail the run")
	}
}

// TestFaultsFit: every fault of the list still finds its text, once, and has a
// name of its own.
func TestFaultsFit(t *testing.T) {
	s := saboteur{root: filepath.Join("..", ".."), scratch: t.TempDir()}
	names := map[string]bool{}
	for _, f := range slices.Concat(poolFaults, damageFaults, frontFaults) {
		if names[f.name] || strings.ContainsAny(f.name, " /") {
			t.Errorf("name %q is taken, or no file name", f.name)
		}
		names[f.name] = true
		if _, err := s.overlay(f); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
	}
	if len(names) < 100 {
		t.Errorf("%d faults, want at least 100", len(names))
	}
}
