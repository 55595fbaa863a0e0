package segment

// Memory is the memory of a frame, lent to who receives payload, so that a long
// write need not be copied into the log:
//
//	Before           | Payload
//	(block 0) ... P  | blocks 1 ...
//
// What precedes the payload on its way here, P, can end where it begins: both
// are received by one read. AppendIn takes the memory over if it can use it,
// and P is lost then: the header of the frame comes there. The zero Memory is
// nobody's. A Memory has one user at a time.
type Memory struct {
	log *Log
	buf []byte // nil: not ours any more
}

// Lend returns memory of the log for one write. Whoever lends bounds how much.
func (l *Log) Lend() Memory {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Memory{l, l.buffers.get()}
}

// Return gives the memory back, unless the log has it already.
func (m *Memory) Return() {
	if m.buf == nil {
		return
	}
	m.log.mu.Lock()
	defer m.log.mu.Unlock()
	m.log.buffers.put(m.buf)
	m.buf = nil
}

// Bytes returns all of the memory: a block, then room for payload, of as many
// blocks as a frame can have. It is nil when the log has taken it.
func (m *Memory) Bytes() []byte { return m.buf }

// holds reports whether the pieces fill m from its second block on, in order.
func (m *Memory) holds(pieces []Piece) bool {
	at := BlockSize
	for i := range pieces {
		p := pieces[i].Data
		if at+len(p) > len(m.buf) || &m.buf[at] != &p[0] {
			return false
		}
		at += len(p)
	}
	return true
}

// adopt makes m the open frame if the pieces of an Append, used blocks in all,
// lie in it as they would in a frame, and if that is worth one: at least half of
// the blocks that a frame usually has. It does not wait for a segment. What is
// left of the current one may be passed over: Admit counted each block twice.
// mu is held.
func (l *Log) adopt(m *Memory, pieces []Piece, used int) bool {
	if m == nil || m.buf == nil || 2*used < l.opts.MaxFrame || !m.holds(pieces) {
		return false
	}
	// The record names the blocks and their checksums once more.
	need := 1 + used + summaryBlocks(2*maxRun+8*used+512)
	if need > l.frameBlocks {
		return false
	}
	end := l.openBlock
	if !l.empty() {
		end += 1 + l.payload + summaryBlocks(l.sum.size(0, -1))
	}
	here := end+need <= l.segBlocks
	if !here && len(l.room.ready) == 0 {
		return false
	}
	l.sealOps()
	if !here {
		l.enterSegment()
	}
	l.openBuf, m.buf = m.buf, nil
	l.openLimit = l.frameBlocks
	l.grow(BlockSize)
	for i := range pieces {
		p := &pieces[i]
		p.Addr = l.openAddr() + Addr(1+l.payload)
		l.payload += len(p.CRC)
		l.sum.addBlocks(p.Kind, p.CRC)
		l.grow(int64(len(p.Data)))
	}
	l.stats.Adopted++
	return true
}
