package scsi

import (
	"bytes"
	"testing"
	"time"

	"varve/internal/engine"
)

func sanitizeCDB(action byte, n uint16) []byte {
	p := make([]byte, 10)
	p[0], p[1] = 0x48, action
	be.PutUint16(p[7:], n)
	return p
}

var (
	tur       = make([]byte, 6)
	notErased = sense{key: keyNotReady, asc: 0x04, ascq: 0x1b}
)

// A SANITIZE goes on through every reset and the end of its nexus; meanwhile the
// unit does nothing else.
func TestSanitizeGoesOn(t *testing.T) {
	r := newRig(t)
	r.s.eraseRate = diskSize // a second and more
	if _, err := r.e.Set(engine.Caller{}, "d", "sanitize", "on"); err != nil {
		t.Fatal(err)
	}
	n := r.login(portA, 1)
	if a := n.do(cdb10(0x2a, 0, 0, 8), make([]byte, 8*BlockSize)); a.status != Good {
		t.Fatal(a)
	}
	list := append([]byte{1, 0, 0, 4}, 0xde, 0xad, 0xbe, 0xef)
	c := &Command{CDB: sanitizeCDB(sanitizeOverwrite, 8), Expected: 8}
	n.Begin(c)
	done := make(chan struct{})
	go func() {
		c.Execute(nil, list, true)
		close(done)
	}()
	ready := func(n *Nexus) bool {
		a := n.do(tur, nil)
		if a.status == CheckCondition && a.sense.key == keyUnitAttention {
			a = n.do(tur, nil)
		}
		if a.status != Good && a.sense != notErased {
			t.Fatalf("TEST UNIT READY: %+v", a)
		}
		return a.status == Good
	}
	for deadline := time.Now().Add(5 * time.Second); ready(n); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not begin")
		}
	}
	if a := n.do([]byte{0x12, 0, 0, 0, 96, 0}, nil); a.status != Good {
		t.Fatalf("INQUIRY: %+v", a)
	}
	c.Abort()
	<-done
	if !c.Aborted {
		t.Error("the command was not aborted")
	}
	for _, reset := range []func(){
		func() { n.AbortTaskSet(0) }, func() { n.ResetUnit(0) },
		func() { n.ResetTarget(false) }, func() { n.ResetTarget(true) },
	} {
		reset()
		if ready(n) {
			t.Fatal("a reset ended it")
		}
	}
	n.Close()
	n = r.login(portA, 1)
	if ready(n) {
		t.Fatal("the end of the nexus ended it")
	}
	r.s.background.Wait()
	if !ready(n) {
		t.Fatal("it is over, and the unit not ready")
	}
	a := n.do(cdb10(0x28, 0, diskSize/BlockSize-8, 8), nil)
	if a.status != Good || !bytes.Equal(a.data, bytes.Repeat(list[4:], 2*BlockSize)) {
		t.Fatalf("the last blocks: %v", a.status)
	}
}
