package iscsi

import (
	"bytes"
	"strings"
	"testing"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/when"
	client "varve/test/iscsiclient"
)

// vpd83 asks for the device identification.
func vpd83(t *testing.T, c *client.Client) string {
	t.Helper()
	return string(good(t, c, client.Command{CDB: []byte{0x12, 1, 0x83, 0, 255, 0}, In: 255}).Data)
}

// A volume is renamed, cloned, resized and rolled back under a session that writes
// to it: what it sees is one disk all the time, or it is told, or it ends.
func TestChangesUnderSession(t *testing.T) {
	h := open(t, Options{}, 1)
	c := h.login(client.Options{ISID: 1})
	who := vpd83(t, c)
	good(t, c, client.Write16(0, filled(8192, 1)))
	moment, err := h.e.Snapshot(engine.Caller{}, "d", "dawn")
	if err != nil {
		t.Fatal(err)
	}
	good(t, c, client.Write16(8, filled(4096, 2)))

	// A clone is another disk; what either writes is not in the other.
	if _, err := h.e.Clone(engine.Caller{}, "d", when.Spec{Kind: when.LSN, LSN: moment.LSN}, "copy"); err != nil {
		t.Fatal(err)
	}
	other := h.login(client.Options{Target: Prefix + "copy"})
	if vpd83(t, other) == who {
		t.Error("a clone has its origin's identity")
	}
	good(t, other, client.Write16(0, filled(4096, 3)))
	expect(t, other, 8, filled(8192, 1)[4096:])
	expect(t, c, 0, filled(8192, 1)[:4096])
	expect(t, c, 8, filled(4096, 2))

	// A name is none of its business, nor whoever gets it next.
	if _, err := h.e.Rename(engine.Caller{}, "d", "renamed"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.e.CreateVolume(engine.Caller{}, "d", 1<<20); err != nil {
		t.Fatal(err)
	}
	good(t, c, client.Write16(16, filled(4096, 4)))
	stranger := h.login(client.Options{ISID: 2})
	expect(t, stranger, 16, make([]byte, 4096))
	if now := vpd83(t, c); now[:20] != who[:20] || vpd83(t, stranger)[:20] == who[:20] { // the NAA
		t.Error("another unit by another name")
	}
	expect(t, c, 16, filled(4096, 4))

	// A new size is told once, and then there.
	if _, err := h.e.Resize(engine.Caller{}, "renamed", 32<<20); err != nil {
		t.Fatal(err)
	}
	beyond := client.Write16(16<<20/512, filled(4096, 5))
	if r, err := c.Do(beyond); err != nil || r.Key() != "6/2a/09" {
		t.Errorf("the first command after a resize: %+v, %v", r, err)
	}
	good(t, c, beyond)
	expect(t, c, 16<<20/512, filled(4096, 5))

	// It is rolled back by force alone, and then the session is over.
	at := when.Spec{Kind: when.LSN, LSN: moment.LSN}
	if _, err := h.e.Rollback(engine.Caller{}, "renamed", at, false); !fail.Is(err, fail.Busy) || !strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("a rollback under a session: %v", err)
	}
	expect(t, c, 8, filled(4096, 2))
	stop, over := make(chan struct{}), make(chan struct{})
	go func() { // writes until it is cut
		defer close(over)
		for i := byte(10); ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if r, err := c.Do(client.Write16(0, bytes.Repeat([]byte{i}, 8192))); err != nil || r.Status != client.Good {
				return
			}
		}
	}()
	_, err = h.e.Rollback(engine.Caller{}, "renamed", at, true)
	close(stop)
	<-over
	if err != nil {
		t.Fatal(err)
	}
	c = h.login(client.Options{Target: Prefix + "renamed", ISID: 3})
	expect(t, c, 0, filled(8192, 1))
	expect(t, c, 16, make([]byte, 4096))
}
