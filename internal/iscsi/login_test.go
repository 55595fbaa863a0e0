package iscsi

import (
	"testing"

	client "varve/test/iscsiclient"
)

// A login declares the portal group once, in its first answer: an initiator has to
// drop a connection that declares a key twice.
func TestPortalGroupOnce(t *testing.T) {
	h := open(t, Options{}, 1)
	h.protect()
	c, err := client.Dial(h.addrs[0], client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	step := func(stage, next byte, transit bool, keys map[string]string) map[string]string {
		a, err := c.LoginStep(stage, next, transit, keys)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	first := step(0, 1, false, map[string]string{"InitiatorName": "iqn.2026-11.test:i", "TargetName": diskName, "AuthMethod": "CHAP"})
	if first["TargetPortalGroupTag"] != "1" {
		t.Errorf("the first answer: %v", first)
	}
	challenge := step(0, 1, false, map[string]string{"CHAP_A": "5"})
	proved := step(0, 1, true, map[string]string{"CHAP_N": "alice", "CHAP_R": client.Response(challenge["CHAP_I"], secretIn, challenge["CHAP_C"])})
	for _, a := range []map[string]string{challenge, proved, step(1, 3, true, nil)} {
		if tag, again := a["TargetPortalGroupTag"]; again {
			t.Errorf("declared again, as %s: %v", tag, a)
		}
	}
}
