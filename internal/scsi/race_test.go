package scsi

import (
	"bytes"
	"sync"
	"sync/atomic"
	"testing"
	"time"
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
				n.pr(prRegisterIgnore, 0, 0, key, 0)
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
}

func (d *slowDisk) WriteAt(p []byte, off uint64) error {
	d.begun <- struct{}{}
	<-d.goOn
	if d.closed.Load() {
		panic("a write after Close")
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
	slow := &slowDisk{Disk: n.byLUN[0].d, begun: make(chan struct{}), goOn: make(chan struct{})}
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
		t.Fatal("closed while a write runs")
	case <-time.After(20 * time.Millisecond):
	}
	close(slow.goOn)
	<-closed
	if late.Execute(nil, data, true); !late.Aborted {
		t.Error("what had begun before the end was executed after it")
	}
	n = r.login(portA, 1)
	if a := n.do(cdb10(0x28, 0, 8, 8), nil); !bytes.Equal(a.data, make([]byte, 8*BlockSize)) {
		t.Error("a write of the old nexus landed after its end")
	}
}
