package nbd

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"varve/internal/fail"
)

const blockSize = 4096

// memDisk is a disk in memory that knows its holes, and that a test can make
// slow, broken or cold.
type memDisk struct {
	info Export

	mu     sync.RWMutex
	data   []byte
	stored []bool // by block of 4 KiB

	cold   atomic.Bool       // TryReadAt and TryWriteAt say no
	broken atomic.Value      // of brokenOp
	marked map[string][]bool // contexts "varve:changed@KEY": by block, what changed

	readGate  chan struct{} // not nil: ReadAt takes one first
	mapGate   chan struct{} // not nil: Map takes one first
	writeGate chan struct{} // not nil: WriteAt takes one first
	flushGate chan struct{} // not nil: Flush takes one first
	entered   chan string   // not nil: told of each gated call

	flushes, caches, opens, closes atomic.Int64
	volatile                       atomic.Int64 // changes since the last flush

	contextsOpened, contextsClosed atomic.Int64
}

type brokenOp struct {
	op  string
	err error
}

func newMemDisk(name string, size uint64) *memDisk {
	return &memDisk{
		info:   Export{Name: name, Size: size},
		data:   make([]byte, size),
		stored: make([]bool, (size+blockSize-1)/blockSize),
	}
}

// holds reports whether the disk has exactly this content.
func (d *memDisk) holds(content []byte) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return bytes.Equal(d.data, content)
}

func (d *memDisk) fails(op string) error {
	if b, ok := d.broken.Load().(brokenOp); ok && b.op == op {
		return b.err
	}
	return nil
}

func (d *memDisk) pass(op string, gate chan struct{}) {
	if gate == nil {
		return
	}
	if d.entered != nil {
		d.entered <- op
	}
	<-gate
}

func (d *memDisk) check(off, n uint64) {
	if n == 0 || off > d.info.Size || n > d.info.Size-off {
		panic("the server let a bad range through")
	}
}

func (d *memDisk) Info() Export { return d.info }

func (d *memDisk) ReadAt(p []byte, off uint64, spans *[]Span) error {
	d.pass("read", d.readGate)
	return d.read(p, off, spans)
}

func (d *memDisk) TryReadAt(p []byte, off uint64, spans *[]Span) (bool, error) {
	if d.cold.Load() {
		if spans != nil {
			*spans = append(*spans, Span{Len: 1}) // of no account
		}
		clear(p)
		return false, nil
	}
	return true, d.read(p, off, spans)
}

func (d *memDisk) read(p []byte, off uint64, spans *[]Span) error {
	d.check(off, uint64(len(p)))
	if err := d.fails("read"); err != nil {
		return err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	copy(p, d.data[off:])
	if spans == nil {
		return nil
	}
	*spans = append(*spans, blockSpans(d.stored, off, uint64(len(p)))...)
	return nil
}

// blockSpans maps a range of blocks that are there or not.
func blockSpans(there []bool, off, n uint64) (spans []Span) {
	for end := off + n; off < end; {
		step := min(blockSize-off%blockSize, end-off)
		hole := !there[off/blockSize]
		if k := len(spans); k > 0 && spans[k-1].Hole == hole {
			spans[k-1].Len += step
		} else {
			spans = append(spans, Span{Len: step, Hole: hole})
		}
		off += step
	}
	return spans
}

func (d *memDisk) WriteAt(p []byte, off uint64) error {
	d.check(off, uint64(len(p)))
	d.pass("write", d.writeGate)
	if err := d.fails("write"); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(d.data[off:], p)
	for b := off / blockSize; b <= (off+uint64(len(p))-1)/blockSize; b++ {
		d.stored[b] = true
	}
	d.volatile.Add(1)
	return nil
}

// TryWriteAt implements Disk.
func (d *memDisk) TryWriteAt(p []byte, off uint64) bool {
	return !d.cold.Load() && d.writeGate == nil && d.WriteAt(p, off) == nil
}

func (d *memDisk) Trim(off, n uint64) error {
	if err := d.fails("trim"); err != nil {
		return err
	}
	return d.clear(off, n, false)
}

func (d *memDisk) Zero(off, n uint64, noHole bool) error {
	if err := d.fails("zero"); err != nil {
		return err
	}
	return d.clear(off, n, noHole)
}

func (d *memDisk) clear(off, n uint64, stored bool) error {
	d.check(off, n)
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.data[off : off+n])
	for b := (off + blockSize - 1) / blockSize; b < (off+n)/blockSize; b++ {
		d.stored[b] = stored
	}
	d.volatile.Add(1)
	return nil
}

func (d *memDisk) Flush() error {
	n := d.volatile.Load()
	d.pass("flush", d.flushGate)
	if err := d.fails("flush"); err != nil {
		return err
	}
	d.volatile.Add(-n)
	d.flushes.Add(1)
	return nil
}

func (d *memDisk) Cache(off, n uint64) error {
	d.check(off, n)
	d.caches.Add(1)
	return d.fails("cache")
}

func (d *memDisk) Map(off, n uint64, visit func(Span) bool) error {
	d.check(off, n)
	d.pass("map", d.mapGate)
	if err := d.fails("map"); err != nil {
		return err
	}
	d.mu.RLock()
	spans := blockSpans(d.stored, off, n)
	d.mu.RUnlock()
	for _, s := range spans {
		if !visit(s) {
			break
		}
	}
	return nil
}

func (d *memDisk) Contexts(query string) (names []string) {
	switch query {
	case "":
		return []string{changedSince}
	case namespace:
		for _, key := range slices.Sorted(maps.Keys(d.marked)) {
			names = append(names, changedSince+key)
		}
	default:
		if key, ok := strings.CutPrefix(query, changedSince); ok && d.marked[key] != nil {
			names = []string{query}
		}
	}
	return names
}

func (d *memDisk) OpenContext(name string) (Context, error) {
	key, ok := strings.CutPrefix(name, changedSince)
	if !ok || d.marked[key] == nil {
		return nil, fail.New(fail.OutsideHistory, "too long ago")
	}
	d.contextsOpened.Add(1)
	return &memChanges{d, d.marked[key]}, nil
}

// memChanges is a context whose pieces are single blocks: whoever joins them,
// it is not the disk.
type memChanges struct {
	d      *memDisk
	marked []bool
}

func (m *memChanges) Status(off, n uint64, visit func(n uint64, flags uint32) bool) error {
	m.d.check(off, n)
	if err := m.d.fails("status"); err != nil {
		return err
	}
	for end := off + n; off < end; {
		step := min(blockSize-off%blockSize, end-off)
		var flags uint32
		if m.marked[off/blockSize] {
			flags = stateChanged
		}
		if !visit(step, flags) {
			return nil
		}
		off += step
	}
	return nil
}

func (m *memChanges) Close() { m.d.contextsClosed.Add(1) }

func (d *memDisk) Close() error {
	if d.contextsOpened.Load() < d.contextsClosed.Load() {
		panic("a context was closed twice")
	}
	d.closes.Add(1)
	return nil
}

// memBackend serves memory disks.
type memBackend struct {
	mu      sync.Mutex
	disks   []*memDisk
	kicks   []func()
	clients []Client
	listErr error
}

func (b *memBackend) List(context.Context) ([]Export, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []Export
	for _, d := range b.disks {
		list = append(list, d.info)
	}
	return list, b.listErr
}

func (b *memBackend) Open(_ context.Context, name string, c Client, kick func()) (Disk, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if name == "" && len(b.disks) == 1 {
		name = b.disks[0].info.Name
	}
	i := slices.IndexFunc(b.disks, func(d *memDisk) bool { return d.info.Name == name })
	switch {
	case name == "secret":
		return nil, fail.New(fail.Denied, "not for you")
	case name == "disk0@yore":
		return nil, fail.New(fail.OutsideHistory, "@yore is outside history; oldest moment noon")
	case name == "disk0@one-too-many":
		return nil, fail.New(fail.TooBig, "4096 past moments are open already").WithHint("close some")
	case i < 0:
		return nil, fail.New(fail.NotFound, "no export %q", name).WithHint("see varve list")
	}
	b.kicks = append(b.kicks, kick)
	b.clients = append(b.clients, c)
	b.disks[i].opens.Add(1)
	return b.disks[i], nil
}
