package main

import (
	"bytes"
	"strings"
	"testing"
)

// A table that is longer than a batch is written as it comes, has one header,
// and its columns never become narrower.
func TestRowsComeInBatches(t *testing.T) {
	var out bytes.Buffer
	r, err := newRows(&app{out: &out}, []column[string]{
		{"word", false, func(s string) string { return s }},
		{"x", true, func(string) string { return "1" }},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	const n = 3 * batchRows
	for i := range n {
		word := "ab"
		if i == batchRows+10 {
			word = "abcdefgh"
		}
		if err := r.add(word); err != nil {
			t.Fatal(err)
		}
		if i == batchRows && out.Len() == 0 {
			t.Error("a full batch was held back")
		}
		if len(r.cells) > batchRows {
			t.Fatalf("%d rows are held back", len(r.cells))
		}
	}
	if err := r.end(nil); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != n+1 || lines[0] != "WORD  X" || lines[1] != "ab    1" || lines[n] != "ab        1" {
		t.Errorf("%d lines: %q, %q ... %q", len(lines), lines[0], lines[1], lines[len(lines)-1])
	}
}
