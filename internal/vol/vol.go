// Package vol makes a disk of bytes out of a dataset of blocks: unaligned
// access, requests of any length, holes. Protocols sit on top of it.
package vol

import (
	"context"
	"math"
	"sync"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/when"
)

const blockSize = engine.BlockSize

// Span is a part of what a read returned or a map shows: data or hole.
type Span = engine.Span

// reader is what a head and a view have in common.
type reader interface {
	ReadAt(p []byte, off uint64, spans *[]Span) error
	TryReadAt(p []byte, off uint64, spans *[]Span) (bool, error)
	Map(off, n uint64, fn func(Span) bool) error
	Changed(since *engine.View, off, n uint64, fn func(Span) bool) error
	Size() uint64
}

// Volume is an open disk: the head of a volume, or a moment of it, read-only.
// Safe for concurrent use. Ranges must lie within Size; offsets and lengths
// are bytes and need no alignment.
type Volume struct {
	reader
	e       *engine.Engine
	dataset string // what it was called when it was opened
	name    string
	head    *engine.Head // nil: a moment
	view    *engine.View
	lsn     uint64 // of the moment; the head's has no end
	size    uint64
	once    sync.Once
}

// Open opens "NAME" for reading and writing, or, with a moment, NAME as it was
// then. caller and kick are for the head only: see engine.Attach.
func Open(e *engine.Engine, name string, at *when.Spec, caller engine.Caller, kick func()) (*Volume, error) {
	if at == nil {
		h, err := e.Attach(name, caller, true, kick)
		if err != nil {
			return nil, err
		}
		if h.IsShare() {
			h.Detach()
			return nil, notDisk(name)
		}
		return &Volume{reader: h, e: e, dataset: name, name: name, head: h, lsn: math.MaxUint64, size: h.Size()}, nil
	}
	if i, err := e.Dataset(name); err == nil && i.Kind != "volume" {
		return nil, notDisk(name)
	}
	m, err := e.Resolve(name, *at)
	if err != nil {
		return nil, err
	}
	v, err := e.OpenView(m)
	if err != nil {
		return nil, err
	}
	return &Volume{reader: v, e: e, dataset: name, name: name + at.String(), view: v, lsn: m.LSN, size: v.Size()}, nil
}

func notDisk(name string) error {
	return fail.New(fail.Invalid, "%s is a share, not a disk", name).WithHint("mount it over NFS")
}

// Name is what the volume was opened as.
func (v *Volume) Name() string { return v.name }

// Size is fixed while the volume is open: bytes.
func (v *Volume) Size() uint64 { return v.size }

// ReadOnly reports whether this is a moment.
func (v *Volume) ReadOnly() bool { return v.head == nil }

func (v *Volume) writable() error {
	if v.head == nil {
		return fail.New(fail.ReadOnly, "%s is a past moment, which never changes", v.name).WithHint("varve clone makes a volume of it that can be written")
	}
	return nil
}

// WriteAt writes p at byte off. On return it is readable, and durable after
// Flush. It is atomic against power loss up to a block, and in pieces of
// engine.MaxWrite beyond.
func (v *Volume) WriteAt(p []byte, off uint64) error {
	if err := v.writable(); err != nil {
		return err
	}
	for len(p) > 0 {
		n := min(uint64(len(p)), engine.MaxWrite-off%engine.MaxWrite)
		if err := v.head.WriteAt(p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

// TryWriteAt is WriteAt for a caller that must not wait. Where WriteAt would wait, or
// fail, or take several operations, it returns false, and nothing has happened.
func (v *Volume) TryWriteAt(p []byte, off uint64) bool {
	return v.head != nil && off%engine.MaxWrite+uint64(len(p)) <= engine.MaxWrite && v.head.TryWriteAt(p, off)
}

// Trim makes the whole blocks inside a range a hole; the edges stay as they
// are.
func (v *Volume) Trim(off, n uint64) error {
	if err := v.writable(); err != nil {
		return err
	}
	first, end := (off+blockSize-1)/blockSize*blockSize, (off+n)/blockSize*blockSize
	if off+n == v.size {
		end = (off + n + blockSize - 1) / blockSize * blockSize
	}
	if first >= end {
		return nil
	}
	return v.head.Trim(first, end-first)
}

var zeros [engine.MaxWrite]byte

// Zero makes a range read as zeros: whole blocks become a hole, unless noHole
// asks for blocks of zeros that are there.
func (v *Volume) Zero(off, n uint64, noHole bool) error {
	if err := v.writable(); err != nil {
		return err
	}
	if noHole {
		return v.zeroBytes(off, n)
	}
	first, end := (off+blockSize-1)/blockSize*blockSize, (off+n)/blockSize*blockSize
	if first >= end {
		return v.zeroBytes(off, n)
	}
	if err := v.zeroBytes(off, first-off); err != nil {
		return err
	}
	if err := v.head.Trim(first, end-first); err != nil {
		return err
	}
	return v.zeroBytes(end, off+n-end)
}

func (v *Volume) zeroBytes(off, n uint64) error {
	for n > 0 {
		k := min(n, engine.MaxWrite)
		if err := v.WriteAt(zeros[:k], off); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}

// Flush returns when everything written before is durable.
func (v *Volume) Flush() error {
	if v.head == nil {
		return nil
	}
	return v.head.Flush()
}

// cacheStep bounds the memory of Cache.
const cacheStep = 1 << 20

// Cache reads a range so that what holds it is in memory.
func (v *Volume) Cache(ctx context.Context, off, n uint64) error {
	buf := make([]byte, min(n, cacheStep))
	for n > 0 && ctx.Err() == nil {
		p := buf[:min(n, cacheStep)]
		if err := v.ReadAt(p, off, nil); err != nil {
			return err
		}
		off, n = off+uint64(len(p)), n-uint64(len(p))
	}
	return ctx.Err()
}

// Close lets the volume go.
func (v *Volume) Close() {
	v.once.Do(func() {
		if v.head != nil {
			v.head.Detach()
		} else {
			v.view.Close()
		}
	})
}
