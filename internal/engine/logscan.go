package engine

import (
	"context"
	"encoding/binary"
	"runtime"
	"sync/atomic"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/segment"
)

// A logScan reads a stretch of the log for a query, in a pipeline:
//
//	reader    walks the frames in order, verifies them, copies their records
//	          into batches, and leaves out segments whose digest rules them out;
//	          before it some hands have what it will need read (readAhead)
//	decoders  decode a batch each, keep what may be wanted, digest the rest
//	caller    takes the batches in the order of the log
//
// Batches are few and reused, so memory is bounded, and a slow caller slows the
// reader down. No lock is held.
type logScan struct {
	e        *Engine
	q        *LogQuery
	id       uint64 // of the dataset; 0: of all
	from, to uint64 // operations of (from, to]
	lost     losses
	end      segment.Position

	free, work, order chan *logBatch
	naming            atomic.Bool // paths are followed: what binds names may not be left out lightly
	reading           *logBatch   // the reader's,
	known             bool        // and whether the segment that it reads has a digest
	leap              leaper
}

// Sizes of the pipeline. A batch is one frame, or several small ones.
const (
	batches      = 8
	batchRecords = 128 << 10 // bytes, from which on a batch is full
)

// logBatch is some frames of one segment on their way.
type logBatch struct {
	seg     uint64
	frames  []frameRecords
	records []byte
	ops     []oplog.Op // decoded: those that may be wanted
	wanted  []bool     // the same
	digest  oplog.Digest
	extents []oplog.Extent // what ops point to
	crcs    []uint32
	err     error
	last    segment.Position // of the last frame
	first   bool             // begins with the segment's first frame
	known   bool             // the segment has a digest
	left    bool             // nothing here, but what binds names was left out before the next
	done    chan struct{}
}

type frameRecords struct {
	firstLSN   uint64
	ops        int
	start, end int // in records
}

func (b *logBatch) reset() {
	*b = logBatch{frames: b.frames[:0], records: b.records[:0], ops: b.ops[:0], wanted: b.wanted[:0],
		extents: b.extents[:0], crcs: b.crcs[:0], done: b.done}
}

// run visits the operations until fn fails or the stretch ends. fn runs in the
// caller's goroutine.
func (s *logScan) run(ctx context.Context, from segment.Position) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.free, s.work, s.order = make(chan *logBatch, batches), make(chan *logBatch, batches), make(chan *logBatch, batches)
	for range batches {
		s.free <- &logBatch{done: make(chan struct{}, 1)}
	}
	decoders := max(1, min(4, runtime.GOMAXPROCS(0)))
	for range decoders {
		go func() {
			dec := oplog.Decoder{NoRequests: true}
			for b := range s.work {
				b.err = s.decode(&dec, b)
				b.done <- struct{}{}
			}
		}()
	}
	read := make(chan error, 1)
	go func() {
		err := s.read(ctx, from)
		close(s.work)
		close(s.order)
		read <- err
	}()
	err := s.consume(ctx)
	cancel()
	for b := range s.order { // what is on its way
		<-b.done
		s.free <- b
	}
	if readErr := <-read; err == nil {
		err = readErr
	}
	return err
}

// read walks the frames.
func (s *logScan) read(ctx context.Context, from segment.Position) error {
	if err := s.e.storeHas(s.to); err != nil {
		return err
	}
	ahead := newReadAhead(ctx, s, from.Addr.Segment())
	pass := func(seg uint64) (segment.Position, bool) {
		ahead.reached(seg)
		return s.pass(ctx, seg)
	}
	err := segment.ReadPast(s.e.store, s.e.super.pool, from, s.to, pass, func(f *segment.Frame) error {
		if err := s.room(ctx, f.Position.Addr); err != nil {
			return err
		}
		b := s.reading
		start := len(b.records)
		b.records = append(b.records, f.RecordBytes()...)
		b.frames = append(b.frames, frameRecords{f.FirstLSN, f.NumOps, start, len(b.records)})
		b.last, s.end = f.Position, f.Position
		if len(b.records) >= batchRecords {
			s.send()
		}
		return nil
	})
	s.send()
	return err
}

// room makes sure that there is a batch for a frame.
func (s *logScan) room(ctx context.Context, at segment.Addr) error {
	if s.reading != nil && s.reading.seg != at.Segment() {
		s.send()
	}
	if s.reading != nil {
		return nil
	}
	select {
	case b := <-s.free:
		b.reset()
		if b.seg, b.first = at.Segment(), at.Block() == 0; b.first {
			_, s.known = s.e.digests.get(b.seg)
		}
		b.known = s.known
		s.reading = b
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *logScan) send() {
	if b := s.reading; b != nil {
		s.order <- b
		s.work <- b
		s.reading = nil
	}
}

// pass says whether a segment can be left out. Where paths are followed, one in
// which names change is read all the same, unless many in a row can be left
// out: then looking up the names anew behind them costs less.
func (s *logScan) pass(ctx context.Context, seg uint64) (segment.Position, bool) {
	last, names, ok := s.leap.over(s, seg)
	if !ok || !names {
		return last, ok
	}
	if s.naming.Load() && s.leap.ahead < manySegments {
		return last, false
	}
	s.send()
	if s.room(ctx, segment.MakeAddr(seg, 0)) != nil {
		return last, false
	}
	s.reading.first, s.reading.left = false, true
	s.send()
	return last, true
}

// decode reads the records of a batch and keeps what may be wanted.
func (s *logScan) decode(dec *oplog.Decoder, b *logBatch) error {
	var op oplog.Op
	text := string(b.records) // one copy for all names
	for _, f := range b.frames {
		dec.Reset()
		rest, at := b.records[f.start:f.end], f.start
		for i := range f.ops {
			n, k := binary.Uvarint(rest)
			if k <= 0 || n > uint64(len(rest)-k) {
				return fail.New(fail.Corrupt, "the records from lsn %d on make no sense", f.firstLSN)
			}
			lsn := f.firstLSN + uint64(i)
			if err := dec.DecodeText(rest[k:k+int(n)], text[at+k:at+k+int(n)], lsn, &op); err != nil {
				return err
			}
			rest, at = rest[k+int(n):], at+k+int(n)
			if !b.known {
				b.digest.Add(&op)
			}
			s.keep(b, &op)
		}
	}
	return nil
}

// keep copies an operation into the batch if it is wanted, or binds names and
// that is asked for.
func (s *logScan) keep(b *logBatch, op *oplog.Op) {
	mine := s.id == 0 || op.Dataset == s.id || op.Source == s.id || op.Kind == oplog.Snapshot && op.Dataset == 0
	if op.LSN <= s.from || op.LSN > s.to || !mine || s.lost.has(op) {
		return
	}
	wanted := !(op.Kind == oplog.Drain && s.id != 0) && s.q.Filter.Match(op)
	if !wanted && !(s.q.Names && oplog.NameKinds.Has(op.Kind)) {
		return
	}
	b.ops, b.wanted = append(b.ops, *op), append(b.wanted, wanted)
	kept := &b.ops[len(b.ops)-1]
	kept.Extents = nil
	if s.q.Extents && wanted {
		for _, x := range op.Extents {
			at := len(b.crcs)
			b.crcs = append(b.crcs, x.CRC...)
			b.extents = append(b.extents, oplog.Extent{Addr: x.Addr, CRC: b.crcs[at:len(b.crcs):len(b.crcs)]})
		}
		n := len(b.extents)
		kept.Extents = b.extents[n-len(op.Extents) : n : n]
	}
}

// consume takes the batches in order.
func (s *logScan) consume(ctx context.Context) error {
	sum := segmentSum{e: s.e}
	for b := range s.order {
		<-b.done
		err := b.err
		if err == nil {
			err = s.take(ctx, b)
		}
		if err == nil && !b.left {
			sum.add(b)
		}
		s.free <- b
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *logScan) take(ctx context.Context, b *logBatch) error {
	if b.left {
		s.q.Left()
		return nil
	}
	for i := range b.ops {
		if b.wanted[i] && s.q.Names && !s.naming.Load() {
			s.naming.Store(true)
		}
		if err := s.q.visit(&b.ops[i], b.wanted[i]); err != nil {
			return err
		}
	}
	if s.q.Progress != nil && b.last.LastLSN > s.from {
		s.q.Progress(min(b.last.LastLSN, s.to)-s.from, s.to-s.from)
	}
	return ctx.Err()
}
