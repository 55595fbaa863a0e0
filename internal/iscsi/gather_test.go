package iscsi

import (
	"testing"
	"time"

	"varve/internal/outbox"
	client "varve/test/iscsiclient"
)

func TestGathering(t *testing.T) {
	h := make(header, headerSize)
	see := func(g *gathering, known uint32, size int) {
		h.put(28, known)
		g.received(h, size)
	}
	var g gathering
	see(&g, 99, 48) // one under way
	if n := g.next(100); n != 0 {
		t.Errorf("waits for %d bytes of an initiator with one command under way", n)
	}
	see(&g, 1<<32-20, 48)
	if n := g.next(10); n != 10*48 {
		t.Errorf("waits for %d bytes with 30 commands of 48 under way", n)
	}
	see(&g, 100, 4144)
	if n := g.next(100); n != gatherBytes {
		t.Errorf("waits for %d bytes with 30 commands of 4144 under way lately", n)
	}
	see(&g, 100, 20<<10)
	if n := g.next(130); n != 0 {
		t.Errorf("waits for %d bytes where they hold no two commands", n)
	}
	g.result(outbox.Asleep)
	see(&g, 100, 48)
	if n := g.next(103); n != 0 {
		t.Errorf("waits for %d bytes although it did so in vain, with 3 under way", n)
	}
	see(&g, 200, 48) // more than there are
	if n := g.next(100); n != 0 {
		t.Errorf("waits for %d bytes of an initiator that knows what was not sent", n)
	}
	waits := func(w outbox.Waited) (n int) {
		for range 20 * mostPause {
			see(&g, 100, 48)
			if g.next(132) > 0 {
				g.result(w)
				n++
			}
		}
		return n
	}
	if n := waits(outbox.Asleep); n < 20 || n > 30 {
		t.Errorf("waits %d times in vain", n)
	}
	if n := waits(outbox.Spinning); n < 19*mostPause {
		t.Errorf("waits %d times where that pays", n)
	}
	if n := waits(outbox.Asleep); n < 20 || n > 30 {
		t.Errorf("waits %d times in vain, after it paid", n)
	}
}

// TestGatherThenAlone keeps 32 commands under way, and then one alone, again and
// again: none waits for others that do not come.
func TestGatherThenAlone(t *testing.T) {
	h := open(t, Options{}, 1)
	c := h.login(client.Options{Target: diskName})
	data := filled(4096, 1)
	for range 20 {
		var tags []uint32
		start := func() {
			tag, err := c.Start(client.Write16(uint64(len(tags)%32)*8, data))
			if err != nil {
				t.Fatal(err)
			}
			tags = append(tags, tag)
		}
		for range 32 {
			start()
		}
		for i := range 512 {
			if _, err := c.Finish(client.Write16(0, data), tags[i]); err != nil {
				t.Fatal(err)
			}
			if i < 512-32 {
				start()
			}
		}
		begun := time.Now()
		for range 20 {
			good(t, c, client.TestUnitReady())
		}
		if d := time.Since(begun); d > 2*time.Second {
			t.Fatalf("20 commands one after the other took %v", d)
		}
	}
	expect(t, c, 0, data)
}
