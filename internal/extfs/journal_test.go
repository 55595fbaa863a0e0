package extfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"varve/internal/fail"
	"varve/test/plant"
)

// unrest changes a mounted file system in several transactions, with blocks that begin
// as the journal's own do, and blocks that are freed and used otherwise.
func unrest(t *testing.T, dir string) {
	t.Helper()
	own := bytes.Repeat(append(binary.BigEndian.AppendUint32(nil, journalMagic), plant.Noise(1, 1020)...), 8)
	for round := range 4 {
		for i := range 12 {
			d := filepath.Join(dir, fmt.Sprintf("d%d", i))
			if round == 0 {
				plant.Must(t, os.Mkdir(d, 0o755))
			}
			for k := range 20 {
				name := filepath.Join(d, fmt.Sprintf("%s%d", strings.Repeat("n", 60), k))
				if (k+round)%3 == 0 {
					os.Remove(name)
					continue
				}
				plant.Must(t, os.WriteFile(name, own[:100*k], 0o644))
			}
		}
		plant.Must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("own%d", round)), own, 0o600))
		if round > 0 { // directories become data
			plant.Must(t, os.RemoveAll(filepath.Join(dir, fmt.Sprintf("d%d", round+7))))
			plant.Must(t, os.Rename(filepath.Join(dir, "own0"), filepath.Join(dir, "moved")))
			plant.Must(t, os.Rename(filepath.Join(dir, "moved"), filepath.Join(dir, "own0")))
			plant.Must(t, os.MkdirAll(filepath.Join(dir, fmt.Sprintf("d%d", round+7)), 0o700))
		}
		plant.Run(t, "sync", "-f", dir)
	}
	f, err := os.Create(filepath.Join(dir, "last"))
	plant.Must(t, err)
	_, err = f.Write(own[:5000])
	plant.Must(t, err)
	plant.Must(t, f.Sync())
	plant.Must(t, f.Close())
}

// fill takes all free blocks for data: also those that the journal holds old versions of,
// as blocks of directories.
func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "fill"))
	plant.Must(t, err)
	for i := 0; err == nil; i++ {
		_, err = f.Write(plant.Noise(i, 1<<16))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	plant.Must(t, f.Sync())
	plant.Must(t, f.Close())
}

// TestDirtyJournal: an image taken from under a mounted file system reads as after the
// kernel's recovery, for every kind of journal.
func TestDirtyJournal(t *testing.T) {
	for _, v := range []struct {
		name, options string
		escapes       bool
		args          []string
	}{
		{"v3", "", false, []string{"-t", "ext4", "-b", "4096"}},
		{"v3-1k-data", "data=journal", true, []string{"-t", "ext4", "-b", "1024"}},
		{"v3-32bit-data", "data=journal", true, []string{"-t", "ext4", "-b", "1024", "-O", "^64bit"}},
		{"none", "", false, []string{"-t", "ext4", "-b", "1024", "-O", "^metadata_csum"}},
		{"v1", "journal_checksum", false, []string{"-t", "ext4", "-b", "1024", "-O", "^metadata_csum,^64bit"}},
		{"v1-64bit", "journal_checksum", false, []string{"-t", "ext4", "-b", "1024", "-O", "^metadata_csum"}},
		{"async", "journal_async_commit,data=writeback", false, []string{"-t", "ext4", "-b", "1024"}},
		{"v1-async", "journal_async_commit,data=writeback", false, []string{"-t", "ext4", "-b", "1024", "-O", "^metadata_csum"}},
		{"ext3-data", "data=journal", true, []string{"-t", "ext3", "-b", "1024", "-I", "128"}},
		{"inline", "", false, []string{"-t", "ext4", "-b", "1024", "-O", "inline_data", "-I", "256"}},
	} {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			x := image(t, t.TempDir(), "24M", append(v.args, "-J", "size=4")...)
			dir := mount(t, x, v.options+",commit=300")
			orphan, err := os.Create(filepath.Join(dir, "orphan"))
			plant.Must(t, err)
			defer orphan.Close()
			_, err = orphan.Write(plant.Noise(4, 9000))
			plant.Must(t, err)
			plant.Must(t, os.Remove(orphan.Name()))
			unrest(t, dir)
			if !v.escapes {
				fill(t, dir)
			}
			torn := filepath.Join(t.TempDir(), "torn.img")
			plant.Run(t, "cp", "--sparse=always", x, torn)
			f := judge(t, torn)
			if _, ok := names(t, f)["last"]; !ok || !strings.Contains(fmt.Sprint(f.Warnings()), "replayed in memory") {
				t.Errorf("the last file is there: %v; %v", ok, f.Warnings())
			}
			examine(t, f, v.escapes)
		})
	}
}

// examine fails if a journal did not exercise what it was made for.
func examine(t *testing.T, f *FS, escapes bool) {
	t.Helper()
	ctx := context.Background()
	f.disk.replayed = nil
	j := &journal{fs: f}
	plant.Must(t, j.open(ctx))
	plant.Must(t, j.scan(ctx))
	revoked, err := j.revoked(ctx)
	plant.Must(t, err)
	escaped := 0
	for _, tag := range j.tags {
		if tag.escaped {
			escaped++
		}
	}
	if j.commits < 4 || !escapes && len(revoked) == 0 || escapes != (escaped > 0) {
		t.Errorf("%d transactions, %d blocks revoked, %d escaped", j.commits, len(revoked), escaped)
	}
}

// TestTornJournal: whatever of a journal's last transaction is missing, what is read is
// a file system that was, and damage before the end is never passed over.
func TestTornJournal(t *testing.T) {
	x := image(t, t.TempDir(), "24M", "-t", "ext4", "-b", "1024", "-J", "size=4")
	dir := mount(t, x, "commit=300")
	unrest(t, dir)
	torn := filepath.Join(t.TempDir(), "torn.img")
	plant.Run(t, "cp", "--sparse=always", x, torn)
	base, err := os.ReadFile(torn)
	plant.Must(t, err)
	open := func(patches map[int64]byte) (*FS, error) {
		return Open(context.Background(), &plant.Image{Base: base, Patches: patches}, int64(len(base)))
	}
	f, err := open(nil)
	plant.Must(t, err)
	whole, err := plant.Walk(f, 1<<20)
	plant.Must(t, err)
	f.disk.replayed = nil
	j := &journal{fs: f}
	plant.Must(t, j.open(context.Background()))
	start := j.start
	plant.Must(t, j.scan(context.Background()))
	flip := func(block uint32, at int64) map[int64]byte {
		p, err := j.physical(context.Background(), block)
		plant.Must(t, err)
		o := int64(p*f.disk.block) + at
		return map[int64]byte{o: base[o] ^ 4}
	}
	last := j.tags[len(j.tags)-1].from
	commit := j.after(last.at, 1)
	f, err = open(flip(commit, 8)) // another sequence: the commit was never written
	plant.Must(t, err)
	if short, err := plant.Walk(f, 1<<20); err == nil && short == whole {
		t.Error("the last transaction counts without its commit")
	}
	for what, patches := range map[string]map[int64]byte{
		"a logged block": flip(last.at, 100), "the last commit": flip(commit, 50), "the first descriptor": flip(start, 40), "the superblock": flip(0, 60),
	} {
		if _, err := open(patches); !fail.Is(err, fail.Corrupt) {
			t.Errorf("a bit of %s is wrong: %v", what, err)
		}
	}
}

// TestFastCommit: a journal with fast commits is refused by name unless the file system
// was unmounted.
func TestFastCommit(t *testing.T) {
	x := image(t, t.TempDir(), "24M", "-t", "ext4", "-b", "4096", "-O", "fast_commit")
	dir := mount(t, x, "commit=300")
	plant.Must(t, os.WriteFile(filepath.Join(dir, "file"), plant.Noise(1, 5000), 0o644))
	plant.Run(t, "sync", filepath.Join(dir, "file"))
	torn := filepath.Join(t.TempDir(), "torn.img")
	plant.Run(t, "cp", "--sparse=always", x, torn)
	file, err := os.Open(torn)
	plant.Must(t, err)
	defer file.Close()
	if _, err := Open(context.Background(), file, 24<<20); !fail.Is(err, fail.Unsupported) || !strings.Contains(err.Error(), "fast_commit") {
		t.Error(err)
	}
	plant.Unmount(t, dir)
	judge(t, x)
}
