package scsi

import (
	"testing"

	"varve/internal/engine"
)

// pastDisk is a disk that passes for that of a past moment.
type pastDisk struct {
	Disk
	lsn uint64
}

func (d pastDisk) Identity() Identity {
	id := d.Disk.Identity()
	id.LSN = d.lsn
	return id
}

// An initiator that registers at moment after moment does not fill the memory with
// units; a unit that it comes back to has not forgotten.
func TestUnitsOfThePast(t *testing.T) {
	r := newRig(t)
	at := func(lsn uint64) *Nexus {
		d, err := OpenVolume(r.e, "d", nil, engine.Caller{}, func() {})
		if err != nil {
			t.Fatal(err)
		}
		n, err := r.s.OpenNexus(NexusConfig{Target: r.target, Initiator: portA, Port: 1, Disks: map[uint64]Disk{0: pastDisk{d, lsn}}})
		if err != nil {
			t.Fatal(err)
		}
		n.do(tur, nil) // the attention
		return n
	}
	for lsn := uint64(1); lsn < 2*maxPast; lsn++ {
		n := at(lsn)
		n.mustPR(t, Good, prRegister, 0, 0, lsn, 0)
		n.Close()
		back := at(1)
		if a := back.do(prIn(prReadKeys), nil); len(a.data) != 16 || be.Uint64(a.data[8:]) != 1 {
			t.Fatalf("after %d moments the registration at the first is %x", lsn, a.data)
		}
		back.Close()
	}
	if n := len(r.s.units); n > maxPast {
		t.Errorf("%d units that nobody uses", n)
	}
}
