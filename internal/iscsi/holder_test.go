package iscsi

import (
	"testing"
	"time"

	client "varve/test/iscsiclient"
)

// Who meets a reservation by RESERVE(6) again and again has it from a holder that
// does not answer, and not from one that does.
func TestSilentHolder(t *testing.T) {
	t.Parallel()
	status := func(c *client.Client) byte {
		t.Helper()
		r, err := c.Do(client.TestUnitReady())
		if err != nil {
			t.Fatal(err)
		}
		return r.Status
	}
	for name, answers := range map[string]bool{"silent": false, "answering": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t, Options{}, 1)
			holder, other := h.login(client.Options{Initiator: "iqn.2026-11.test:holder", Timeout: 20 * time.Second}), h.login(client.Options{Initiator: "iqn.2026-11.test:other"})
			good(t, holder, reserve)
			if answers {
				go holder.Recv() // until the end; it answers pings
			}
			begun := time.Now()
			for i := range metAtOnce {
				if s := status(other); s != client.Conflict {
					t.Fatalf("%d: status %#x", i, s)
				}
			}
			if took := time.Since(begun); took > holderPatience/2 {
				t.Errorf("the first conflicts took %v", took)
			}
			want := byte(client.Good)
			if answers {
				want = client.Conflict
			}
			for range 3 {
				if s := status(other); s != want {
					t.Fatalf("status %#x, want %#x", s, want)
				}
			}
			if took := time.Since(begun); (took > holderPatience/2) == answers {
				t.Errorf("it took %v", took)
			}
			if answers {
				time.Sleep(holderPatience + holderPatience/4) // nothing comes of it later
				if s := status(other); s != want {
					t.Fatalf("later: status %#x, want %#x", s, want)
				}
			}
		})
	}
}
