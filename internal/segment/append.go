package segment

import "varve/internal/fail"

// Piece is a run of payload blocks that stays together: it is never split
// over frames.
type Piece struct {
	Kind Kind     // Data, Node or Deaths
	Data []byte   // n blocks, 1 <= n <= Log.MaxPiece
	CRC  []uint32 // Checksum of each block
	Addr Addr     // of the first block; set by Append
}

// Record encodes one operation.
type Record interface {
	// AppendRecord appends the bytes of the operation to dst, at most
	// Log.MaxRecord. It is called under the log's lock, after the pieces have
	// their addresses, and must not block. frame is the sequence number of
	// the frame that the record goes into: an encoder that keeps a dictionary
	// resets it when frame changes. It may be called again by the same Append
	// when the first result did not fit, with a higher frame; only the last
	// counts. now is the time of the operation: Unix nanoseconds, never
	// falling.
	AppendRecord(dst []byte, lsn uint64, frame uint64, now int64) []byte
}

// Append copies the pieces into the open frame, sets their Addr, then appends
// the record and returns the LSN it got: one more than the last. rec may be
// nil (tree nodes, death pages): lsn 0. A piece lies in one frame; the pieces
// of one call may lie in several, and the record in the last of them or a
// later one. Nothing is durable, or written, on return.
//
// The blocks must have been admitted: Append uses as many as the pieces have,
// and one if there are none. With that it does no I/O and does not wait.
//
// Errors: FailStopped, Canceled after Close; Invalid or TooBig for pieces or a
// record that no frame can take. With any of them no operation was logged.
func (l *Log) Append(pieces []Piece, rec Record) (lsn uint64, err error) {
	return l.AppendIn(nil, pieces, rec)
}

// AppendIn is Append of pieces that lie in memory that the log has lent, from
// its second block on. Many blocks are not copied: the memory becomes their
// frame, which is sealed at once, and m is the log's then, also where an error
// is returned. m may be nil.
func (l *Log) AppendIn(m *Memory, pieces []Piece, rec Record) (lsn uint64, err error) {
	used := 0
	for i := range pieces {
		if err := l.checkPiece(&pieces[i]); err != nil {
			return 0, err
		}
		used += len(pieces[i].CRC)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refusal(); err != nil {
		return 0, err
	}
	adopted := l.adopt(m, pieces, used)
	if !adopted {
		if err := l.copyIn(pieces); err != nil {
			return 0, err
		}
	}
	if rec != nil {
		if lsn, err = l.logRecord(rec); err != nil {
			return 0, err
		}
	}
	if adopted {
		l.sealOps()
	}
	l.room.held = max(0, l.room.held-max(1, used))
	return lsn, nil
}

func (l *Log) checkPiece(p *Piece) error {
	switch n := len(p.CRC); {
	case n > l.maxPiece:
		return fail.New(fail.TooBig, "a piece has at most %d blocks, not %d", l.maxPiece, n)
	case n == 0 || len(p.Data) != n*BlockSize:
		return fail.New(fail.Invalid, "a piece of %d bytes with %d checksums", len(p.Data), n)
	case p.Kind != Data && p.Kind != Node && p.Kind != Deaths:
		return fail.New(fail.Invalid, "no piece is of kind %s", p.Kind)
	}
	return nil
}

// copyIn copies pieces into the open frame and those that follow. mu is held,
// and let go if advance has to wait.
func (l *Log) copyIn(pieces []Piece) error {
	for i := range pieces {
		p := &pieces[i]
		for !l.fits(len(p.CRC), -1) {
			if err := l.advance(); err != nil {
				return err
			}
		}
		l.place(p)
	}
	return nil
}

// place copies a piece that fits into the open frame. mu is held.
func (l *Log) place(p *Piece) {
	l.fill()
	at := 1 + l.payload
	copy(l.openBuf[at*BlockSize:], p.Data)
	p.Addr = l.openAddr() + Addr(at)
	l.payload += len(p.CRC)
	l.sum.addBlocks(p.Kind, p.CRC)
	l.grow(int64(len(p.Data)))
}

// logRecord encodes rec into the open frame, or into a later one if it does
// not fit. An encoding is good only for the frame and LSN it was made for, so
// each try encodes anew. mu is held, and let go if advance has to wait.
func (l *Log) logRecord(rec Record) (uint64, error) {
	now := l.tick()
	for {
		lsn := l.lastLSN + 1
		l.scratch = rec.AppendRecord(l.scratch[:0], lsn, l.openSeq, now)
		if n := len(l.scratch); n > l.maxRecord {
			return 0, fail.New(fail.TooBig, "a record has at most %d bytes, not %d", l.maxRecord, n)
		}
		if l.fits(0, len(l.scratch)) {
			l.fill()
			l.sum.addRecord(l.scratch)
			l.lastLSN = lsn
			return lsn, nil
		}
		if err := l.advance(); err != nil {
			return 0, err
		}
		now = l.tick()
	}
}

// tick returns the time: the clock's, but always more than before: clients tell
// states of a file apart by it. mu is held.
func (l *Log) tick() int64 {
	l.lastTime = max(l.lastTime+1, l.opts.Now().UnixNano())
	return l.lastTime
}

// openAddr returns where the open frame is. In a full segment it is the first
// address beyond it. mu is held.
func (l *Log) openAddr() Addr { return MakeAddr(l.openSeg, 0) + Addr(l.openBlock) }

// empty reports whether the open frame holds nothing. mu is held.
func (l *Log) empty() bool { return l.openBuf == nil }

// fill gives the open frame memory when it gets its first content. mu is held.
func (l *Log) fill() {
	if l.openBuf == nil {
		l.openBuf = l.buffers.get()
		l.grow(BlockSize)
	}
}

// grow counts bytes that have come to the log's memory. mu is held.
func (l *Log) grow(n int64) {
	l.unwritten += n
	l.unsynced += n
}

// fits reports whether blocks of payload and a record of n bytes (n < 0: none)
// have room in the open frame. mu is held.
func (l *Log) fits(blocks, n int) bool {
	limit := min(l.openLimit, l.segBlocks-l.openBlock)
	return 1+l.payload+blocks+summaryBlocks(l.sum.size(blocks, n)) <= limit
}

// advance takes one step towards a frame with room: it seals the open frame
// if that holds anything, else it goes to the next segment, else it waits for
// one, which admission makes all but impossible. The caller checks everything
// again. mu is held, and let go while waiting.
func (l *Log) advance() error {
	switch {
	case !l.empty():
		l.seal(FrameOps, [16]byte{})
		l.work.Signal()
	case len(l.room.ready) > 0:
		l.enterSegment()
	default:
		return l.awaitSegment()
	}
	return nil
}

// seal ends the open frame: it gets its summary and header, and its place in
// the chain. prev is the incarnation before, of an opening frame. mu is held.
func (l *Log) seal(kind FrameKind, prev [16]byte) {
	l.fill()
	n := l.sum.length()
	h := header{
		kind: kind, pool: l.opts.PoolID, incarnation: l.incarnation, prevIncarnation: prev,
		addr: l.openAddr(), epoch: l.opts.Epoch, seq: l.openSeq, through: l.durable,
		lastSuper: l.lastSuper, firstLSN: l.lastLSN + 1 - uint64(l.sum.ops), time: l.tick(),
		ops: l.sum.ops, payload: l.payload, summary: n, prevCRC: l.last.HeaderCRC,
	}
	if kind == FrameSuper {
		h.through = h.seq - 1 // SuperRoot writes it only when that has become true
	}
	blocks := h.blocks()
	space := l.openBuf[headerSize:BlockSize]
	if summaryBlocks(n) > 0 {
		clear(space)
		space = l.openBuf[(1+l.payload)*BlockSize : blocks*BlockSize]
	}
	l.sum.encode(space[:n])
	clear(space[n:])
	h.summaryCRC = Checksum(space[:n])
	h.encode(l.openBuf)

	l.grow(int64(blocks-1-l.payload) * BlockSize) // the header block was counted by fill
	l.queue.push(sealedFrame{
		seq: h.seq, addr: h.addr, blocks: blocks, lastLSN: l.lastLSN, buf: l.openBuf[:blocks*BlockSize],
	})
	l.count(&h)
	l.last, l.lastKind = h.position(), kind
	l.openSeq++
	l.openBlock += blocks
	l.room.prefill.sealed(blocks)
	l.openBuf, l.payload, l.openLimit = nil, 0, l.opts.MaxFrame
	l.sum.reset()
	if l.wantAhead() {
		l.room.wanted.Signal()
	}
}

// Cut seals the open frame if it holds anything and returns the position of
// the last sealed frame: the frame after it holds the first operation after
// this moment. Nothing becomes durable.
func (l *Log) Cut() Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sealOps()
	return l.last
}

// sealOps seals the open frame if it holds anything. mu is held.
func (l *Log) sealOps() {
	if !l.empty() && !l.stopped {
		l.seal(FrameOps, [16]byte{})
		l.work.Signal()
	}
}
