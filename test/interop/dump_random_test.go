package interop

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"varve/internal/chain"
	"varve/internal/fs"
	"varve/internal/inode"
	"varve/internal/when"
)

// TestDumpRandomChains: whatever is done to a share between the levels of a chain,
// rollbacks too, Debian's restore ends with what the share is. What a server
// remembers of a chain, and what it finds out again, is the same.
func TestDumpRandomChains(t *testing.T) {
	for round := range 6 {
		seed := uint64(time.Now().UnixNano()) + uint64(round)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newArchivist(t)
			r := &randomOps{w, rand.New(rand.NewPCG(seed, 1))}
			dir := memoryDir(t)
			var moments []uint64
			for level := range 5 {
				for range 60 {
					r.step()
				}
				moments = append(moments, w.e.Status().LastLSN)
				if level > 1 && r.IntN(2) == 0 {
					back := when.Spec{Kind: when.LSN, LSN: moments[r.IntN(len(moments))]}
					_, err := w.e.Rollback(system, "home", back, true)
					w.ok(err)
					for range r.IntN(30) {
						r.step()
					}
				}
				if r.IntN(2) == 0 {
					w.dumps = chain.New(w.e)
				}
				if r.IntN(3) == 0 {
					w.ok(w.e.Checkpoint())
				}
				w.tick(time.Second)
				file, _ := w.dump(chain.Request{Level: level, Update: true})
				debian(t, dir, "-rf", file)
				same(t, diskTree(t, dir, false), w.shareTree(false))
				if t.Failed() {
					t.Fatalf("level %d", level)
				}
			}
		})
	}
}

// randomOps does random things to the share of an archivist.
type randomOps struct {
	*archivist
	*rand.Rand
}

func (r *randomOps) name() string { return string(rune('a' + r.IntN(6))) }

// dir goes down some directories.
func (r *randomOps) dir() fs.Handle {
	h := r.root
	for range r.IntN(4) {
		next, a, _, err := r.fs.Lookup(super, h, r.name())
		if err != nil || a.Mode&inode.ModeType != inode.ModeDir {
			break
		}
		h = next
	}
	return h
}

// step does one thing; that it is refused is fine.
func (r *randomOps) step() {
	r.tick(time.Duration(r.IntN(500)) * time.Millisecond)
	dir, name := r.dir(), r.name()
	h, a, _, _ := r.fs.Lookup(super, dir, name)
	file, mode := a.Mode&inode.ModeType == inode.ModeFile, uint32(0o600+r.IntN(0o200))
	if a.Mode&inode.ModeType == inode.ModeLink {
		mode = 0o777 // no other mode of a symbolic link can be restored
	}
	switch r.IntN(16) {
	case 0, 1, 2:
		r.fs.Create(super, dir, name, fs.SetAttr{Mode: &mode}, true, nil)
	case 3, 4:
		r.fs.Mkdir(super, dir, name, fs.SetAttr{Mode: &mode})
	case 5:
		r.fs.Symlink(super, dir, name, fmt.Sprint("to ", r.IntN(1000)), fs.SetAttr{})
	case 6:
		r.fs.Mknod(super, dir, name, inode.ModeFIFO, 0, fs.SetAttr{Mode: &mode})
	case 7, 8:
		r.fs.Rename(super, dir, name, r.dir(), r.name())
	case 9:
		r.fs.Remove(super, dir, name)
		r.fs.Rmdir(super, dir, name)
	case 10:
		r.fs.Link(super, h, r.dir(), r.name())
	case 11:
		uid := uint32(r.IntN(5))
		r.fs.Setattr(super, h, fs.SetAttr{Mode: &mode, UID: &uid})
	case 12, 13:
		if size := uint64(r.IntN(20_000)); file {
			r.fs.Setattr(super, h, fs.SetAttr{Size: &size})
		}
	default:
		if file {
			p := bytes.Repeat([]byte{byte(r.Uint32())}, 1+r.IntN(10_000))
			r.fs.Write(super, h, p, uint64(r.IntN(30_000)))
		}
	}
}
