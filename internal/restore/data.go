package restore

import (
	"errors"
	"io"

	"varve/internal/dump"
)

// errBroken: the rest of what a header announced cannot be had. The next header
// is to be looked for.
var errBroken = errors.New("the rest is missing")

// spanRecords is how many records of a map are read at a time.
const spanRecords = 512

// part returns how many of the next n records are at hand, at least one, and
// whether they are what they should be. rest is how many there are in all, up to
// the next header.
func (a *Archive) part(n, rest int) (k int, trusted bool, err error) {
	for {
		want := n * dump.RecordSize
		if n == rest {
			want += dump.RecordSize // the next header
		}
		b, err := a.s.peek(want)
		have := len(b) / dump.RecordSize
		switch {
		case err == nil:
			return n, n < rest || a.follows(b, n), nil
		case err != io.EOF && err != errGap:
			return 0, false, err
		case have > 0: // what is behind it is in another volume, or missing
			return min(n, have), err == errGap || a.scan(b) < 0, nil
		case err == errGap:
			return 0, false, errBroken
		}
		var cut *Damage
		if len(b) > 0 {
			a.s.skip(len(b))
			cut = a.damage(a.s.offset(), "the volume ends within a record")
		}
		if err := a.turnCut(rest, cut, true); err != nil {
			return 0, false, err
		}
	}
}

// follows reports whether n records at the beginning of b are those that were
// announced: whether the header behind them is where it should be, or if that is
// damaged, a later one is.
func (a *Archive) follows(b []byte, n int) bool {
	at := n * dump.RecordSize
	if h := a.valid(b[at:]); h != nil {
		return !a.counts || a.missing(h, n) == 0
	}
	if a.s.damaged(at, at+dump.RecordSize) {
		return true // nothing is missing: what is damaged is known
	}
	b, _ = a.s.peek(window / 2)
	at = a.scan(b)
	if at < n*dump.RecordSize || at%dump.RecordSize != 0 || !a.counts {
		return false
	}
	return a.missing(a.valid(b[at:]), at/dump.RecordSize) == 0
}

// resume goes back to where records that cannot be trusted begin, or to the first header
// among them, so that it is not taken for data.
func (a *Archive) resume(n int) {
	b, _ := a.s.peek((n + 1) * dump.RecordSize)
	if at := a.scan(b); at >= 0 {
		a.s.skip(at)
		return
	}
	a.s.skip(n * dump.RecordSize)
}

// records reads the n records that follow a header which has no addresses.
// errBroken: some are missing.
func (a *Archive) records(n int, fn func(p []byte) error) error {
	for n > 0 {
		k, trusted, err := a.part(min(n, spanRecords), n)
		if err != nil {
			return err
		}
		if !trusted {
			a.resume(k)
			return errBroken
		}
		if a.s.damaged(0, k*dump.RecordSize) {
			a.pass(k)
			return errBroken
		}
		b, _ := a.s.peek(k * dump.RecordSize)
		if err := fn(b); err != nil {
			return err
		}
		a.pass(k)
		n -= k
	}
	return nil
}

// blocksOf counts the blocks of n bytes.
func blocksOf(n uint64) uint64 { return (n + dump.RecordSize - 1) / dump.RecordSize }

// walk is the reading of the data of one header and of those that continue it.
type walk struct {
	a       *Archive
	h       *dump.Header
	size    uint64 // bytes of data
	ext     uint64 // bytes of extended attributes behind them
	block   uint64 // where the next record belongs: blocks
	runs    []dump.Run
	fn      func(off uint64, p []byte) error
	extFn   func(p []byte)
	lost    []Range
	extLost bool
}

// data reads the data of h: extFn gets what is behind them, without gaps. It
// returns what could not be read of the data, and whether all behind them could.
func (a *Archive) data(h *dump.Header, fn func(off uint64, p []byte) error, extFn func(p []byte)) (lost []Range, ext bool, err error) {
	w := &walk{a: a, h: h, size: h.Size, ext: uint64(h.ExtSize), fn: fn, extFn: extFn}
	if h.MetaOnly() {
		w.size = 0
	}
	total := blocksOf(w.size) + blocksOf(w.ext)
	for {
		err := w.span()
		if err == nil && w.block >= total {
			return w.lost, !w.extLost, nil
		}
		if err == nil {
			err = w.next()
		}
		if err == errBroken || err == io.EOF {
			w.lose(w.block, total)
			return w.lost, !w.extLost, nil
		}
		if err != nil {
			return w.lost, !w.extLost, err
		}
	}
}

// next finds the header with which the data goes on.
func (w *walk) next() error {
	a := w.a
	h, err := a.header()
	if err != nil {
		return err
	}
	if h.Type != dump.TypeAddr || h.Ino != w.h.Ino {
		a.ahead = h
		return errBroken
	}
	if a.jumped {
		a.h = *h
		return a.passOver(h) // which part of the file it is, nobody knows
	}
	w.h = h
	return nil
}

// passOver passes the data of a header that is not wanted, and says errBroken.
func (a *Archive) passOver(h *dump.Header) error {
	n := int(h.Count)
	if h.Type != dump.TypeBits && h.Type != dump.TypeClri {
		n, _ = h.Records()
	}
	err := a.records(n, func([]byte) error { return nil })
	if err == nil {
		err = errBroken
	}
	return err
}

// span reads the data that w.h announces. Where that is more than can be looked at in
// one go, pieces are handed on before it is known that none is missing, and made a hole
// again if one was.
func (w *walk) span() error {
	n, all := w.h.Records()
	runs := w.h.Runs(w.runs[:0])
	w.runs = runs
	begin, given := w.block, 0
	end := begin + uint64(all)
	for n > 0 {
		k, trusted, err := w.a.part(min(n, spanRecords), n)
		if err != nil {
			w.lose(w.block, end)
			w.block = end
			return err
		}
		b, _ := w.a.s.peek(k * dump.RecordSize)
		if !trusted || k < n && w.a.headerIn(b) {
			return w.doubt(begin, end, given, k)
		}
		if runs, err = w.deliver(b, runs); err != nil {
			return err
		}
		w.a.pass(k)
		n, given = n-k, given+k
	}
	w.block = end // holes
	return nil
}

// headerIn reports whether one of the records is the next header.
func (a *Archive) headerIn(b []byte) bool {
	for ; len(b) > 0; b = b[dump.RecordSize:] {
		if a.valid(b[:dump.RecordSize]) != nil {
			return true
		}
	}
	return false
}

// doubt gives up the data of a header, of which so many records were handed on, and
// some of the next k are something else: where the missing ones were is not known.
func (w *walk) doubt(begin, end uint64, given, k int) error {
	block := begin
	for _, r := range w.h.Runs(nil) {
		if r.Data {
			n := min(r.N, given)
			if err := w.unmake(block*dump.RecordSize, min((block+uint64(n))*dump.RecordSize, w.size)); err != nil {
				return err
			}
			if given -= n; given == 0 {
				break
			}
		}
		block += uint64(r.N)
	}
	w.lose(begin, end)
	w.block = end
	w.a.resume(k)
	return nil
}

// unmake hands on zeros in place of data that were handed on.
func (w *walk) unmake(off, to uint64) error {
	zeros := make([]byte, 64<<10)
	for off < to {
		n := min(uint64(len(zeros)), to-off)
		if err := w.fn(off, zeros[:n]); err != nil {
			return err
		}
		off += n
	}
	return nil
}

// deliver hands on the records in b, which are those of the first runs, and returns
// the runs that are left.
func (w *walk) deliver(b []byte, runs []dump.Run) ([]dump.Run, error) {
	for at := 0; at < len(b); {
		for !runs[0].Data {
			w.block += uint64(runs[0].N)
			runs = runs[1:]
		}
		most := min(runs[0].N, (len(b)-at)/dump.RecordSize)
		bad, n := w.a.s.damaged(at, at+most*dump.RecordSize), most
		if bad {
			bad, n = w.a.s.damaged(at, at+dump.RecordSize), 1
			for n < most && w.a.s.damaged(at+n*dump.RecordSize, at+(n+1)*dump.RecordSize) == bad {
				n++
			}
		}
		if bad {
			w.lose(w.block, w.block+uint64(n))
			if err := w.a.hurt(w.a.s.offset()+int64(at), "%d records are in a block that cannot be decompressed", n); err != nil {
				return nil, err
			}
		} else if err := w.give(b[at : at+n*dump.RecordSize]); err != nil {
			return nil, err
		}
		at, w.block = at+n*dump.RecordSize, w.block+uint64(n)
		if runs[0].N -= n; runs[0].N == 0 {
			runs = runs[1:]
		}
	}
	return runs, nil
}

// give hands on data that belongs at w.block.
func (w *walk) give(p []byte) error {
	dataBlocks := blocksOf(w.size)
	if w.block < dataBlocks {
		n := min(uint64(len(p)), (dataBlocks-w.block)*dump.RecordSize)
		off := w.block * dump.RecordSize
		end := min(n, w.size-off)
		if w.h.Exact && w.h.Special&dump.TailHole != 0 && off+end == w.size {
			end = n - dump.RecordSize
		}
		if end > 0 {
			if err := w.fn(off, p[:end]); err != nil {
				return err
			}
		}
		p = p[n:]
	}
	if len(p) > 0 && w.extFn != nil {
		w.extFn(p)
	}
	return nil
}

// lose notes that blocks [from, to) could not be read.
func (w *walk) lose(from, to uint64) {
	dataBlocks := blocksOf(w.size)
	if to > dataBlocks && dataBlocks+blocksOf(w.ext) > from && w.ext > 0 {
		w.extLost = true
	}
	r := Range{from * dump.RecordSize, min(min(to, dataBlocks)*dump.RecordSize, w.size)}
	if r.From >= r.To {
		return
	}
	if n := len(w.lost); n > 0 && w.lost[n-1].To == r.From {
		w.lost[n-1].To = r.To
		return
	}
	w.lost = append(w.lost, r)
}
