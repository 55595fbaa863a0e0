package engine

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"

	"varve/internal/fail"
	"varve/internal/segment"
	"varve/internal/tree"
)

// freeMap says which blocks of payload nobody needs any more: a bit for each,
// by segment. It is written with every checkpoint, an item of the pool tree for
// each piece of 4096 blocks that changed. What a checkpoint adds is given to the
// store when the next one is durable too: then neither of the last two super
// roots leads there.
//
// A bit is set once in the life of an address. Only checkpoints set bits.
type freeMap struct {
	mu     sync.Mutex // readers of counters run beside a checkpoint
	segs   map[uint64]*segmentSpace
	dirty  map[uint64]struct{} // segments with bits set since the last checkpoint began
	blocks int64               // set bits
	ready  int64               // of these, what the store may have
}

// segmentSpace is what is known of one segment, in blocks.
type segmentSpace struct {
	bits    []uint64
	free    int      // set bits
	dirty   uint64   // pieces with bits set since the last checkpoint began, one bit each; the last stands for all above
	ready   []uint64 // bits that the store may have
	dead    int      // how many
	punched []uint64 // bits that the store has made holes of
	holes   int      // how many
	payload int      // payload blocks, free ones too
	nodes   int      // of these: tree nodes and pages of deaths
	usage   segment.Usage
}

const (
	pieceBlocks = 4096
	pieceWords  = pieceBlocks / 64
)

func newFreeMap() freeMap {
	return freeMap{segs: map[uint64]*segmentSpace{}, dirty: map[uint64]struct{}{}}
}

// segment returns what is known of segment n, made if need be. mu is held.
func (m *freeMap) segment(n uint64) *segmentSpace {
	s := m.segs[n]
	if s == nil {
		s = &segmentSpace{}
		m.segs[n] = s
	}
	return s
}

// add notes that n blocks from addr on, of one segment, are free. Corrupt if
// one of them was already: then the records of what is needed contradict each
// other, and nothing may be freed by them.
func (m *freeMap) add(addr, n uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := segment.Addr(addr)
	s := m.segment(a.Segment())
	for b := uint64(a.Block()); b < uint64(a.Block())+n; b++ {
		if !s.set(b) {
			return fail.New(fail.Corrupt, "segment %d block %d would be freed a second time", a.Segment(), b).
				WithHint("varve check shows what contradicts it")
		}
		m.blocks++
	}
	m.dirty[a.Segment()] = struct{}{}
	return nil
}

// set is false where the bit was set.
func (s *segmentSpace) set(b uint64) bool {
	w := int(b / 64)
	if w >= len(s.bits) {
		s.bits = append(s.bits, make([]uint64, w/pieceWords*pieceWords+pieceWords-len(s.bits))...)
	}
	if s.bits[w]&(1<<(b%64)) != 0 {
		return false
	}
	s.bits[w] |= 1 << (b % 64)
	s.free++
	s.dirty |= 1 << min(63, b/pieceBlocks)
	return true
}

func (s *segmentSpace) has(b uint64) bool { return bitOf(s.bits, int(b)) }

// knows reports whether a segment is there.
func (m *freeMap) knows(seg uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.segs[seg] != nil
}

// isFree reports whether a block is free.
func (m *freeMap) isFree(a segment.Addr) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.segs[a.Segment()]
	return s != nil && s.has(uint64(a.Block()))
}

// flush writes what changed into records, and returns the bits of the segments
// concerned.
func (m *freeMap) flush(records map[tree.Key][]byte) map[uint64][]uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	changed := map[uint64][]uint64{}
	for n := range m.dirty {
		s := m.segs[n]
		changed[n] = slices.Clone(s.bits)
		for piece := 0; piece*pieceWords < len(s.bits); piece++ {
			if s.dirty&(1<<min(63, piece)) != 0 {
				records[freeKey(n, piece)] = encodeBits(s.bits[piece*pieceWords : (piece+1)*pieceWords])
			}
		}
		s.dirty = 0
	}
	clear(m.dirty)
	return changed
}

// redo makes segments whose records were not written dirty again.
func (m *freeMap) redo(segs map[uint64][]uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n := range segs {
		if s := m.segs[n]; s != nil {
			s.dirty = ^uint64(0)
			m.dirty[n] = struct{}{}
		}
	}
}

// hand lets the store have bits: neither of the last two super roots leads to
// those blocks any more.
func (m *freeMap) hand(segs map[uint64][]uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n, b := range segs {
		s := m.segs[n]
		if s == nil {
			continue
		}
		m.ready -= int64(s.dead)
		s.ready, s.dead = b, 0
		for _, w := range b {
			s.dead += bits.OnesCount64(w)
		}
		m.ready += int64(s.dead)
	}
}

// payloads returns how many payload blocks the segments below one have.
func (m *freeMap) payloads(below uint64) map[uint64]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[uint64]int{}
	for n, s := range m.segs {
		if n < below {
			out[n] = s.payload
		}
	}
	return out
}

// all returns the bits of every segment.
func (m *freeMap) all() map[uint64][]uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[uint64][]uint64{}
	for n, s := range m.segs {
		if s.free > 0 {
			out[n] = slices.Clone(s.bits)
		}
	}
	return out
}

// drop forgets a segment that is no more, and lets its records go.
func (m *freeMap) drop(n uint64, records map[tree.Key][]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.segs[n]
	if s == nil {
		return
	}
	for piece := 0; piece*pieceWords < len(s.bits); piece++ {
		records[freeKey(n, piece)] = nil
	}
	records[itemKey(tagSegment, 0, n)] = nil
	m.blocks -= int64(s.free)
	m.ready -= int64(s.dead)
	delete(m.segs, n)
	delete(m.dirty, n)
}

func freeKey(seg uint64, piece int) tree.Key { return itemKey(tagFree, 0, seg<<8|uint64(piece)) }

// encodeBits leaves out zeros at the end.
func encodeBits(words []uint64) []byte {
	n := len(words)
	for n > 0 && words[n-1] == 0 {
		n--
	}
	b := make([]byte, 0, n*8)
	for _, w := range words[:n] {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// load takes an item of the pool tree.
func (m *freeMap) load(number uint64, v []byte) error {
	if len(v)%8 != 0 || len(v) > pieceWords*8 {
		return fail.New(fail.Corrupt, "the pool tree's map of free blocks of segment %d has %d bytes", number>>8, len(v))
	}
	s := m.segment(number >> 8)
	at := int(number&255) * pieceWords
	if need := at + pieceWords; len(s.bits) < need {
		s.bits = append(s.bits, make([]uint64, need-len(s.bits))...)
	}
	for i := 0; i*8 < len(v); i++ {
		w := binary.LittleEndian.Uint64(v[i*8:])
		s.bits[at+i] = w
		s.free += bits.OnesCount64(w)
		m.blocks += int64(bits.OnesCount64(w))
	}
	return nil
}

func bitOf(w []uint64, b int) bool { return b/64 < len(w) && w[b/64]&(1<<(b%64)) != 0 }

// runsOf calls fn for each run of at least least set bits.
func runsOf(w []uint64, least int, fn func(block, n int)) {
	start := -1
	for b := 0; b <= len(w)*64; b++ {
		if bitOf(w, b) {
			if start < 0 {
				start = b
			}
			continue
		}
		if start >= 0 && b-start >= least {
			fn(start, b-start)
		}
		start = -1
	}
}

// setUsage notes what a segment holds.
func (m *freeMap) setUsage(u segment.Usage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.segment(u.Segment)
	s.usage = u
	s.payload = int((u.Data + u.Node + u.Deaths) / BlockSize)
	s.nodes = int((u.Node + u.Deaths) / BlockSize)
}
