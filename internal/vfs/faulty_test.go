package vfs_test

import (
	"errors"
	"io"
	"os"
	"syscall"
	"testing"

	"varve/internal/fail"
	"varve/internal/vfs"
)

func openIn(t *testing.T, fsys vfs.FS, name string) vfs.File {
	t.Helper()
	f, err := fsys.Open(name, os.O_RDWR|os.O_CREATE, 0o600)
	check(t, err)
	return f
}

func TestFaultyCountsAndMatches(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMem(1))
	log, other := openIn(t, fsys, "/1.seg"), openIn(t, fsys, "/hint")
	fault := fsys.Add(vfs.Rule{Op: vfs.OpWrite, Path: "*.seg", After: 2, Count: 2, Err: syscall.ENOSPC})
	for i := range 6 {
		var err error
		if i%2 == 0 {
			_, err = log.WriteAt([]byte("x"), 0)
		} else {
			err = log.WriteDurableAt([]byte("x"), 0)
		}
		if hit := i == 2 || i == 3; hit != fail.Is(err, fail.NoSpace) || !hit && err != nil {
			t.Errorf("write %d: %v", i, err)
		}
		_, err = other.WriteAt([]byte("x"), 0)
		check(t, err)
		check(t, log.Sync())
	}
	if fault.Hits() != 2 {
		t.Errorf("%d hits", fault.Hits())
	}
	always := fsys.Add(vfs.Rule{Err: syscall.EIO})
	if _, err := fsys.Stat("/hint"); !errors.Is(err, syscall.EIO) {
		t.Errorf("stat: %v", err)
	}
	fsys.End(always)
	_, err := fsys.Stat("/hint")
	check(t, err)
}

func TestFaultyEveryCall(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMem(1))
	f := openIn(t, fsys, "/f")
	p := []byte("x")
	calls := map[vfs.Op][]func() error{
		vfs.OpOpen:    {func() error { _, err := fsys.Open("/f", os.O_RDWR, 0); return err }},
		vfs.OpRename:  {func() error { return fsys.Rename("/f", "/g") }},
		vfs.OpRemove:  {func() error { return fsys.Remove("/f") }},
		vfs.OpMkdir:   {func() error { return fsys.MkdirAll("/d", 0o700) }},
		vfs.OpList:    {func() error { _, err := fsys.ReadDir("/"); return err }},
		vfs.OpStat:    {func() error { _, err := fsys.Stat("/f"); return err }},
		vfs.OpSyncDir: {func() error { return fsys.SyncDir("/") }},
		vfs.OpLock:    {func() error { _, err := fsys.Lock("/lock", true, ""); return err }},
		vfs.OpSpace:   {func() error { _, _, err := fsys.Space("/"); return err }},
		vfs.OpRead: {
			func() error { _, err := f.ReadAt(p, 0); return err },
			func() error { _, _, err := f.TryReadAt(p, 0); return err },
		},
		vfs.OpWrite: {
			func() error { _, err := f.WriteAt(p, 0); return err },
			func() error { return f.WriteDurableAt(p, 0) },
		},
		vfs.OpSync:     {f.Sync},
		vfs.OpAllocate: {func() error { return f.Allocate(0, 4096) }},
		vfs.OpPunch:    {func() error { return f.PunchHole(0, 4096) }},
		vfs.OpZero:     {func() error { return f.Zero(0, 4096) }},
		vfs.OpTruncate: {func() error { return f.Truncate(9) }},
		vfs.OpSize:     {func() error { _, err := f.Size(); return err }},
	}
	for op, list := range calls {
		for _, call := range list {
			var seen vfs.Op
			fault := fsys.Add(vfs.Rule{Op: op, Count: 1, Err: syscall.EIO, Hook: func(op vfs.Op, _ string) { seen = op }})
			if err := call(); !errors.Is(err, syscall.EIO) || !fail.Is(err, fail.IO) {
				t.Errorf("%s: %v", op, err)
			}
			if seen != op || fault.Hits() != 1 {
				t.Errorf("%s: hook saw %q, %d hits", op, seen, fault.Hits())
			}
			fsys.End(fault)
		}
	}
	if size, err := f.Size(); err != nil || size != 0 {
		t.Errorf("calls that failed had effects: size %d, %v", size, err)
	}
}

func TestFaultyShortWrite(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMem(1), vfs.Rule{Op: vfs.OpWrite, Short: true, Err: syscall.ENOSPC})
	f := openIn(t, fsys, "/f")
	n, err := f.WriteAt([]byte("0123456789"), 0)
	wantKind(t, err, fail.NoSpace)
	if size, _ := f.Size(); n != 5 || size != 5 {
		t.Errorf("%d bytes said, %d done", n, size)
	}
	wantKind(t, f.WriteDurableAt([]byte("abcdefgh"), 5), fail.NoSpace)
	if size, _ := f.Size(); size != 9 {
		t.Errorf("%d bytes done", size)
	}
}

func TestFaultyRot(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMem(1))
	f := openIn(t, fsys, "/f")
	_, err := f.WriteAt([]byte("0123456789"), 0)
	check(t, err)
	fault := fsys.Add(vfs.Rule{Path: "f", Rot: &vfs.Rot{Offset: 4, Bit: 0}})
	read := func(off int64, n int) string {
		p := make([]byte, n)
		_, err := f.ReadAt(p, off)
		if err != io.EOF {
			check(t, err)
		}
		q := make([]byte, n)
		if _, ok, err := f.TryReadAt(q, off); err != nil || ok && string(q) != string(p) {
			t.Errorf("read %q, and without waiting %q, %v", p, q, err)
		}
		return string(p)
	}
	for _, c := range []struct {
		off  int64
		n    int
		want string
	}{{0, 10, "0123556789"}, {4, 1, "5"}, {0, 4, "0123"}, {5, 5, "56789"}} {
		if got := read(c.off, c.n); got != c.want {
			t.Errorf("%d bytes at %d: %q, want %q", c.n, c.off, got, c.want)
		}
	}
	fsys.End(fault)
	if got := read(0, 10); got != "0123456789" {
		t.Errorf("after the rot: %q", got)
	}
}
