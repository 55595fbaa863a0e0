package vol

import (
	"bytes"
	"sync"
	"testing"

	"varve/internal/engine"
)

// Two writes that meet in one block, each in its own sectors: at the first
// block of one of them, and at its last. Neither loses the other's bytes.
func TestEdgesMeet(t *testing.T) {
	e := newEngine(t)
	if _, err := e.CreateVolume(engine.Caller{}, "edges", 1<<20); err != nil {
		t.Fatal(err)
	}
	v, err := Open(e, "edges", nil, engine.Caller{Proto: "test"}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	const sector = 512
	for _, c := range []struct {
		name      string
		off, long uint64 // the longer write
		other     uint64 // where the one of a sector goes
	}{
		{"last block", blockSize, blockSize + sector, 2*blockSize + sector},
		{"first block", 2*blockSize + sector, 2*blockSize - sector, 2 * blockSize},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i := range 4000 {
				a := bytes.Repeat([]byte{byte(i), 1}, int(c.long/2))
				b := bytes.Repeat([]byte{byte(i), 2}, sector/2)
				var both sync.WaitGroup
				both.Add(2)
				for p, off := range map[*[]byte]uint64{&a: c.off, &b: c.other} {
					go func() {
						defer both.Done()
						if err := v.WriteAt(*p, off); err != nil {
							t.Error(err)
						}
					}()
				}
				both.Wait()
				got := make([]byte, max(len(a), len(b)))
				for _, w := range []struct {
					p   []byte
					off uint64
				}{{a, c.off}, {b, c.other}} {
					if err := v.ReadAt(got[:len(w.p)], w.off, nil); err != nil || !bytes.Equal(got[:len(w.p)], w.p) {
						t.Fatalf("round %d: the write at %d was lost: %v", i, w.off, err)
					}
				}
			}
		})
	}
}
