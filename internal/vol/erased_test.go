package vol

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/segstore/compact"
	"varve/internal/segstore/dir"
	"varve/internal/vfs"
	"varve/internal/when"
)

// What a volume held before Erased is in no file of the pool any more.
func TestErasedIsNowhere(t *testing.T) {
	for _, c := range []struct {
		name  string
		among bool // its blocks lie among those of another: few segments go as a whole
	}{{"alone", false}, {"among others", true}} {
		t.Run(c.name, func(t *testing.T) {
			home := t.TempDir()
			e := openDir(t, home)
			const blocks = 2048
			secret := openVolume(t, e, "secret", blocks)
			mark := bytes.Repeat([]byte("what nobody may read"), blockSize/20+1)[:blockSize]
			fill := func(v *Volume, p []byte, each uint64) {
				for i := uint64(0); i < blocks; i += each {
					must(t, v.WriteAt(p, i*blockSize))
				}
			}
			fill(secret, mark, 1)
			if c.among {
				fill(openVolume(t, e, "sparse", blocks), []byte{1}, 64)
				for i := range uint64(blocks) {
					must(t, secret.WriteAt(mark, i*blockSize))
					if i%8 == 0 {
						must(t, secret.Flush())
					}
				}
				_, err := e.Prune(engine.Caller{}, "secret", engine.PruneOptions{})
				must(t, err)
				_, err = e.Clean(context.Background(), nil) // moves blocks
				must(t, err)
			}
			now := when.Spec{Kind: when.Now}
			_, err := e.Prune(engine.Caller{}, "secret", engine.PruneOptions{Before: &now})
			must(t, err)
			_, err = e.Clean(context.Background(), nil) // what is dead becomes what is written next
			must(t, err)
			fill(secret, mark, 7)
			must(t, secret.Flush())
			if places(t, home, mark[:64]) == 0 {
				t.Fatal("the search finds nothing while it is there")
			}
			must(t, secret.Zero(0, blocks*blockSize, false))
			must(t, secret.Erased())
			if n := places(t, home, mark[:64]); n > 0 {
				t.Errorf("what the volume held is still at %d places of the pool's files", n)
			}
			spares, err := filepath.Glob(filepath.Join(home, "log", "*.spare"))
			if err != nil || len(spares) == 0 {
				t.Errorf("%d spare segments, of which the test is too: %v", len(spares), err)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openDir serves a new pool in a directory of the machine.
func openDir(t *testing.T, home string) *engine.Engine {
	t.Helper()
	fsys := vfs.OS()
	must(t, dir.Make(fsys, home, 512<<10, 256<<20))
	files, err := dir.Open(fsys, home, dir.Options{Spare: 4})
	must(t, err)
	store, err := compact.Open(files)
	must(t, err)
	must(t, engine.Format(store, time.Now(), rand.NewChaCha8([32]byte{})))
	e, err := engine.Open(engine.Options{Store: store, CheckpointEvery: -1})
	must(t, err)
	t.Cleanup(func() { must(t, e.Close(context.Background())) })
	return e
}

func openVolume(t *testing.T, e *engine.Engine, name string, blocks uint64) *Volume {
	t.Helper()
	_, err := e.CreateVolume(engine.Caller{}, name, blocks*blockSize)
	must(t, err)
	v, err := Open(e, name, nil, engine.Caller{Proto: "test"}, func() {})
	must(t, err)
	t.Cleanup(v.Close)
	return v
}

// places counts where p begins a sector of a file below home.
func places(t *testing.T, home string, p []byte) (n int) {
	err := filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a new segment, which has got its number meanwhile
		}
		for at := 0; at+len(p) <= len(b); at += 512 {
			if bytes.Equal(b[at:at+len(p)], p) {
				n++
			}
		}
		return err
	})
	must(t, err)
	return n
}
