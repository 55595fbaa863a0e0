package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"varve/internal/fail"
	"varve/internal/inode"
	"varve/internal/segment"
	"varve/internal/tree"
)

// Span is a part of what a read returned: so many bytes of data or of hole.
type Span struct {
	Len  uint64
	Hole bool
}

// scanner is a tree or a version of one.
type scanner interface {
	ScanOver(floor, lo, hi tree.Key, fn func(k tree.Key, v []byte) bool) error
}

// run is a piece of a read: n blocks from block on lie at addr.
type run struct {
	ino, block, addr, n uint64
	crc                 int // index into reader.crc
}

// reader is the memory of one read, pooled. lo and hi are the blocks wanted.
type reader struct {
	runs   []run
	crc    []uint32
	bounce []byte
	lo, hi uint64
	bad    error
	visit  func(k tree.Key, v []byte) bool // bound once: no closure per read
}

var readers = sync.Pool{New: func() any {
	r := &reader{bounce: make([]byte, BlockSize)}
	r.visit = r.add
	return r
}}

// find notes the runs of the blocks [lo, hi) of file ino.
func (r *reader) find(t scanner, ino, lo, hi uint64) error {
	r.runs, r.crc, r.lo, r.hi, r.bad = r.runs[:0], r.crc[:0], lo, hi, nil
	if err := t.ScanOver(blockKey(ino, chunkStart(lo)), blockKey(ino, lo), blockKey(ino, hi), r.visit); err != nil {
		return err
	}
	return r.bad
}

func (r *reader) add(k tree.Key, v []byte) bool {
	x, err := parseExtent(k, v)
	if err != nil {
		r.bad = err
		return false
	}
	from, to := max(x.block, r.lo), min(x.end(), r.hi)
	if from >= to {
		return true
	}
	x = x.part(from, to)
	crc := len(r.crc)
	for i := 0; i < len(x.crc); i += 4 {
		r.crc = append(r.crc, binary.LittleEndian.Uint32(x.crc[i:]))
	}
	if n := len(r.runs); n > 0 {
		if last := &r.runs[n-1]; last.block+last.n == x.block && last.addr+last.n == x.addr {
			last.n += x.count
			return true
		}
	}
	r.runs = append(r.runs, run{ino: x.ino, block: x.block, addr: x.addr, n: x.count, crc: crc})
	return true
}

// fill reads the bytes [off, off+len(p)) by the runs that find noted.
// Without wait it returns false where the disk would have to be waited for.
func (r *reader) fill(e *Engine, p []byte, off uint64, spans *[]Span, wait bool) (bool, error) {
	at := off
	for i := range r.runs {
		x := &r.runs[i]
		start := max(x.block*BlockSize, off)
		end := min((x.block+x.n)*BlockSize, off+uint64(len(p)))
		clear(p[at-off : start-off])
		addSpan(spans, start-at, true)
		ok, err := r.fillRun(e, x, p[start-off:end-off], start-x.block*BlockSize, wait)
		if !ok || err != nil {
			return ok, err
		}
		addSpan(spans, end-start, false)
		at = end
	}
	clear(p[at-off:])
	addSpan(spans, off+uint64(len(p))-at, true)
	return true, nil
}

// fillRun reads p from the run, skip bytes after its start: whole blocks
// straight into p, the edges by way of a bounce block.
func (r *reader) fillRun(e *Engine, x *run, p []byte, skip uint64, wait bool) (bool, error) {
	block := skip / BlockSize
	for len(p) > 0 {
		in := skip % BlockSize
		dst := p[:len(p)/BlockSize*BlockSize]
		if in != 0 || len(dst) == 0 {
			dst = r.bounce
		}
		a := segment.Addr(x.addr + block)
		if ok, err := e.readData(a, dst, wait); !ok || err != nil {
			return ok, err
		}
		if err := e.verify(a, dst, r.crc[x.crc+int(block):], x.ino, x.block+block); err != nil {
			return true, err
		}
		n := len(dst)
		if in != 0 || len(p) < BlockSize {
			n = copy(p, dst[in:])
		}
		p, skip = p[n:], skip+uint64(n)
		block = skip / BlockSize
	}
	return true, nil
}

// unreadable reports whether err says that something is damaged, or that the disk
// does not give it: what lies elsewhere may be well.
func unreadable(err error) bool { return fail.Is(err, fail.Corrupt) || fail.Is(err, fail.IO) }

func (e *Engine) readData(a segment.Addr, p []byte, wait bool) (bool, error) {
	if !wait {
		return e.log.TryReadAt(a, p)
	}
	return true, e.readBlocks(a, p)
}

// verify checks each block of p, which was read from a, against its checksum.
func (e *Engine) verify(a segment.Addr, p []byte, crc []uint32, ino, block uint64) error {
	for i := 0; i*BlockSize < len(p); i++ {
		if segment.Checksum(p[i*BlockSize:(i+1)*BlockSize]) != crc[i] {
			e.quarantined.Add(1)
			err := fail.New(fail.Corrupt, "segment %d block %d (%s block %d): checksum mismatch", a.Segment(), a.Block()+uint32(i), owner(ino), block+uint64(i)).
				WithHint("varve check --data finds all damage")
			e.logger.Error("damaged payload is not served", "err", err)
			return err
		}
	}
	return nil
}

// owner names a file for people: a volume is the file without a number.
func owner(ino uint64) string {
	if ino == 0 {
		return "volume"
	}
	return fmt.Sprintf("inode %d", ino)
}

func addSpan(s *[]Span, n uint64, hole bool) {
	if s == nil || n == 0 {
		return
	}
	if k := len(*s); k > 0 && (*s)[k-1].Hole == hole {
		(*s)[k-1].Len += n
		return
	}
	*s = append(*s, Span{Len: n, Hole: hole})
}

func blockRange(off uint64, n int) (lo, hi uint64) {
	return off / BlockSize, (off + uint64(n) + BlockSize - 1) / BlockSize
}

// source is an image that can be read: the head of a dataset, or a view.
type source interface {
	// find notes in r where the blocks [lo, hi) of file ino are. *tree.Miss.
	// judge, which may be nil, sees the same state, and may refuse.
	find(r *reader, ino, lo, hi uint64, judge func(inode.Reader) error) error
}

func (d *dataset) find(r *reader, ino, lo, hi uint64, judge func(inode.Reader) error) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if judge != nil {
		if err := judge(d.head.tree); err != nil {
			return err
		}
	}
	return r.find(d.head.tree, ino, lo, hi)
}

// read serves the bytes [off, off+len(p)) of file ino of s.
// spans, if not nil, gets the map of what was read. Without wait it returns
// false where the disk would have to be waited for.
func (e *Engine) read(s source, ino uint64, p []byte, off uint64, spans *[]Span, wait bool) (bool, error) {
	r := readers.Get().(*reader)
	defer readers.Put(r)
	lo, hi := blockRange(off, len(p))
	for {
		err := s.find(r, ino, lo, hi, nil)
		if err == nil {
			return e.fill(r, p, off, spans, wait)
		}
		var miss *tree.Miss
		if !errors.As(err, &miss) {
			return true, err
		}
		if !wait {
			return false, nil
		}
		if err := e.cache.Load(miss); err != nil {
			return true, err
		}
	}
}

// fill is reader.fill for a client, who may be back for what lies nearby.
func (e *Engine) fill(r *reader, p []byte, off uint64, spans *[]Span, wait bool) (ok bool, err error) {
	if wait {
		r.prefetch(e)
		return r.fill(e, p, off, spans, true)
	}
	if r.fresh(e) {
		return false, nil
	}
	switch ok, err = r.fill(e, p, off, spans, false); {
	case err != nil:
	case ok:
		e.around.hit()
	default:
		r.missed(e)
	}
	return ok, err
}

// readJudged reads what judge says of file ino into p, both of one state. judge
// may be run several times. Without wait ok is false where the disk would have
// to be waited for.
func (e *Engine) readJudged(s source, ino uint64, p []byte, off uint64, wait bool, judge func(inode.Reader) (n int, err error)) (n int, ok bool, err error) {
	r := readers.Get().(*reader)
	defer readers.Put(r)
	lo, hi := blockRange(off, len(p))
	for {
		err := s.find(r, ino, lo, hi, func(t inode.Reader) (err error) {
			n, err = judge(t)
			return err
		})
		if err == nil {
			break
		}
		var miss *tree.Miss
		if !wait && errors.As(err, &miss) {
			return 0, false, nil
		}
		if !e.loaded(&err) {
			return 0, true, err
		}
	}
	if ok, err = e.fill(r, p[:n], off, nil, wait); !ok || err != nil {
		return 0, ok, err
	}
	return n, true, nil
}

// ReadAt fills p from the head at byte off; holes read as zeros. spans, if not
// nil, gets the map of p appended. Corrupt names damaged blocks, which are
// never served.
func (h *Head) ReadAt(p []byte, off uint64, spans *[]Span) error {
	_, err := h.e.read(h.d, 0, p, off, spans, true)
	return err
}

// TryReadAt is ReadAt that never waits for the disk; false: it would have to,
// p and spans hold nothing of use.
func (h *Head) TryReadAt(p []byte, off uint64, spans *[]Span) (bool, error) {
	return h.e.read(h.d, 0, p, off, spans, false)
}

// readBlock reads one whole block for a merge and returns its address, for
// Expect.
func (h *Head) readBlock(ino, block uint64, p []byte) (addr uint64, err error) {
	r := readers.Get().(*reader)
	defer readers.Put(r)
	if err := h.locate(r, ino, block, block+1); err != nil {
		return 0, err
	}
	if len(r.runs) > 0 {
		addr = r.runs[0].addr
	}
	_, err = r.fill(h.e, p, block*BlockSize, nil, true)
	return addr, err
}

// locate notes in r where the blocks [lo, hi) of file ino are, and waits for the
// nodes that this takes.
func (h *Head) locate(r *reader, ino, lo, hi uint64) error {
	for {
		err := h.d.find(r, ino, lo, hi, nil)
		if !h.e.loaded(&err) {
			return err
		}
	}
}

// Size returns the volume's size in bytes.
func (h *Head) Size() uint64 {
	h.d.mu.RLock()
	defer h.d.mu.RUnlock()
	return h.d.head.size
}

// Flush returns when every operation so far, of any client, is durable.
func (h *Head) Flush() error { return h.e.Flush() }
