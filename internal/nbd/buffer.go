package nbd

import (
	"math/bits"
	"sync"
	"unsafe"
)

const (
	pageSize = 4096
	headRoom = 64 // before the body of a buffer: the head of a read's reply

	minClass = 9 // 512 bytes
	maxClass = 25
)

// buffer is memory for one payload, or for a run of replies:
//
//	mem  | pad | head room 64 | body, 512 B .. 32 MiB |
//	          base-headRoom    base
//
// Bodies of a page and more are page-aligned, so that a disk can be read into
// them directly. mem[from:to] is what is to be sent.
type buffer struct {
	mem      []byte
	base     int
	from, to int
	class    int
	charge   int64 // bytes taken from a budget, given back with the buffer
	shared   bool  // from that of all connections
}

func (b *buffer) size() int         { return 1 << b.class }
func (b *buffer) body() []byte      { return b.mem[b.base : b.base+b.size()] }
func (b *buffer) room() int         { return b.base + b.size() - b.to }
func (b *buffer) tail(n int) []byte { return b.mem[b.to : b.to+n] }

// Unsent implements outbox.Message.
func (b *buffer) Unsent(vec [][]byte) [][]byte { return append(vec, b.mem[b.from:b.to]) }

// Sent implements outbox.Message.
func (b *buffer) Sent(n int64) (int64, bool) {
	n = min(n, int64(b.to-b.from))
	b.from += int(n)
	return n, b.from == b.to
}

// Len implements outbox.Message.
func (b *buffer) Len() int { return b.to - b.from }

// framed returns the memory of a reply with an n-byte body, right aligned so
// that the body after a head of that size begins at base.
func (b *buffer) framed(head, n int) []byte { return b.mem[b.base-head : b.base+n] }

// bufferPool recycles buffers by size class, the powers of two.
type bufferPool struct {
	classes [maxClass + 1]sync.Pool
}

func classOf(n int) int { return max(bits.Len(uint(n-1)), minClass) }

// get returns a buffer whose body has at least n bytes, 0 < n <= maxPayload.
// Its bytes are whatever was there before.
func (p *bufferPool) get(n int) *buffer {
	class := classOf(n)
	if b, ok := p.classes[class].Get().(*buffer); ok {
		b.from, b.to, b.charge, b.shared = b.base, b.base, 0, false
		return b
	}
	size, base := 1<<class, headRoom
	b := &buffer{class: class}
	if size < pageSize {
		b.mem = make([]byte, headRoom+size)
	} else {
		b.mem = make([]byte, headRoom+pageSize+size)
		start := uintptr(unsafe.Pointer(unsafe.SliceData(b.mem)))
		base += int(-(start + headRoom) & (pageSize - 1))
	}
	b.base, b.from, b.to = base, base, base
	return b
}

func (p *bufferPool) put(b *buffer) { p.classes[b.class].Put(b) }
