package iscsi

import (
	"io"
	"runtime"
	"testing"

	client "varve/test/iscsiclient"
	"varve/test/race"
)

// TestAllocations counts what the process allocates while an initiator that
// allocates nothing keeps 32 commands in flight.
func TestAllocations(t *testing.T) {
	const depth, rounds = 32, 100
	limit := 0.2
	if race.Enabled() {
		limit = 8
	}
	for _, tt := range []struct {
		name  string
		cmd   client.Command
		reply int // bytes
	}{
		{"write", client.Write16(64, make([]byte, 4096)), headerSize},
		{"read", client.Read16(64, 8), headerSize + 4096},
		{"test unit ready", client.TestUnitReady(), headerSize},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := open(t, Options{}, 1)
			c := h.login(client.Options{})
			good(t, c, client.Write16(64, filled(4096, 1)))
			var out []byte
			var at []int // of headers
			for range depth {
				p := c.PDU(tt.cmd, c.Tag())
				p.Data = tt.cmd.Out
				p.Header[6] = byte(len(p.Data) >> 8)
				at = append(at, len(out))
				out = append(append(out, p.Header[:]...), p.Data...)
			}
			in := make([]byte, depth*tt.reply)
			sn := c.CmdSN - depth
			round := func() {
				for _, off := range at {
					be.PutUint32(out[off+24:], sn)
					sn++
				}
				if _, err := c.Conn.Write(out); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(c.Conn, in); err != nil {
					t.Fatal(err)
				}
			}
			round()
			if in[3] != client.Good {
				t.Fatalf("status %#x", in[3])
			}
			for range 20 {
				round()
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range rounds {
				round()
			}
			runtime.ReadMemStats(&after)
			if got := float64(after.Mallocs-before.Mallocs) / (depth * rounds); got > limit {
				t.Errorf("%.2f allocations for each command", got)
			}
		})
	}
}
