package interop

import (
	"context"
	"fmt"
	"testing"
	"time"

	"varve/internal/chain"
)

// TestDumpWholeChunks: a share has as many inodes as are looked at in one go, or a
// multiple of it, or one more or less.
func TestDumpWholeChunks(t *testing.T) {
	w := newArchivist(t)
	inodes := 1 // the root
	for _, n := range []int{511, 512, 513, 1023, 1024, 1025, 4095, 4096, 4097} {
		for ; inodes < n; inodes++ {
			w.file(fmt.Sprint("/", inodes), "")
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		j, err := w.dumps.Begin(ctx, system, "home", chain.Request{Blocking: 10})
		if err != nil {
			t.Fatalf("%d inodes: %v", n, err)
		}
		if j.Info.Inodes != uint64(n) {
			t.Errorf("%d inodes of %d", j.Info.Inodes, n)
		}
		j.Close()
		cancel()
	}
}
