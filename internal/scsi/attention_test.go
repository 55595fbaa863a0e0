package scsi

import (
	"bytes"
	"testing"

	"varve/internal/engine"
	"varve/internal/when"
)

// Each reset is told apart, to every nexus; one after another replaces what was
// less.
func TestResets(t *testing.T) {
	r := newRig(t)
	a, b := r.login(portA, 1), r.login(portB, 2)
	for _, x := range []struct {
		reset func()
		tells attention
	}{
		{func() { a.Fence(0); a.ResetUnit(0) }, attnDeviceReset},
		{func() { a.ResetTarget(false) }, attnBusReset},
		{func() { a.ResetTarget(true) }, attnPowerOn},
	} {
		if y := a.do([]byte{0x15, 0x10, 0, 0, 24, 0}, append([]byte{0, 0, 0, 0, 8, 18, 0}, make([]byte, 17)...)); y.sense != check(5, 0x26, 0) {
			t.Fatalf("a caching page that changes what cannot be: %+v", y)
		}
		x.reset()
		a.attention(t, x.tells)
		b.attention(t, x.tells)
		a.quiet(t)
		b.quiet(t)
	}
}

// A changed mode page holds, others are told, and a reset brings the default back.
func TestModesChange(t *testing.T) {
	r := newRig(t)
	a, b := r.login(portA, 1), r.login(portB, 2)
	control := []byte{0, 0, 0, 0, 0x0a, 10, 0x24, 0x10, 0x08, 0, 0, 0, 0xff, 0xff, 0, 0}
	if x := a.do([]byte{0x15, 0x10, 0, 0, byte(len(control)), 0}, control); x.status != Good {
		t.Fatal(x)
	}
	b.attention(t, attnModes)
	a.quiet(t)
	c := &Command{CDB: cdb10(0x2a, 0, 0, 1), Expected: BlockSize}
	b.Begin(c)
	c.Execute(nil, make([]byte, BlockSize), true)
	if want := unhex(t, "72 07 27 02 00 00 00 00"); !bytes.Equal(c.Sense, want) {
		t.Errorf("a write under SWP: % x, want % x", c.Sense, want)
	}
	if x := a.do([]byte{0x1a, 8, 0x0a, 0, 255, 0}, nil); x.data[2] != 0x90 || x.data[6] != 0x24 {
		t.Errorf("the page: % x", x.data)
	}
	a.ResetUnit(0)
	a.attention(t, attnDeviceReset)
	if x := a.do(cdb10(0x2a, 0, 0, 1), make([]byte, BlockSize)); x.status != Good {
		t.Errorf("a write after the reset: %+v", x)
	}
}

// Without WCE every write is durable before it is answered.
func TestWriteThrough(t *testing.T) {
	n := newRig(t).login(portA, 1)
	page := append([]byte{0, 0, 0, 0, 8, 18}, make([]byte, 18)...)
	page[8], page[9] = 0xff, 0xff
	for _, wce := range []byte{0, 4} {
		page[6] = wce
		if x := n.do([]byte{0x15, 0x10, 0, 0, byte(len(page)), 0}, page); x.status != Good {
			t.Fatal(x)
		}
		c := &Command{CDB: cdb10(0x2a, 0, 0, 8), Expected: 8 * BlockSize}
		n.Begin(c)
		if !c.Execute(nil, make([]byte, 8*BlockSize), false) || c.NeedsFlush != (wce == 0) {
			t.Errorf("WCE %d: status %#x, flush %v", wce, c.Status, c.NeedsFlush)
		}
	}
}

// A volume without a write cache has none for any initiator, after a reset either.
func TestVolumeWithoutWriteCache(t *testing.T) {
	r := newRig(t)
	set := func(value string) {
		t.Helper()
		if _, err := r.e.Set(engine.Caller{}, "d", "iscsi-write-cache", value); err != nil {
			t.Fatal(err)
		}
	}
	look := func(n *Nexus, off bool) {
		t.Helper()
		for _, current := range []byte{0, 2} { // and the default
			x := n.do([]byte{0x1a, 8, current<<6 | 8, 0, 24, 0}, nil)
			if x.status != Good || (x.data[4+2]&4 == 0) != off {
				t.Errorf("without a cache: %v; the caching page: %+v", off, x)
			}
		}
		c := &Command{CDB: cdb10(0x2a, 0, 0, 8), Expected: 8 * BlockSize}
		n.Begin(c)
		if !c.Execute(nil, make([]byte, 8*BlockSize), true) || c.NeedsFlush != off {
			t.Errorf("without a cache: %v; status %#x, flush %v", off, c.Status, c.NeedsFlush)
		}
	}
	first := r.login(portA, 1)
	look(first, false)
	set("off")
	look(first, false) // whoever has seen one relies on his flushes
	first.Close()
	n := r.login(portA, 1)
	look(n, true)
	n.ResetUnit(0)
	n.do(tur, nil)
	look(n, true)
	n.Close()
	r.close()
	r.open()
	n = r.login(portA, 1)
	look(n, true)
	n.Close()
	set("")
	n = r.login(portA, 1)
	look(n, false)
	n.Close()
}

// A volume that grows is told of, once, and then has its new size.
func TestResize(t *testing.T) {
	r := newRig(t)
	n := r.login(portA, 1)
	if _, err := r.e.Resize(engine.Caller{}, "d", 2*diskSize); err != nil {
		t.Fatal(err)
	}
	n.attention(t, attnCapacity)
	n.quiet(t)
	if x := n.do(cdb10(0x25, 0, 0, 0), nil); be.Uint32(x.data) != 2*diskSize/BlockSize-1 {
		t.Errorf("capacity: % x", x.data)
	}
}

// An identity is that of the volume whatever it is called; a clone and a moment
// have another, and a moment cannot be written.
func TestIdentity(t *testing.T) {
	r := newRig(t)
	id := func(name string, at *when.Spec) Identity {
		d, err := OpenVolume(r.e, name, at, engine.Caller{}, func() {})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if d.ReadOnly() != (at != nil) {
			t.Errorf("%s: read-only is %v", d.Name(), d.ReadOnly())
		}
		return d.Identity()
	}
	d := id("d", nil)
	now := when.Spec{Kind: when.Now}
	if _, err := r.e.Clone(engine.Caller{}, "d", now, "c"); err != nil {
		t.Fatal(err)
	}
	seen := map[Identity]string{d: "d"}
	for name, x := range map[string]Identity{"c": id("c", nil), "d@now": id("d", &now), "e": id("e", nil)} {
		if y, ok := seen[x]; ok {
			t.Errorf("%s and %s are the same", name, y)
		}
		seen[x] = name
	}
	if _, err := r.e.Rename(engine.Caller{}, "d", "renamed"); err != nil {
		t.Fatal(err)
	}
	if id("renamed", nil) != d {
		t.Error("renamed, it is another")
	}
	if p := d.naa(); p[0]>>4 != 6 || p == (Identity{}).naa() || len(d.serial()) != 24 {
		t.Errorf("naa %x, serial %s", p, d.serial())
	}
}
