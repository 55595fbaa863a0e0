package vfs_test

import (
	"testing"

	"varve/internal/fail"
	"varve/internal/vfs"
	"varve/internal/vfs/vfstest"
)

func TestOS(t *testing.T) {
	vfstest.Run(t, func(t *testing.T) (vfs.FS, string) { return vfs.OS(), t.TempDir() })
}

func TestMem(t *testing.T) {
	vfstest.Run(t, func(*testing.T) (vfs.FS, string) { return vfs.NewMem(1), "/" })
}

func TestFaultyWithoutRules(t *testing.T) {
	vfstest.Run(t, func(*testing.T) (vfs.FS, string) { return vfs.NewFaulty(vfs.NewMem(1)), "/" })
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t *testing.T, err error, k fail.Kind) {
	t.Helper()
	if !fail.Is(err, k) {
		t.Fatalf("error %v of kind %v, want %v", err, fail.KindOf(err), k)
	}
}
