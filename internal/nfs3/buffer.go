package nfs3

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"varve/internal/engine"
)

const (
	// headRoom is what every buffer has beyond its class, so that 1 MiB of data
	// fits a buffer of that class together with the head of its call or reply.
	headRoom = 1 << 10

	minClass = 9 // 512 bytes
	maxClass = 20

	// maxRecord is how much of a call is kept, in bytes.
	maxRecord = maxIO + headRoom
)

// buffer is memory for calls, or for replies of which mem[from:to] is to be
// sent.
type buffer struct {
	mem      []byte
	from, to int
	class    int
	charge   int64 // bytes taken from a budget, given back with the buffer
	shared   bool  // from that of all connections
	fixed    bool  // a connection's reply buffer
	lent     bool  // mem is of memory, which is the log's or was
	memory   engine.Memory
	refs     atomic.Int32 // of a buffer of calls: who uses it
}

func (b *buffer) room() int { return len(b.mem) - b.to }

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

// tail returns the next n bytes, empty, to append to.
func (b *buffer) tail(n int) []byte { return b.mem[b.to : b.to : b.to+n] }

// bufferPool recycles buffers by size class, the powers of two.
type bufferPool struct {
	classes [maxClass + 1]sync.Pool
	shells  sync.Pool // buffers without memory, for what is lent
}

// classOf returns the class of buffers with room for n bytes.
func classOf(n int) int { return max(bits.Len(uint(max(n-headRoom, 1)-1)), minClass) }

// get returns a buffer for n bytes, 0 < n <= maxRecord. They are whatever was
// there before.
func (p *bufferPool) get(n int) *buffer {
	class := classOf(n)
	b, ok := p.classes[class].Get().(*buffer)
	if !ok {
		return &buffer{mem: make([]byte, headRoom+1<<class), class: class}
	}
	b.from, b.to, b.charge, b.shared, b.fixed = 0, 0, 0, false, false
	return b
}

func (p *bufferPool) put(b *buffer) {
	if b.lent {
		b.memory.Return()
		b.mem = nil
		p.shells.Put(b)
		return
	}
	p.classes[b.class].Put(b)
}

// shell returns a buffer for what m holds.
func (p *bufferPool) shell(m engine.Memory) *buffer {
	b, ok := p.shells.Get().(*buffer)
	if !ok {
		b = &buffer{lent: true}
	}
	b.from, b.to, b.charge, b.shared = 0, 0, 0, false
	b.memory, b.mem = m, m.Bytes()
	return b
}
