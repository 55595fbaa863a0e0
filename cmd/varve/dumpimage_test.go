package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestImageDate: a copy of a file system in a file is of when it was written, not of when
// it is dumped.
func TestImageDate(t *testing.T) {
	name := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, age := range []time.Duration{time.Hour, -time.Hour} {
		now := time.Now()
		if err := os.Chtimes(name, now, now.Add(-age)); err != nil {
			t.Fatal(err)
		}
		want := now.Add(-max(age, 0))
		if got, err := imageDate(f); err != nil || got.Sub(want).Abs() > time.Minute {
			t.Errorf("written %v ago: %v, %v; want %v", age, got, err, want)
		}
	}
}
