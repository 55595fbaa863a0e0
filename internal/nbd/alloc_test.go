package nbd

import (
	"io"
	"runtime"
	"runtime/debug"
	"testing"

	"varve/test/race"
)

// TestAllocations counts what the process allocates while a client that
// allocates nothing keeps 32 requests in flight.
func TestAllocations(t *testing.T) {
	const depth, rounds = 32, 100
	limit := 0.1
	if race.Enabled() {
		limit = 4
	}
	for _, tt := range []struct {
		name       string
		structured bool
		cold       bool
		r          request
		reply      int // bytes
	}{
		{"write", false, false, request{cmd: cmdWrite, n: 4096}, simpleSize},
		{"write FUA", false, false, request{cmd: cmdWrite, flags: flagFUA, n: 4096}, simpleSize},
		{"write of its own buffer", false, false, request{cmd: cmdWrite, n: 512 << 10}, simpleSize},
		{"read", false, false, request{cmd: cmdRead, n: 4096}, simpleSize + 4096},
		{"read, structured", true, false, request{cmd: cmdRead, n: 4096}, dataHead + 4096},
		{"read by a worker", false, true, request{cmd: cmdRead, n: 4096}, simpleSize + 4096},
		{"read of its own buffer", false, false, request{cmd: cmdRead, n: 512 << 10}, simpleSize + 512<<10},
		{"trim", false, false, request{cmd: cmdTrim, off: 1 << 20, n: 4096}, simpleSize},
		{"flush", false, false, request{cmd: cmdFlush}, simpleSize},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newMemDisk("d", 4<<20)
			_, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{})
			c := connect(t, addr, "d", tt.structured)
			c.do(request{cmd: cmdWrite, n: 512 << 10}, pattern(512<<10, 1))
			d.cold.Store(tt.cold)
			var payload []byte
			if tt.r.cmd == cmdWrite {
				payload = pattern(int(tt.r.n), 1)
			}
			k := depth
			if tt.r.n > 4096 {
				k = 2
			}
			var out []byte
			for i := range k {
				tt.r.cookie = uint64(i)
				out = append(out, requestBytes(tt.r, payload)...)
			}
			in := make([]byte, k*tt.reply)
			round := func() {
				c.nc.Write(out)
				if _, err := io.ReadFull(c.r, in); err != nil {
					t.Fatal(err)
				}
			}
			for range rounds {
				round() // fills the pools
			}
			defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties them
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range rounds {
				round()
			}
			runtime.ReadMemStats(&after)
			per := float64(after.Mallocs-before.Mallocs) / float64(rounds*k)
			t.Logf("%.3f allocations per request", per)
			if per > limit {
				t.Errorf("%.2f allocations per request, limit %v", per, limit)
			}
		})
	}
}
