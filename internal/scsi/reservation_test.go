package scsi

import (
	"bytes"
	"sync/atomic"
	"testing"
	"time"
)

// pr is a PERSISTENT RESERVE OUT with its list.
func (n *Nexus) pr(action, kind byte, key, arg uint64, flags byte) answer {
	cdb := make([]byte, 10)
	cdb[0], cdb[1], cdb[2], cdb[8] = 0x5f, action, kind, 24
	list := be.AppendUint64(be.AppendUint64(nil, key), arg)
	list = append(list, 0, 0, 0, 0, flags, 0, 0, 0)
	return n.do(cdb, list)
}

func (n *Nexus) mustPR(t *testing.T, want Status, action, kind byte, key, arg uint64, flags byte) {
	t.Helper()
	if a := n.pr(action, kind, key, arg, flags); a.status != want {
		t.Fatalf("action %d, type %d: status %#x (%+v), want %#x", action, kind, a.status, a.sense, want)
	}
}

func prIn(action byte) []byte { return []byte{0x5e, action, 0, 0, 0, 0, 0, 4, 0, 0} }

// attention takes one unit attention off, by TEST UNIT READY.
func (n *Nexus) attention(t *testing.T, want attention) {
	t.Helper()
	if a := n.do(tur, nil); a.sense != check(keyUnitAttention, want.asc, want.ascq) {
		t.Fatalf("TEST UNIT READY: %#x %+v, want attention %x", a.status, a.sense, want)
	}
}

func (n *Nexus) quiet(t *testing.T) {
	t.Helper()
	if a := n.do(tur, nil); a.status != Good {
		t.Fatalf("TEST UNIT READY: %#x %+v", a.status, a.sense)
	}
}

// Who may read and write under each type: the holder, one that is registered, one
// that is not (SPC-4 table 66).
func TestReservationTypes(t *testing.T) {
	const read, write = 1, 2
	for _, x := range []struct {
		kind                 byte
		registered, stranger int
	}{
		{writeExclusive, read, read},
		{exclusiveAccess, 0, 0},
		{writeExclusiveRegistrants, read | write, read},
		{exclusiveAccessRegistrants, read | write, 0},
		{writeExclusiveAllRegistered, read | write, read},
		{exclusiveAccessAll, read | write, 0},
	} {
		r := newRig(t)
		holder, registered, stranger := r.login(portA, 1), r.login(portB, 1), r.login(portA, 2)
		holder.mustPR(t, Good, prRegister, 0, 0, 1, 0)
		registered.mustPR(t, Good, prRegister, 0, 0, 2, 0)
		holder.mustPR(t, Good, prReserve, x.kind, 1, 0, 0)
		stranger.mustPR(t, ReservationConflict, prReserve, x.kind, 1, 0, 0)
		for _, who := range []struct {
			name string
			n    *Nexus
			may  int
		}{{"holder", holder, read | write}, {"registered", registered, x.registered}, {"stranger", stranger, x.stranger}} {
			may := 0
			if who.n.do(cdb10(0x28, 0, 0, 1), nil).status == Good {
				may |= read
			}
			if who.n.do(cdb10(0x2a, 0, 0, 1), make([]byte, BlockSize)).status == Good {
				may |= write
			}
			if may != who.may {
				t.Errorf("type %d, %s: may %d, want %d", x.kind, who.name, may, who.may)
			}
			for _, cdb := range [][]byte{{0x1a, 0, 0x3f, 0, 96, 0}, {0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0, 96, 0, 0}} { // as reads
				if a := who.n.do(cdb, nil); (a.status == Good) != (may&read != 0) {
					t.Errorf("type %d, %s: command %#x: %#x", x.kind, who.name, cdb[0], a.status)
				}
			}
			for _, cdb := range [][]byte{{0x12, 0, 0, 0, 96, 0}, tur, prIn(0), cdb10(0x25, 0, 0, 0)} {
				if a := who.n.do(cdb, nil); a.status != Good {
					t.Errorf("type %d, %s: command %#x: %#x", x.kind, who.name, cdb[0], a.status)
				}
			}
		}
	}
}

// The life of a reservation: keys, generation, status, release, preemption, and
// who is told what.
func TestReservationLife(t *testing.T) {
	r := newRig(t)
	a, b := r.login(portA, 1), r.login(portB, 2)
	a.mustPR(t, ReservationConflict, prRegister, 0, 7, 1, 0) // a key that it has not
	a.mustPR(t, ReservationConflict, prReserve, writeExclusive, 1, 0, 0)
	a.mustPR(t, Good, prRegister, 0, 0, 1, 0)
	b.mustPR(t, Good, prRegisterIgnore, 0, 99, 2, 0)
	if x := a.do(prIn(prReadKeys), nil); !bytes.Equal(x.data, unhex(t, "00000002 00000010 0000000000000001 0000000000000002")) {
		t.Errorf("keys: %x", x.data)
	}
	a.mustPR(t, Good, prReserve, writeExclusiveRegistrants, 1, 0, 0)
	b.mustPR(t, ReservationConflict, prReserve, writeExclusiveRegistrants, 2, 0, 0)
	if x := b.do(prIn(prReadReserved), nil); !bytes.Equal(x.data, unhex(t, "00000002 00000010 0000000000000001 00000000 00 05 0000")) {
		t.Errorf("reservation: %x", x.data)
	}
	want := "00000002 00000080" +
		"0000000000000001 00000000 01 05 00000000 0001 00000028 45 00 0024" + "69716e2e323032362d31312e746573743a612c692c307830303032336430303030303100" +
		"0000000000000002 00000000 00 00 00000000 0002 00000028 45 00 0024" + "69716e2e323032362d31312e746573743a622c692c307830303032336430303030303200"
	if x := b.do(prIn(prFullStatus), nil); !bytes.Equal(x.data, unhex(t, want)) {
		t.Errorf("full status:\n%x\nwant\n%s", x.data, want)
	}
	if x := a.pr(prRelease, writeExclusive, 1, 0, 0); x.sense != check(5, 0x26, 4) {
		t.Errorf("release of another type: %+v", x)
	}
	b.mustPR(t, Good, prRelease, writeExclusiveRegistrants, 2, 0, 0) // not its own: nothing
	a.mustPR(t, Good, prRelease, writeExclusiveRegistrants, 1, 0, 0)
	b.attention(t, attnReleased)
	a.quiet(t)

	a.mustPR(t, Good, prReserve, exclusiveAccess, 1, 0, 0)
	if x := b.do(cdb10(0x28, 0, 0, 1), nil); x.status != ReservationConflict {
		t.Errorf("read: %#x", x.status)
	}
	b.mustPR(t, ReservationConflict, prPreempt, exclusiveAccess, 2, 5, 0) // nobody has 5
	b.mustPR(t, Good, prPreempt, writeExclusive, 2, 1, 0)
	a.attention(t, attnRegistered)
	if x := a.do(cdb10(0x2a, 0, 0, 1), make([]byte, BlockSize)); x.status != ReservationConflict {
		t.Errorf("write of one that was preempted: %#x", x.status)
	}
	a.mustPR(t, Good, prRegister, 0, 0, 3, 0)
	b.mustPR(t, Good, prClear, 0, 2, 0, 0)
	a.attention(t, attnPreempted)
	if x := a.do(prIn(prReadKeys), nil); !bytes.Equal(x.data, unhex(t, "00000005 00000000")) {
		t.Errorf("keys after CLEAR: %x", x.data)
	}
}

// Where all registrants hold it, a reservation ends with the last.
func TestAllRegistrants(t *testing.T) {
	r := newRig(t)
	a, b := r.login(portA, 1), r.login(portB, 1)
	a.mustPR(t, Good, prRegister, 0, 0, 1, 0)
	b.mustPR(t, Good, prRegister, 0, 0, 2, 0)
	a.mustPR(t, Good, prReserve, exclusiveAccessAll, 1, 0, 0)
	a.mustPR(t, Good, prRegister, 0, 1, 0, 0)
	if x := a.do(cdb10(0x28, 0, 0, 1), nil); x.status != ReservationConflict {
		t.Errorf("read of one that is not registered any more: %#x", x.status)
	}
	b.mustPR(t, Good, prRegister, 0, 2, 0, 0)
	if x := a.do(cdb10(0x28, 0, 0, 1), nil); x.status != Good {
		t.Errorf("read when the last is gone: %#x", x.status)
	}
}

// What of persistent reservations is not there: an initiator can ask whether it is, and
// is refused in the way that says so, whatever follows the flag.
func TestReservationsNotThere(t *testing.T) {
	n := newRig(t).login(portA, 1)
	const sipC = 0x08
	if x := n.do(prIn(prCapabilities), nil); x.data[2]&sipC != 0 {
		t.Errorf("REPORT CAPABILITIES: %x", x.data)
	}
	names := unhex(t, "0000001c 45000018") // a TransportID
	names = append(names, padded("iqn.2026-11.test:b,i")...)
	longer := func(action, flags byte) answer {
		list := append(make([]byte, 8), 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, flags, 0, 0, 0)
		list = append(list, names...)
		return n.do([]byte{0x5f, action, 0, 0, 0, 0, 0, 0, byte(len(list)), 0}, list)
	}
	for _, x := range []struct {
		name string
		got  answer
		want sense
	}{
		{"SPEC_I_PT with names", longer(prRegister, specIPT), check(5, 0x26, 0)},
		{"SPEC_I_PT, ignoring keys", longer(prRegisterIgnore, specIPT|aptpl), check(5, 0x26, 0)},
		{"SPEC_I_PT without names", n.pr(prRegister, 0, 0, 1, specIPT), check(5, 0x26, 0)},
		{"names without SPEC_I_PT", longer(prRegister, 0), check(5, 0x1a, 0)},
		{"names for a reservation", longer(prReserve, specIPT), check(5, 0x1a, 0)},
		{"REGISTER AND MOVE", longer(7, 0), check(5, 0x24, 0)},
	} {
		if x.got.sense != x.want {
			t.Errorf("%s: %+v, want %+v", x.name, x.got.sense, x.want)
		}
	}
	if x := n.do(prIn(prReadKeys), nil); be.Uint32(x.data) != 0 || len(x.data) != 8 {
		t.Errorf("something was registered: %x", x.data)
	}
	for action, support := range map[byte]byte{prRegister: 3, 7: 1} { // 1: not supported
		if x := n.do([]byte{0xa3, 0x0c, byAction, 0x5f, 0, action, 0, 0, 0, 96, 0, 0}, nil); len(x.data) < 4 || x.data[1]&7 != support {
			t.Errorf("REPORT SUPPORTED OPERATION CODES of action %d: %x", action, x.data)
		}
	}
}

// With APTPL a reservation is there after a restart, without it not.
func TestReservationsPersist(t *testing.T) {
	r := newRig(t)
	for _, aptpl := range []byte{1, 0} {
		a := r.login(portA, 1)
		a.mustPR(t, Good, prRegisterIgnore, 0, 0, 0xabcdef, aptpl)
		a.mustPR(t, Good, prReserve, exclusiveAccess, 0xabcdef, 0, 0)
		a.Close()
		r.close()
		r.open()
		b := r.login(portB, 1)
		want := Status(Good)
		if aptpl == 1 {
			want = ReservationConflict
		}
		if x := b.do(cdb10(0x28, 0, 0, 1), nil); x.status != want {
			t.Errorf("APTPL %d: read of another after a restart: %#x, want %#x", aptpl, x.status, want)
		}
		b.Close()
		a = r.login(portA, 1)
		if x := a.do(cdb10(0x28, 0, 0, 1), nil); x.status != Good {
			t.Errorf("APTPL %d: read of the holder after a restart: %#x", aptpl, x.status)
		}
		a.Close()
	}
}

// More registrations than can be kept are refused, and change nothing.
func TestTooManyRegistrations(t *testing.T) {
	r := newRig(t)
	refused := 0
	for i := range 100 {
		n := r.login(portA+string(rune('a'+i/26))+string(rune('a'+i%26)), 1)
		switch a := n.pr(prRegister, 0, 0, uint64(i+1), 1); {
		case a.sense == check(5, 0x55, 4):
			refused++
		case a.status != Good || refused > 0:
			t.Fatalf("registration %d: %+v", i, a)
		}
		n.Close()
	}
	if refused == 0 {
		t.Fatal("nothing was refused")
	}
	n := r.login(portB, 1)
	if a := n.do(prIn(prReadKeys), nil); int(be.Uint32(a.data[4:])) != 8*(100-refused) {
		t.Errorf("%d bytes of keys, want %d", be.Uint32(a.data[4:]), 8*(100-refused))
	}
}

// RESERVE(6) holds until a release, a reset, or the end of the nexus.
func TestReserve6(t *testing.T) {
	r := newRig(t)
	reserve, release := []byte{0x16, 0, 0, 0, 0, 0}, []byte{0x17, 0, 0, 0, 0, 0}
	b := r.login(portB, 1)
	for name, end := range map[string]func(a *Nexus){
		"release": func(a *Nexus) { a.do(release, nil) },
		"logout":  func(a *Nexus) { a.Close() },
		"reset":   func(a *Nexus) { b.ResetUnit(0) },
	} {
		a := r.login(portA, 1)
		if x := a.do(reserve, nil); x.status != Good {
			t.Fatal(x)
		}
		a.mustPR(t, ReservationConflict, prRegister, 0, 0, 1, 0) // the two ways exclude each other
		b.do(release, nil)                                       // not its own: no error, and nothing happens
		for _, cdb := range [][]byte{tur, reserve, cdb10(0x28, 0, 0, 1), prIn(0)} {
			if x := b.do(cdb, nil); x.status != ReservationConflict {
				t.Errorf("%s: command %#x of another: %#x", name, cdb[0], x.status)
			}
		}
		if x := b.do([]byte{0x12, 0, 0, 0, 96, 0}, nil); x.status != Good {
			t.Errorf("INQUIRY: %#x", x.status)
		}
		end(a)
		if x := b.do(tur, nil); x.status == CheckCondition && x.sense.key == keyUnitAttention {
			x = b.do(tur, nil)
		}
		b.quiet(t)
		a.Close()
	}
}

// Whoever meets the reservation of a nexus that does not answer waits until it
// answers or ends, and an abort ends the wait.
func TestReserve6Silent(t *testing.T) {
	r := newRig(t)
	a, b := r.login(portA, 1), r.login(portB, 1)
	var silent atomic.Bool
	silent.Store(true)
	a.cfg.Silent = silent.Load
	reserve := func() {
		if x := a.do([]byte{0x16, 0, 0, 0, 0, 0}, nil); x.status != Good {
			t.Fatal(x)
		}
	}
	reserve()
	meet := func() (*Command, chan Status) {
		c := &Command{CDB: tur}
		b.Begin(c)
		if c.Execute(nil, nil, false) {
			t.Fatalf("answered at once: %#x", c.Status)
		}
		met := make(chan Status, 1)
		go func() {
			c.Execute(nil, nil, true)
			if c.Aborted {
				c.Status = TaskAborted
			}
			met <- c.Status
		}()
		select {
		case s := <-met:
			t.Fatalf("it did not wait: %#x", s)
		case <-time.After(5 * holderLook):
		}
		return c, met
	}
	ends := func(met chan Status, want Status) {
		t.Helper()
		select {
		case s := <-met:
			if s != want {
				t.Errorf("status %#x, want %#x", s, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("it waits for ever")
		}
	}
	c, met := meet()
	c.Abort()
	ends(met, TaskAborted)
	_, met = meet()
	b.Fence(0)
	b.AbortTaskSet(0) // does not wait for it for long
	ends(met, TaskAborted)
	_, met = meet()
	silent.Store(false)
	ends(met, ReservationConflict)
	silent.Store(true)
	_, met = meet()
	a.Close()
	ends(met, Good)

	// It is told that it lost something, and once.
	a = r.nexus(portA, 1)
	a.attention(t, attnNexusLoss)
	a.quiet(t)
	a.Close()
	a = r.nexus(portA, 1)
	a.quiet(t)
}
