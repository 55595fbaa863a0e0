package scsi

import (
	"bytes"
	"testing"
)

// copyList is a parameter list of EXTENDED COPY with one segment.
func copyList(id byte, units []Identity, from, to, blocks uint16, source, destined uint64) []byte {
	p := make([]byte, 16)
	p[0] = id
	be.PutUint16(p[2:], uint16(32*len(units)))
	be.PutUint32(p[8:], 28)
	for _, u := range units {
		naa := u.naa()
		d := make([]byte, 32)
		d[0], d[4], d[5], d[7] = 0xe4, 1, 3, 16
		copy(d[8:], naa[:])
		d[30] = 2
		p = append(p, d...)
	}
	p = append(p, 2, 0, 0, 24)
	for _, v := range []uint16{from, to, 0, blocks} {
		p = be.AppendUint16(p, v)
	}
	return be.AppendUint64(be.AppendUint64(p, source), destined)
}

func (n *Nexus) copyBy(list []byte) answer {
	cdb := make([]byte, 16)
	cdb[0] = 0x83
	be.PutUint32(cdb[10:], uint32(len(list)))
	return n.do(cdb, list)
}

// A copy from one unit to another, and within one where the ranges overlap.
func TestCopy(t *testing.T) {
	n := newRig(t).login(portA, 1)
	data := make([]byte, 2048*BlockSize)
	for i := range data {
		data[i] = byte(i / 300)
	}
	if a := n.do(cdb10(0x2a, 0, 100, 2048), data); a.status != Good {
		t.Fatal(a)
	}
	units := []Identity{n.byLUN[0].u.id, n.byLUN[1<<48].u.id}
	if a := n.copyBy(copyList(9, units, 0, 1, 2048, 100, 7)); a.status != Good {
		t.Fatalf("%+v", a)
	}
	if a := n.doAt(1<<48, cdb10(0x28, 0, 7, 2048), nil); !bytes.Equal(a.data, data) {
		t.Error("the other unit has something else")
	}
	status := make([]byte, 16)
	status[0], status[2], status[13] = 0x84, 9, 255
	if a := n.do(status, nil); !bytes.Equal(a.data, unhex(t, "00000008 01 0001 01 00000400")) {
		t.Errorf("copy status: % x", a.data)
	}
	if a := n.copyBy(copyList(9, units, 0, 0, 2048, 100, 700)); a.status != Good {
		t.Fatalf("%+v", a)
	}
	if a := n.do(cdb10(0x28, 0, 700, 2048), nil); !bytes.Equal(a.data, data) {
		t.Error("an overlapping copy has mixed the ranges")
	}
}

// flushes counts the flushes of a disk.
type flushes struct {
	Disk
	n int
}

func (d *flushes) Flush() error {
	d.n++
	return d.Disk.Flush()
}

// A copy onto a unit without a write cache is durable when it is answered.
func TestCopyWritesThrough(t *testing.T) {
	n := newRig(t).login(portA, 1)
	to := n.byLUN[1<<48]
	d := &flushes{Disk: to.d}
	to.d = d
	page := append([]byte{0, 0, 0, 0, 8, 18}, make([]byte, 18)...)
	page[8], page[9] = 0xff, 0xff
	for _, wce := range []byte{4, 0} {
		page[6] = wce
		if a := n.doAt(1<<48, []byte{0x15, 0x10, 0, 0, byte(len(page)), 0}, page); a.status != Good {
			t.Fatal(a)
		}
		d.n = 0
		if a := n.copyBy(copyList(1, []Identity{n.byLUN[0].u.id, to.u.id}, 0, 1, 8, 0, 0)); a.status != Good {
			t.Fatalf("%+v", a)
		}
		if (d.n > 0) != (wce == 0) {
			t.Errorf("WCE %d: %d flushes", wce, d.n)
		}
	}
}

// What a copy must not do it does not.
func TestCopyRefused(t *testing.T) {
	r := newRig(t)
	n := r.login(portA, 1)
	units := []Identity{n.byLUN[0].u.id, n.byLUN[1<<48].u.id, {Dataset: 99}}
	for _, x := range []struct {
		name string
		list []byte
		want sense
	}{
		{"a unit that is not there", copyList(1, units, 0, 2, 1, 0, 0), check(0xa, 0x0d, 2)},
		{"an index too large", copyList(1, units, 3, 0, 1, 0, 0), check(0xa, 0x0d, 2)},
		{"beyond the end", copyList(1, units, 0, 1, 2, diskSize/BlockSize-1, 0), check(0xa, 0, 0)},
		{"cut", copyList(1, units, 0, 1, 1, 0, 0)[:100], check(5, 0x1a, 0)},
		{"too many units", copyList(1, append(units, make([]Identity, 6)...), 0, 1, 1, 0, 0), check(5, 0x26, 6)},
	} {
		if a := n.copyBy(x.list); a.sense != x.want {
			t.Errorf("%s: %#x %+v, want %+v", x.name, a.status, a.sense, x.want)
		}
	}
	other := r.login(portB, 1)
	if a := other.doAt(1<<48, []byte{0x16, 0, 0, 0, 0, 0}, nil); a.status != Good {
		t.Fatal(a)
	}
	if a := n.copyBy(copyList(1, units, 0, 1, 1, 0, 0)); a.sense != check(0xa, 0, 0) {
		t.Errorf("to a unit that is reserved: %+v", a)
	}
}

// A group in standby or unavailable refuses what its state says, on its ports only;
// the others are told.
func TestAccessStates(t *testing.T) {
	r := newRig(t)
	a, b := r.login(portA, 1), r.login(portA, 2)
	set := func(state, group byte) {
		t.Helper()
		list := []byte{0, 0, 0, 0, state, 0, 0, group}
		if x := a.do([]byte{0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, byte(len(list)), 0, 0}, list); x.status != Good {
			t.Fatalf("%+v", x)
		}
	}
	read := cdb10(0x28, 0, 0, 1)
	for state, want := range map[byte]sense{byte(standby): check(2, 4, 0x0b), byte(unavailable): check(2, 4, 0x0c), byte(nonOptimized): {}, byte(optimized): {}} {
		set(state, 2)
		if x := b.do(tur, nil); x.sense != check(6, 0x2a, 6) && state != byte(optimized) {
			t.Errorf("state %d: the other is told %+v", state, x)
		}
		if x := b.do(read, nil); x.sense != want && x.sense != check(6, 0x2a, 6) {
			t.Errorf("state %d: read: %+v, want %+v", state, x.sense, want)
		}
		if x := b.do([]byte{0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0}, nil); x.status != Good || x.data[16] != state {
			t.Errorf("state %d: report: %+v", state, x)
		}
		if x := a.do(read, nil); x.status != Good {
			t.Errorf("state %d: read by the other group: %+v", state, x)
		}
		set(byte(optimized), 2)
		b.do(tur, nil)
	}
	if x := a.do([]byte{0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0}, []byte{0, 0, 0, 0, 2, 0, 0, 9}); x.sense != check(5, 0x26, 0) {
		t.Errorf("a group that is not there: %+v", x)
	}
}
