package scsi

import (
	"bytes"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/when"
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
		n.Fence(0)
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

// A SANITIZE that the end of the server interrupts has failed, and is not taken for
// done after the restart: only another one, or EXIT FAILURE MODE where it was
// allowed, frees the unit.
func TestSanitizeInterrupted(t *testing.T) {
	r := newRig(t)
	if _, err := r.e.Set(engine.Caller{}, "d", "sanitize", "on"); err != nil {
		t.Fatal(err)
	}
	failed := sense{key: keyMediumError, asc: 0x31, ascq: 0x03}
	for _, ause := range []byte{0x20, 0} {
		n := r.login(portA, 1)
		r.s.eraseRate = 1 << 20
		list := append([]byte{1, 0, 0, 4}, 1, 2, 3, 4)
		if a := n.do(sanitizeCDB(sanitizeOverwrite|0x80|ause, 8), list); a.status != Good {
			t.Fatal(a)
		}
		n.Close()
		r.close()
		r.open()
		n = r.login(portA, 1)
		if a := n.do(tur, nil); a.sense != failed {
			t.Fatalf("after the restart: %+v", a)
		}
		if a := n.do(cdb10(0x28, 0, 0, 1), nil); a.sense != failed {
			t.Fatalf("a read: %+v", a)
		}
		exit := n.do(sanitizeCDB(sanitizeExit, 0), nil)
		if (exit.status == Good) != (ause != 0) {
			t.Fatalf("exit failure mode, AUSE %#x: %+v", ause, exit)
		}
		if ause == 0 {
			if a := n.do(sanitizeCDB(sanitizeErase, 0), nil); a.status != Good {
				t.Fatalf("another SANITIZE: %+v", a)
			}
		}
		if a := n.do(tur, nil); a.status != Good {
			t.Fatalf("freed: %+v", a)
		}
		n.Close()
	}
}

// The end of the server does not wait for a SANITIZE, whose session waits for it.
func TestSanitizeEnds(t *testing.T) {
	r := newRig(t)
	if _, err := r.e.Set(engine.Caller{}, "d", "sanitize", "on"); err != nil {
		t.Fatal(err)
	}
	n := r.login(portA, 1)
	r.s.eraseRate = 1 << 20 // eight seconds
	done := make(chan answer)
	go func() { done <- n.do(sanitizeCDB(sanitizeOverwrite, 8), []byte{1, 0, 0, 4, 1, 2, 3, 4}) }()
	time.Sleep(50 * time.Millisecond)
	r.s.Ending()
	select {
	case a := <-done:
		if a.sense != (sense{key: keyMediumError, asc: 0x31, ascq: 0x03}) {
			t.Errorf("it ended with %+v", a)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on")
	}
}

// VERIFY reads no more than a READ does, whatever it compares with.
func TestVerifyBound(t *testing.T) {
	n := newRig(t).login(portA, 1)
	for blocks, want := range map[uint32]sense{MaxTransfer / BlockSize: {}, MaxTransfer/BlockSize + 1: check(5, 0x24, 0)} {
		if a := n.do(cdb16(0x8f, 0, 0, blocks), nil); a.sense != want {
			t.Errorf("%d blocks: %+v", blocks, a)
		}
	}
}

// What a SANITIZE left cannot be reached: not at a moment before it either.
func TestSanitizeForgets(t *testing.T) {
	r := newRig(t)
	n := r.login(portA, 1)
	secret := bytes.Repeat([]byte("secret!\n"), BlockSize)
	if a := n.do(cdb10(0x2a, 8, 0, 8), secret[:8*BlockSize]); a.status != Good {
		t.Fatal(a)
	}
	i, err := r.e.Dataset("d")
	if err != nil {
		t.Fatal(err)
	}
	before := when.Spec{Kind: when.LSN, LSN: i.ChangedLSN}
	erase := sanitizeCDB(sanitizeErase, 0)
	if a := n.do(erase, nil); a.sense != check(7, 0x27, 0) {
		t.Fatalf("without the property: %+v", a)
	}
	if _, err := r.e.Set(engine.Caller{}, "d", "sanitize", "on"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.e.Snapshot(engine.Caller{}, "d", "kept"); err != nil {
		t.Fatal(err)
	}
	if a := n.do(erase, nil); a.sense != check(7, 0x27, 0) {
		t.Fatalf("with a snapshot: %+v", a)
	}
	if _, err := r.e.DestroySnapshot(engine.Caller{}, "d", "kept"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.e.Clone(engine.Caller{}, "d", before, "c"); err != nil {
		t.Fatal(err)
	}
	if a := n.do(erase, nil); a.sense != check(7, 0x27, 0) {
		t.Fatalf("with a clone: %+v", a)
	}
	if _, err := r.e.Destroy(engine.Caller{}, "c", false); err != nil {
		t.Fatal(err)
	}
	if a := n.do(erase, nil); a.sense != check(7, 0x27, 0) {
		t.Fatalf("with a clone that can be had back: %+v", a)
	}
	if _, err := r.e.Undestroy(engine.Caller{}, "c", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := r.e.Destroy(engine.Caller{}, "c", true); err != nil {
		t.Fatal(err)
	}
	past, err := OpenVolume(r.e, "d", &before, engine.Caller{}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	if a := n.do(erase, nil); a.sense != check(7, 0x27, 0) {
		t.Fatalf("with a session at a moment: %+v", a)
	}
	past.Close()
	if a := n.do(erase, nil); a.status != Good {
		t.Fatalf("%+v", a)
	}
	if n := r.e.Metrics().ViewsIdle; n != 0 {
		t.Errorf("%d views are kept of what was erased", n)
	}
	if a := n.do(cdb10(0x28, 0, 0, 8), nil); !bytes.Equal(a.data, make([]byte, 8*BlockSize)) {
		t.Error("it can be read")
	}
	if d, err := OpenVolume(r.e, "d", &before, engine.Caller{}, func() {}); !fail.Is(err, fail.OutsideHistory) {
		if err == nil {
			d.Close()
		}
		t.Errorf("the moment before it: %v", err)
	}
}

// Who writes into a volume that is nearly full is told once.
func TestThreshold(t *testing.T) {
	r := newRig(t)
	if _, err := r.e.Set(engine.Caller{}, "d", "quota", "4194304"); err != nil {
		t.Fatal(err)
	}
	n := r.login(portA, 1)
	chunk := bytes.Repeat([]byte{1}, 3900<<10)
	write := func() answer { return n.do(cdb16(0x8a, 0, 0, uint32(len(chunk)/BlockSize)), chunk) }
	told := 0
	for range 2*lookEvery/len(chunk) + 2 {
		switch a := write(); {
		case a.sense == check(6, 0x38, 7):
			told++
		case a.status != Good:
			t.Fatalf("%+v", a)
		}
	}
	if told != 1 {
		t.Errorf("told %d times, want once", told)
	}
	if a := n.do(cdb16(0x8a, 0, 4<<20/BlockSize, 2048), make([]byte, 1<<20)); a.sense != check(7, 0x27, 7) {
		t.Errorf("beyond the quota: %+v", a)
	}
}
