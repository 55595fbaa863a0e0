package iscsi

import (
	"bytes"
	"testing"

	client "varve/test/iscsiclient"
)

// A ping brings back its data, as much as a PDU may have of it both ways.
func TestPingData(t *testing.T) {
	h := open(t, Options{}, 1)
	for _, keys := range []map[string]string{
		{"MaxRecvDataSegmentLength": "1048576"},
		{"MaxRecvDataSegmentLength": "100000", "HeaderDigest": "CRC32C", "DataDigest": "CRC32C"},
	} {
		c := h.login(client.Options{Keys: keys})
		for _, n := range []int{0, 1, 4095, inPlace, inPlace + 1, 200<<10 + 3, recvSegment} {
			for _, first := range []byte{client.OpNopOut, client.OpNopOut | client.Immediate} {
				p := &client.PDU{Data: filled(n, 1)}
				p.Header[0], p.Header[1] = first, 0x80
				p.Put(16, c.Tag())
				p.Put(20, client.NoTag)
				p.Put(24, c.CmdSN)
				if first == client.OpNopOut {
					c.CmdSN++
				}
				if err := c.Send(p); err != nil {
					t.Fatal(err)
				}
				r, err := c.Recv()
				if err != nil {
					t.Fatalf("a ping of %d bytes: %v", n, err)
				}
				want := p.Data
				if keys["DataDigest"] != "" {
					want = want[:min(n, 100000)]
				}
				if r.Opcode() != client.OpNopIn || r.Word(16) != p.Word(16) || !bytes.Equal(r.Data, want) {
					t.Errorf("a ping of %d bytes is answered by opcode %#x with %d bytes", n, r.Opcode(), len(r.Data))
				}
			}
		}
		if got := c.MaxCmdSN - c.CmdSN + 1; got != window {
			t.Errorf("a window of %d", got)
		}
	}
	if !h.srv.memory.TryAcquire(h.srv.opt.Memory) {
		t.Error("memory is missing")
	}
}
