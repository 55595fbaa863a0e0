package scsi

import (
	"bytes"
	"testing"
)

func put(cdb []byte, at int, b ...byte) []byte {
	copy(cdb[at:], b)
	return cdb
}

// cdb10 and cdb16 make CDBs with a block address and a number of blocks.
func cdb10(op, flags byte, lba uint32, n uint16) []byte {
	p := make([]byte, 10)
	p[0], p[1] = op, flags
	be.PutUint32(p[2:], lba)
	be.PutUint16(p[7:], n)
	return p
}

func cdb16(op, flags byte, lba uint64, n uint32) []byte {
	p := make([]byte, 16)
	p[0], p[1] = op, flags
	be.PutUint64(p[2:], lba)
	be.PutUint32(p[10:], n)
	return p
}

// A nexus is told of the power on once, whoever asks first; INQUIRY and REPORT
// LUNS come before that. A session that takes the place of another hears nothing.
func TestPowerOn(t *testing.T) {
	r := newRig(t)
	n := r.nexus(portA, 1)
	inquiry := []byte{0x12, 0, 0, 0, 96, 0}
	if a := n.do(inquiry, nil); a.status != Good || len(a.data) != 96 {
		t.Fatalf("INQUIRY: %+v", a)
	}
	if a := n.do(tur, nil); a.sense != (sense{key: 6, asc: 0x29}) {
		t.Fatalf("the first TEST UNIT READY: %+v", a)
	}
	if a := n.do(tur, nil); a.status != Good {
		t.Fatalf("the second: %+v", a)
	}
	n.Close()
	if a := n.do(tur, nil); a.status != TaskAborted {
		t.Fatalf("after Close: %+v", a)
	}
	if a := r.nexus(portA, 1).do(tur, nil); a.status != Good {
		t.Fatalf("after a new login: %+v", a)
	}
}

// What is written is read, whatever the size of the CDB.
func TestReadWrite(t *testing.T) {
	n := newRig(t).login(portA, 1)
	for i, x := range []struct{ write, read []byte }{
		{[]byte{0x0a, 0, 0, 9, 3, 0}, []byte{0x08, 0, 0, 9, 3, 0}},
		{cdb10(0x2a, 0, 9, 3), cdb10(0x28, 0, 9, 3)},
		{[]byte{0xaa, 0, 0, 0, 0, 9, 0, 0, 0, 3, 0, 0}, []byte{0xa8, 0, 0, 0, 0, 9, 0, 0, 0, 3, 0, 0}},
		{cdb16(0x8a, 8, 9, 3), cdb16(0x88, 8, 9, 3)},
	} {
		data := bytes.Repeat([]byte{byte(i + 1), 2, 3}, BlockSize)
		if a := n.do(x.write, data); a.status != Good || a.total != 3*BlockSize || a.dir != DataOut {
			t.Fatalf("%x: %+v", x.write, a)
		}
		if a := n.do(x.read, nil); a.status != Good || !bytes.Equal(a.data, data) || a.dir != DataIn {
			t.Fatalf("%x: %+v", x.read, a)
		}
	}
}
