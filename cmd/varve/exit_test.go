package main

import (
	"maps"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"varve/internal/fail"
)

// TestExitCodes: each kind of error has a code, and varve help and
// docs/operations.md tell of every code and of no other.
func TestExitCodes(t *testing.T) {
	want := map[int]bool{0: true, int(exitUsage): true, int(exitDamage): true, int(exitPartial): true, int(exitWarning): true, int(exitCritical): true}
	for k := fail.Other; k <= fail.Canceled; k++ {
		code, ok := exitCodes[k]
		if !ok || code == 0 {
			t.Errorf("%s has no exit code", k)
		}
		want[int(code)] = true
	}
	manual, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, chapter, _ := strings.Cut(string(manual), "\n## Exit codes\n")
	_, help, _ := strings.Cut((&app{}).root().Long, "\nExit codes:\n")
	for where, got := range map[string]map[int]bool{
		"varve help":         codesIn(t, `(?m)^ +([0-9]+)  \S`, help),
		"docs/operations.md": codesIn(t, `(?m)^\| ([0-9, ]+) \|`, chapter),
	} {
		if !maps.Equal(got, want) {
			t.Errorf("%s tells of %v, there are %v", where, got, want)
		}
	}
}

// codesIn returns the numbers that a pattern finds, one or more at a place.
func codesIn(t *testing.T, pattern, text string) map[int]bool {
	t.Helper()
	found := map[int]bool{}
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		for _, s := range strings.Split(m[1], ", ") {
			code, err := strconv.Atoi(s)
			if err != nil {
				t.Fatal(err)
			}
			found[code] = true
		}
	}
	return found
}
