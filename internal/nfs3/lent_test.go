package nfs3

import (
	"bytes"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"varve/internal/fs"
)

// watched are files that count the WRITEs whose memory the log took over.
type watched struct {
	files
	taken atomic.Int64
}

func (w *watched) Write(c *fs.Call, h fs.Handle, p []byte, off uint64) (fs.Wcc, uint64, error) {
	wcc, lsn, err := w.files.Write(c, h, p, off)
	if c.Memory != nil && c.Memory.Bytes() == nil {
		w.taken.Add(1)
	}
	return wcc, lsn, err
}

// Long WRITEs of whole blocks come in memory of the log, whatever length the
// head of the call has. What they say is what is read, while others use that
// memory again.
func TestLongWrites(t *testing.T) {
	w := newWorld(t)
	files := &watched{files: w.f}
	_, addr := serve(t, newServer(files, Options{}))
	c := dial(t, addr)
	const size = 8 << 20
	want := make([]byte, size+maxIO)
	f := c.make(w.root, "f", want)
	rng := rand.New(rand.NewPCG(1, 1))
	for range 60 {
		n := []int{maxIO, maxIO, 768 << 10, 512 << 10, 512<<10 - 4096, maxIO - 1, 100}[rng.IntN(7)]
		off := rng.IntN(size)
		if rng.IntN(4) > 0 {
			off &^= 4095
		}
		p := want[off : off+n]
		copy(p, pattern(n, byte(rng.Uint32())))
		how := uint32(unstable)
		if rng.IntN(4) == 0 {
			how = fileSync
		}
		c.cred = sysCred(0, 0, make([]uint32, rng.IntN(maxGroups+1))...)
		c.nfs(procWrite, writeArgs(f, uint64(off), how, p), nfsOK)
	}
	for off := 0; off < size; off += maxIO {
		r := c.nfs(procRead, readArgs(f, uint64(off), maxIO), nfsOK)
		r.post()
		r.u32()
		r.flag()
		if got := r.opaque(maxIO); !bytes.Equal(got, want[off:off+maxIO]) {
			t.Fatalf("at %d the file is not what was written", off)
		}
	}
	if n := files.taken.Load(); n < 20 || n > 50 {
		t.Errorf("the log took over the memory of %d of 60 WRITEs", n)
	}
}
