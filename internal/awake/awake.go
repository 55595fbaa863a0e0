// Package awake keeps processors from sleeping while requests wait for the
// disk one after another.
//
// A client that waits for each of its flushes leaves all processors idle
// several times in each: until the disk has written, until it has flushed,
// until the reply is read. A processor with nothing to do is halted, and waking
// it takes tens of microseconds, in a virtual machine as long as a fast disk
// takes to write. Whoever holds /dev/cpu_dma_latency open tells the kernel how
// much of that he bears (Documentation/power/pm_qos_interface.rst); with zero,
// idle processors look for work instead. That costs power, so the Keeper asks
// for it only while syncs follow each other closely:
//
//	syncs    |||||||||||||||||||             ||
//	looks      .    .    .    .    .           .    .
//	awake           xxxxxxxxxxxxxxxx
package awake

import (
	"encoding/binary"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"varve/internal/fail"
)

// Device is where the kernel takes such requests. It is root's, unless the
// system says otherwise.
const Device = "/dev/cpu_dma_latency"

const (
	every = 5 * time.Millisecond // from look to look
	often = 4                    // syncs between two looks that are worth it
	still = 2                    // fewer are not worth it any more

	none = 0                  // microseconds of waking up that are borne
	any  = 2000 * 1000 * 1000 // what the kernel takes for no request
)

// Keeper watches how often the disk is waited for. A nil Keeper does nothing.
type Keeper struct {
	device *os.File
	syncs  atomic.Int64 // since the last look
	armed  atomic.Bool
	timer  *time.Timer

	mu     sync.Mutex
	awake  bool
	closed bool
}

// Open returns a Keeper that asks by way of a file: Device.
func Open(name string) (*Keeper, error) {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return nil, fail.Wrap(fail.Denied, err, "no way to keep processors awake").
			WithHint("without, flushes take longer; let this user write to %s", Device)
	}
	k := &Keeper{device: f}
	k.timer = time.AfterFunc(time.Hour, k.look)
	k.timer.Stop()
	return k, nil
}

// Synced is told of every sync. It does not wait.
func (k *Keeper) Synced() {
	if k == nil {
		return
	}
	k.syncs.Add(1)
	if !k.armed.Load() && k.armed.CompareAndSwap(false, true) {
		k.timer.Reset(every)
	}
}

// look is the timer's. It goes on while there are syncs.
func (k *Keeper) look() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	n := k.syncs.Swap(0)
	switch {
	case !k.awake && n >= often:
		k.ask(none)
	case k.awake && n < still:
		k.ask(any)
	}
	if n == 0 && !k.awake {
		k.armed.Store(false) // a sync that comes meanwhile counts with the next one
		return
	}
	k.timer.Reset(every)
}

// ask makes the request. Where that fails, nothing is lost but time. mu is held.
func (k *Keeper) ask(microseconds uint32) {
	_, _ = k.device.Write(binary.NativeEndian.AppendUint32(nil, microseconds))
	k.awake = microseconds == none
}

// Close takes the request back. Synced may still be called.
func (k *Keeper) Close() {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	k.timer.Stop()
	k.device.Close() // the kernel forgets what was asked for with it
}
