package iscsi

import (
	"testing"

	client "varve/test/iscsiclient"
)

// A command that came before its turn is aborted like any other: it is not executed
// when its turn comes. What came later stays.
func TestAbortBeforeItsTurn(t *testing.T) {
	h := open(t, Options{}, 1)
	c := h.login(client.Options{})
	was := filled(4096, 1)
	good(t, c, client.Write16(0, was))
	for _, function := range []byte{tmfAbortTask, tmfAbortTaskSet, tmfClearTaskSet, tmfUnitReset, tmfWarmReset} {
		gap := c.CmdSN
		c.CmdSN++
		var tags []uint32
		for i := range 2 {
			tag := c.Tag()
			p := c.PDU(client.Write16(uint64(8*i), filled(4096, function+10)), tag)
			p.Data = filled(4096, function+10)
			if err := c.Send(p); err != nil {
				t.Fatal(err)
			}
			tags = append(tags, tag)
			if i == 0 { // the function comes between the two
				got, err := c.Manage(function, 0, tag)
				if err != nil || got != tmfComplete {
					t.Fatalf("function %d: response %d, %v", function, got, err)
				}
			}
		}
		first := c.PDU(client.TestUnitReady(), c.Tag())
		c.CmdSN--
		first.Put(24, gap)
		if err := c.Send(first); err != nil {
			t.Fatal(err)
		}
		for _, tag := range []uint32{first.Word(16), tags[1]} {
			r, err := c.Recv()
			if err != nil || r.Word(16) != tag {
				t.Fatalf("function %d: an answer for tag %d, not %d: %v", function, r.Word(16), tag, err)
			}
		}
		for range 2 { // perhaps a unit attention
			c.Do(client.TestUnitReady())
		}
		expect(t, c, 0, was)
		expect(t, c, 8, filled(4096, function+10))
		if got := c.MaxCmdSN - c.CmdSN + 1; got != window {
			t.Errorf("function %d: a window of %d", function, got)
		}
	}
}
