package scsi

import (
	"bytes"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"varve/test/race"
)

// Two nexuses count up a block with COMPARE AND WRITE, while a third writes the
// block beside it, in the same block of the volume: no step is lost.
func TestCompareWriteRace(t *testing.T) {
	r := newRig(t)
	const each = 150
	var wg sync.WaitGroup
	for i, port := range []string{portA, portB} {
		n := r.login(port, uint16(i+1))
		wg.Go(func() {
			for range each {
				for {
					old := n.do(cdb10(0x28, 0, 3, 1), nil).data
					now := bytes.Clone(old)
					be.PutUint64(now, be.Uint64(old)+1)
					a := n.do([]byte{0x89, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0}, append(old, now...))
					if a.status == Good {
						break
					}
					if a.sense != check(0xe, 0x1d, 0) {
						t.Errorf("%+v", a)
						return
					}
				}
			}
		})
	}
	n := r.login(portA+"x", 1)
	wg.Go(func() {
		for i := range each {
			if a := n.do(cdb10(0x2a, 0, 4, 1), bytes.Repeat([]byte{byte(i)}, BlockSize)); a.status != Good {
				t.Errorf("%+v", a)
			}
		}
	})
	wg.Wait()
	if a := n.do(cdb10(0x28, 0, 3, 1), nil); be.Uint64(a.data) != 2*each {
		t.Fatalf("counted %d, want %d", be.Uint64(a.data), 2*each)
	}
}

// Two nexuses preempt each other, and write their mark into all blocks whenever
// they hold the reservation. Once a preemption is answered no write of the other
// lands: the marks that the holder wrote stay.
func TestPreemptRace(t *testing.T) {
	r := newRig(t)
	const blocks = 16
	read, write := cdb10(0x28, 0, 0, blocks), cdb10(0x2a, 0, 0, blocks)
	nexuses := []*Nexus{r.login(portA, 1), r.login(portB, 2)}
	var stop atomic.Bool
	var writers, rivals sync.WaitGroup
	var turn sync.Mutex // who preempts and looks
	for i, n := range nexuses {
		mark := bytes.Repeat([]byte{byte(i + 1)}, blocks*BlockSize)
		key := uint64(i + 1)
		for range 2 {
			writers.Go(func() {
				for !stop.Load() {
					n.do(write, mark)
				}
			})
		}
		rivals.Go(func() {
			for range 60 {
				turn.Lock()
				for n.pr(prRegisterIgnore, 0, 0, key, 0).status == CheckCondition { // attentions come first
				}
				if n.pr(prReserve, exclusiveAccess, key, 0, 0).status != Good {
					action := byte(prPreempt)
					if key == 1 {
						action = prPreemptAbort
					}
					if a := n.pr(action, exclusiveAccess, key, 3-key, 0); a.status != Good {
						t.Errorf("preempt: %+v", a)
					}
				}
				for {
					a := n.do(write, mark)
					if a.status == Good {
						break
					}
					if a.status != CheckCondition && a.status != TaskAborted {
						t.Errorf("a write of the holder: %+v", a)
						break
					}
				}
				for range 3 {
					if a := n.do(read, nil); a.status == Good && !bytes.Equal(a.data, mark) {
						t.Errorf("a write of the other landed after the preemption was answered")
					}
				}
				turn.Unlock()
			}
		})
	}
	rivals.Wait()
	stop.Store(true)
	writers.Wait()
}

// slowDisk holds up writes until it is told to go on.
type slowDisk struct {
	Disk
	begun, goOn chan struct{}
	closed      atomic.Bool
	late        atomic.Bool // a write came after Close
}

func (d *slowDisk) TryWriteAt([]byte, uint64) bool { return false }

func (d *slowDisk) WriteAt(p []byte, off uint64) error {
	d.begun <- struct{}{}
	<-d.goOn
	if d.closed.Load() {
		d.late.Store(true)
		return nil
	}
	return d.Disk.WriteAt(p, off)
}

func (d *slowDisk) Close() {
	d.closed.Store(true)
	d.Disk.Close()
}

// The end of a nexus waits for the write that runs, and fences those that have
// begun: none of them lands afterwards.
func TestCloseFences(t *testing.T) {
	r := newRig(t)
	n := r.login(portA, 1)
	slow := &slowDisk{Disk: n.byLUN[0].d, begun: make(chan struct{}, 8), goOn: make(chan struct{})}
	n.byLUN[0].d = slow
	running := &Command{CDB: cdb10(0x2a, 0, 0, 8), Expected: 8 * BlockSize}
	late := &Command{CDB: cdb10(0x2a, 0, 8, 8), Expected: 8 * BlockSize}
	n.Begin(running)
	n.Begin(late)
	data := bytes.Repeat([]byte{7}, 8*BlockSize)
	go running.Execute(nil, data, true)
	<-slow.begun
	closed := make(chan struct{})
	go func() {
		n.Close()
		close(closed)
	}()
	select {
	case <-closed:
		t.Error("closed while a write runs")
	case <-time.After(20 * time.Millisecond):
	}
	close(slow.goOn)
	<-closed
	if late.Execute(nil, data, true); !late.Aborted || slow.late.Load() {
		t.Error("what had begun before the end was executed after it")
	}
	n = r.login(portA, 1)
	if a := n.do(cdb10(0x28, 0, 8, 8), nil); !bytes.Equal(a.data, make([]byte, 8*BlockSize)) {
		t.Error("a write of the old nexus landed after its end")
	}
}

// Neither a read nor a write allocates.
func TestNoAllocation(t *testing.T) {
	n := newRig(t).login(portA, 1)
	data := make([]byte, 8*BlockSize)
	c := new(Command)
	run := func(cdb []byte) func() {
		return func() {
			c.CDB, c.Expected = cdb, 0
			n.Begin(c)
			if !c.Execute(data, data, false) || c.Status != Good {
				t.Fatalf("status %#x", c.Status)
			}
		}
	}
	run(cdb10(0x2a, 0, 0, 8))()
	for name, cdb := range map[string][]byte{"read": cdb10(0x28, 0, 0, 8), "write": cdb16(0x8a, 0, 0, 8)} {
		if k := testing.AllocsPerRun(200, run(cdb)); k >= 1 && !race.Enabled() {
			t.Errorf("a %s allocates %v times", name, k)
		}
	}
}

// A preemption is answered when the writes that it shuts out are done, not before.
func TestPreemptWaits(t *testing.T) {
	r := newRig(t)
	a, b := r.login(portA, 1), r.login(portB, 2)
	a.mustPR(t, Good, prRegister, 0, 0, 1, 0)
	b.mustPR(t, Good, prRegister, 0, 0, 2, 0)
	a.mustPR(t, Good, prReserve, exclusiveAccess, 1, 0, 0)
	slow := &slowDisk{Disk: a.byLUN[0].d, begun: make(chan struct{}, 8), goOn: make(chan struct{})}
	a.byLUN[0].d = slow
	write := make(chan answer)
	go func() { write <- a.do(cdb10(0x2a, 0, 0, 8), make([]byte, 8*BlockSize)) }()
	<-slow.begun
	preempted := make(chan answer)
	go func() { preempted <- b.pr(prPreempt, exclusiveAccess, 2, 1, 0) }()
	select {
	case x := <-preempted:
		t.Errorf("answered %+v while a write of the other runs", x)
	case <-time.After(30 * time.Millisecond):
		defer func() {
			if x := <-preempted; x.status != Good {
				t.Errorf("the preemption: %+v", x)
			}
		}()
	}
	close(slow.goOn)
	if x := <-write; x.status != Good {
		t.Errorf("the write: %+v", x)
	}
}
