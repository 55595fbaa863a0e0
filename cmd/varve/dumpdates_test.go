package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestDumpdatesAreReadWhole: a base is not looked for while somebody writes the record.
func TestDumpdatesAreReadWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dumpdates")
	date := time.Date(2026, 11, 28, 5, 10, 28, 0, time.UTC)
	for level, name := range []string{"/a b", "/c", "/a b"} {
		if err := recordDump(path, name, level, date.Add(time.Duration(level)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	o := &dumpOrder{level: 3, dumpdates: path}
	writer, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	if err := syscall.Flock(int(writer.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Truncate(10); err != nil { // within a line
		t.Fatal(err)
	}
	got := make(chan int64, 1)
	go func() {
		base, err := o.base("/a b")
		if err != nil {
			t.Error(err)
		}
		got <- base
	}()
	select {
	case base := <-got:
		t.Fatalf("the base %d was found in a record that somebody writes", base)
	case <-time.After(100 * time.Millisecond):
	}
	if _, err := writer.WriteAt(whole, 0); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(writer.Fd()), syscall.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	if base := <-got; base != date.Add(2*time.Hour).Unix() {
		t.Errorf("the base is of %v", time.Unix(base, 0).UTC())
	}
}
