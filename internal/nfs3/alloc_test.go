package nfs3

import (
	"runtime"
	"runtime/debug"
	"testing"

	"varve/internal/fs"
	"varve/test/race"
)

// TestAllocations counts what the process allocates while a client that
// allocates nothing keeps calls in flight, beside what files do.
func TestAllocations(t *testing.T) {
	const (
		count      = 100
		writeReply = replyHead + 4 + 28 + postAttrSize + 16
	)
	w := newWorld(t)
	h := fs.Handle{Dataset: 1, Ino: 2}
	b := w.f.Encode(h)
	f := b[:]
	st := newStill(w.f)
	for _, tt := range []struct {
		name  string
		n     int
		proc  uint32
		reply int
		args  []byte
		limit float64
	}{
		{"getattr", 32, procGetattr, replyHead + 4 + attrSize, fh(f), 0.1},
		{"access", 32, procAccess, replyHead + 4 + postAttrSize + 4, put32(fh(f), 3), 0.1},
		{"lookup", 32, procLookup, replyHead + 4 + 36 + 2*postAttrSize, dirop(f, "a-name-of-some-length"), 1.1}, // the name
		{"read", 32, procRead, readHead + 4096, readArgs(f, 0, 4096), 0.1},
		{"long read", 2, procRead, readHead + 1<<20, readArgs(f, 0, 1<<20), 0.3},
		{"write", 32, procWrite, writeReply, writeArgs(f, 0, unstable, make([]byte, 4096)), 0.1},
		{"long write", 2, procWrite, writeReply, writeArgs(f, 0, unstable, make([]byte, 1<<20)), 0.3},
		{"stable write", 32, procWrite, writeReply, writeArgs(f, 0, fileSync, make([]byte, 512)), 0.1},
		{"remove", 32, procRemove, replyHead + 4 + 28 + postAttrSize, dirop(f, "a-name-of-some-length"), 1.2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServer(st, Options{})
			s.seen.max = 64
			_, addr := serve(t, s)
			c := dial(t, addr)
			r := newRounds(c, tt.n, tt.reply, tt.proc, func(int) []byte { return tt.args })
			for range count {
				r.do() // fills the pools
			}
			defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties them
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range count {
				r.do()
			}
			runtime.ReadMemStats(&after)
			per := float64(after.Mallocs-before.Mallocs) / float64(count*tt.n)
			limit := tt.limit
			if race.Enabled() {
				limit += 8
			}
			t.Logf("%.3f allocations per call", per)
			if per > limit {
				t.Errorf("%.2f allocations per call, limit %v", per, limit)
			}
		})
	}
}
