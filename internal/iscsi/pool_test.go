package iscsi

import (
	"testing"

	"varve/internal/engine"
	client "varve/test/iscsiclient"
)

// The past of a target can be logged in to, also where the name of another target
// begins its name.
func TestPastOfNestedNames(t *testing.T) {
	h := open(t, Options{}, 1)
	if _, err := h.e.CreateVolume(engine.Caller{}, "e", 1<<20); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"d": "iqn.2026-11.test:host", "e": "iqn.2026-11.test:host:data"} {
		if _, err := h.e.Set(engine.Caller{}, name, "iscsi-target", target); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]byte{"iqn.2026-11.test:host": 1, "iqn.2026-11.test:host:data": 2} {
		now := h.login(client.Options{Target: name})
		good(t, now, client.Write16(0, filled(4096, content)))
	}
	for _, name := range []string{"d", "e"} {
		if _, err := h.e.Snapshot(engine.Caller{}, name, "one"); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]byte{"iqn.2026-11.test:host:one": 1, "iqn.2026-11.test:host:data:one": 2, "iqn.2026-11.test:host:data@one": 2} {
		expect(t, h.login(client.Options{Target: name}), 0, filled(4096, content))
	}
	if _, err := client.Login(h.addrs[0], client.Options{Target: "iqn.2026-11.test:host:data:never"}); err == nil || err.Error() != "login refused: status 0203" {
		t.Errorf("a moment that is none: %v", err)
	}
}
