package scsi

import (
	"bytes"
	"slices"
	"testing"

	"varve/internal/engine"
)

// FuzzCommand sends any CDB with any data: the answer fits what Begin announced,
// and every refusal has sense.
func FuzzCommand(f *testing.F) {
	for _, op := range table {
		cdb := make([]byte, len(op.usage))
		cdb[0] = op.opcode
		if op.action != none {
			cdb[1] = byte(op.action)
		}
		f.Add(cdb, []byte{})
		full := slices.Clone(cdb)
		for i := 2; i < len(full)-1; i++ {
			full[i] = op.usage[i] & 0x11
		}
		f.Add(full, bytes.Repeat([]byte{0, 1, 2, 4}, 300))
	}
	f.Add(unhex(f, "5f 00 00 00 00 00 00 00 18 00"), unhex(f, "0000000000000000 0000000000000001 00000000 05 000000"))
	f.Add(unhex(f, "15 10 00 00 10 00"), unhex(f, "00 00 00 00 0a 0a 24 10 08 00 00 00 ff ff 00 00"))
	f.Add(unhex(f, "42 00 00 00 00 00 00 00 18 00"), unhex(f, "0016 0010 00000000 0000000000000001 00000002 00000000"))
	r := newRig(f)
	if _, err := r.e.Set(engine.Caller{}, "d", "sanitize", "on"); err != nil {
		f.Fatal(err)
	}
	n := r.login(portA, 1)
	copied := copyList(1, []Identity{n.byLUN[0].u.id, n.byLUN[1<<48].u.id}, 0, 1, 3, 4, 5)
	f.Add(unhex(f, "83 00 00 00 00 00 00 00 00 00 00 00 00 6c 00 00"), copied)
	f.Fuzz(func(t *testing.T, cdb, out []byte) {
		if len(cdb) < 6 || len(cdb) > 64 {
			return // the transport sees to that
		}
		c := &Command{CDB: cdb, Expected: int64(len(out))}
		n.Begin(c)
		if c.Length < 0 || c.Length > MaxTransfer || (c.Dir == NoData) != (c.Length == 0) {
			t.Fatalf("direction %d, %d bytes", c.Dir, c.Length)
		}
		var in []byte
		if c.Dir == DataIn {
			in = make([]byte, min(c.Length, 64<<10))
		} else {
			out = out[:min(int64(len(out)), c.Length)]
		}
		if !c.Execute(in, out, false) && !c.Execute(in, out, true) {
			t.Fatal("not done, though it may wait")
		}
		if c.N > len(in) || c.Total < int64(c.N) || c.Dir == DataIn && c.Total > c.Length {
			t.Fatalf("%d of %d bytes, %d in all", c.N, len(in), c.Total)
		}
		if (c.Status == CheckCondition) != (len(c.Sense) >= 8) {
			t.Fatalf("status %#x, %d bytes of sense", c.Status, len(c.Sense))
		}
		for range 3 { // a stopped or reserved unit would refuse all that follows
			n.ResetUnit(0)
			n.do(tur, nil)
		}
		n.do(unhex(t, "5f 06 00 00 00 00 00 00 18 00"), unhex(t, "0000000000000000 0000000000000001 00000000 00 000000"))
		n.pr(prClear, 0, 1, 0, 0)
	})
}

// FuzzKept decodes any state: what is taken is encoded as it was.
func FuzzKept(f *testing.F) {
	f.Add([]byte{})
	p := persistent{aptpl: true, kind: exclusiveAccess, holder: registrant{portB, 2}, registered: []registration{
		{registrant{portA, 1}, 5, false}, {registrant{portB, 2}, 6, true},
	}}
	f.Add(encodeKept(&p, &sanitize{}))
	f.Add(encodeKept(&p, &sanitize{failed: true, unrestricted: true}))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, z, err := decodeKept(b)
		if err != nil {
			return
		}
		again, z2, err := decodeKept(encodeKept(&p, &z))
		if err != nil || z2 != z || again.kind != p.kind || again.holder != p.holder || !slices.Equal(again.registered, p.registered) {
			t.Fatalf("%+v %+v becomes %+v %+v, %v", p, z, again, z2, err)
		}
	})
}
