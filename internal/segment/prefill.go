package segment

// A sync into blocks that were never written also has to commit what the file
// system knows of them, which takes as long again. So where syncs are many and
// small, the blocks ahead of them are filled with zeros in the background:
//
//	current segment  | frames | open frame, at most MaxFrame | filled | next ...
//
// Once it has begun, the open frame moves over what is filled.
type prefill struct {
	credit int // see pays
	next   int // blocks from here on may never have been written
}

const (
	smallSync  = 16   // blocks; a sync of more does not suffer much
	wantCredit = 512  // blocks
	maxCredit  = 1024 // blocks
	aheadOf    = 1024 // blocks beyond the open frame that are filled
)

// sealed is told of each frame, and synced of each that was written by a sync
// of its own. mu is held.
func (p *prefill) sealed(blocks int) { p.credit = max(0, p.credit-blocks) }
func (p *prefill) synced()           { p.credit = min(maxCredit, p.credit+smallSync) }

// pays reports whether the log has been taking small syncs lately: more than
// one for each smallSync blocks. mu is held.
func (p *prefill) pays() bool { return p.credit >= wantCredit }

// prefillFrom returns the first block to fill. Sealed frames and the open one
// end before it. mu is held.
func (l *Log) prefillFrom() int { return max(l.room.prefill.next, l.openBlock+l.frameBlocks) }

// wantPrefill reports whether there is something to fill. mu is held.
func (l *Log) wantPrefill() bool {
	from := l.prefillFrom()
	return l.room.prefill.pays() && from < l.segBlocks && from <= l.openBlock+aheadOf && !l.closing
}

// fillAhead fills as much as a frame can have. A failure means nothing: nobody
// has been promised these blocks. mu is held, and let go meanwhile; nobody else
// fills.
func (l *Log) fillAhead() {
	p := &l.room.prefill
	seg, from := l.openSeg, l.prefillFrom()
	to := min(from+l.opts.MaxFrame, l.segBlocks)
	buf := l.buffers.get()
	err := l.zero(seg, from, buf[:(to-from)*BlockSize])
	l.buffers.put(buf)
	l.stats.Prefilled += int64(to-from) * BlockSize
	if seg == l.openSeg {
		p.next = to
		if err != nil {
			l.opts.Logger.Warn("writing ahead", "segment", seg, "err", err)
			p.next = l.segBlocks
		}
	}
}
