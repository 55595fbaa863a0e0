package outbox

import (
	"math/bits"
	"sync"
	"unsafe"
)

const (
	pageSize = 4096
	HeadRoom = 64 // bytes before the body of a buffer: the head of a read's reply

	minClass = 9 // 512 bytes
	maxClass = 25
)

// Buffer is memory for one payload, or for a run of replies:
//
//	mem  | pad | head room 64 | body, 512 B .. 32 MiB |
//	          Base-HeadRoom    Base
//
// Bodies of a page and more are page-aligned, so that a disk can be read into
// them directly. mem[From:To] is what is to be sent.
type Buffer struct {
	mem      []byte
	Base     int
	From, To int
	class    int
	Charge   int64 // bytes taken from a budget, given back with the buffer
	Shared   bool  // from that of all connections
	Counted  bool  // its owner counts it until it is freed
}

// Size is the length of the body: bytes.
func (b *Buffer) Size() int { return 1 << b.class }

// Body is all of it.
func (b *Buffer) Body() []byte { return b.mem[b.Base : b.Base+b.Size()] }

// Room is how many bytes are free after To.
func (b *Buffer) Room() int { return b.Base + b.Size() - b.To }

// Tail returns the n bytes after To.
func (b *Buffer) Tail(n int) []byte { return b.mem[b.To : b.To+n] }

// Bytes is what is unsent.
func (b *Buffer) Bytes() []byte { return b.mem[b.From:b.To] }

// Unsent implements Message.
func (b *Buffer) Unsent(vec [][]byte) [][]byte { return append(vec, b.Bytes()) }

// Sent implements Message.
func (b *Buffer) Sent(n int64) (int64, bool) {
	n = min(n, int64(b.To-b.From))
	b.From += int(n)
	return n, b.From == b.To
}

// Len implements Message.
func (b *Buffer) Len() int { return b.To - b.From }

// Framed returns the memory of a reply with an n-byte body, right aligned so
// that the body after a head of that size begins at Base.
func (b *Buffer) Framed(head, n int) []byte { return b.mem[b.Base-head : b.Base+n] }

// Pool recycles buffers by size class, the powers of two.
type Pool struct {
	classes [maxClass + 1]sync.Pool
}

// Charge is what a buffer for n bytes takes of a budget: bytes.
func Charge(n int) int64 { return 1 << classOf(n) }

func classOf(n int) int { return max(bits.Len(uint(max(n, 1)-1)), minClass) }

// Get returns a buffer whose body has at least n bytes, 0 < n <= 32 MiB.
// Its bytes are whatever was there before.
func (p *Pool) Get(n int) *Buffer {
	class := classOf(n)
	if b, ok := p.classes[class].Get().(*Buffer); ok {
		b.From, b.To, b.Charge, b.Shared, b.Counted = b.Base, b.Base, 0, false, false
		return b
	}
	size, base := 1<<class, HeadRoom
	b := &Buffer{class: class}
	if size < pageSize {
		b.mem = make([]byte, HeadRoom+size)
	} else {
		b.mem = make([]byte, HeadRoom+pageSize+size)
		start := uintptr(unsafe.Pointer(unsafe.SliceData(b.mem)))
		base += int(-(start + HeadRoom) & (pageSize - 1))
	}
	b.Base, b.From, b.To = base, base, base
	return b
}

// Put takes a buffer back.
func (p *Pool) Put(b *Buffer) { p.classes[b.class].Put(b) }
