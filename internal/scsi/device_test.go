package scsi

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/segstore/mem"
)

const (
	diskSize = 8 << 20
	portA    = "iqn.2026-11.test:a,i,0x00023d000001"
	portB    = "iqn.2026-11.test:b,i,0x00023d000002"
)

// rig is a pool with two disks, served by one target with two ports.
type rig struct {
	t      testing.TB
	e      *engine.Engine
	s      *Server
	target *Target
	opt    engine.Options
}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, opt: engine.Options{Store: mem.New(4<<20, 1<<30), CheckpointEvery: -1}}
	if err := engine.Format(r.opt.Store, time.Now(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	r.open()
	for _, name := range []string{"d", "e"} {
		if _, err := r.e.CreateVolume(engine.Caller{}, name, diskSize); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(r.close)
	return r
}

func (r *rig) open() {
	var err error
	if r.e, err = engine.Open(r.opt); err != nil {
		r.t.Fatal(err)
	}
	r.s = NewServer(Options{EraseRate: 1 << 40})
	r.target = NewTarget("iqn.2026-11.varve:d", []Group{{Tag: 1, Ports: []uint16{1}}, {Tag: 2, Ports: []uint16{2}}})
}

func (r *rig) close() {
	r.s.Close()
	if err := r.e.Close(context.Background()); err != nil {
		r.t.Error(err)
	}
}

// login opens a nexus over both disks, LUN 0 and 1, and takes its attentions off.
func (r *rig) login(port string, at uint16) *Nexus {
	r.t.Helper()
	n := r.nexus(port, at)
	for _, lun := range n.LUNs() {
		for n.byLUN[lun].pending.Load() {
			n.byLUN[lun].nextAttention()
		}
	}
	return n
}

func (r *rig) nexus(port string, at uint16) *Nexus {
	r.t.Helper()
	disks := map[uint64]Disk{}
	for i, name := range []string{"d", "e"} {
		d, err := OpenVolume(r.e, name, nil, engine.Caller{Proto: "iscsi", Addr: port}, func() {})
		if err != nil {
			r.t.Fatal(err)
		}
		disks[uint64(i)<<48] = d
	}
	n, err := r.s.OpenNexus(NexusConfig{Target: r.target, Initiator: port, Port: at, Disks: disks})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(n.Close)
	return n
}

// answer is how a command ended.
type answer struct {
	status Status
	sense  sense
	data   []byte
	total  int64
	dir    Direction
	length int64
}

// do runs a command as a transport does, on LUN 0.
func (n *Nexus) do(cdb []byte, out []byte) answer { return n.doAt(0, cdb, out) }

func (n *Nexus) doAt(lun uint64, cdb []byte, out []byte) answer {
	c := &Command{LUN: lun, CDB: cdb, Expected: int64(len(out))}
	n.Begin(c)
	a := answer{dir: c.Dir, length: c.Length}
	var in []byte
	if c.Dir == DataIn {
		in = make([]byte, c.Length)
	}
	if !c.Execute(in, out, false) {
		c.Execute(in, out, true)
	}
	if c.NeedsFlush {
		c.Committed(n.Flush(lun))
	}
	a.status, a.data, a.total = c.Status, in[:c.N], c.Total
	if c.Status == CheckCondition {
		a.sense = parseSense(c.Sense)
	}
	if c.Aborted {
		a.status = TaskAborted
	}
	return a
}

// parseSense reads key, code and qualifier of either format.
func parseSense(p []byte) sense {
	if p[0]&0x7f >= 0x72 {
		return sense{key: p[1] & 15, asc: p[2], ascq: p[3]}
	}
	return sense{key: p[2] & 15, asc: p[12], ascq: p[13]}
}
