package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/oplog"
	"varve/internal/segment"
	"varve/internal/segstore"
	"varve/internal/segstore/mem"
	"varve/internal/vol"
	"varve/internal/when"
)

// syncCounter counts what a store is asked to make durable.
type syncCounter struct {
	segstore.Store
	syncs atomic.Int64
}

func (s *syncCounter) Sync(n uint64) error {
	s.syncs.Add(1)
	return s.Store.Sync(n)
}

func (s *syncCounter) WriteDurableAt(n uint64, p []byte, off int64) error {
	s.syncs.Add(1)
	return s.Store.WriteDurableAt(n, p, off)
}

// record is an operation that a test puts into the log by hand.
type record struct {
	op  *oplog.Op
	enc *oplog.Encoder
}

func (r record) AppendRecord(dst []byte, lsn, frame uint64, now int64) []byte {
	r.op.LSN, r.op.Time = lsn, now
	return r.enc.Append(dst, r.op, frame)
}

// mapBytes maps the first n bytes of a volume without writing them: crafted
// operations, the extents of which all lie at one piece of payload.
func mapBytes(t *testing.T, log *segment.Log, dataset, n uint64) {
	t.Helper()
	const extents = 480 // what a record has room for
	piece := []segment.Piece{{Kind: segment.Data, Data: make([]byte, oplog.MaxExtentBlocks*block), CRC: make([]uint32, oplog.MaxExtentBlocks)}}
	for i := range piece[0].CRC {
		piece[0].CRC[i] = segment.Checksum(piece[0].Data[:block])
	}
	enc := &oplog.Encoder{}
	for off := uint64(0); off < n; {
		op := &oplog.Op{Kind: oplog.Write, Dataset: dataset, Off: off}
		var pieces []segment.Piece
		if off == 0 { // the first operation brings the payload
			op.Len = oplog.MaxExtentBlocks * block
			pieces = piece
		}
		for pieces == nil && len(op.Extents) < extents && off+op.Len < n {
			op.Extents = append(op.Extents, oplog.Extent{Addr: uint64(piece[0].Addr), CRC: piece[0].CRC})
			op.Len += oplog.MaxExtentBlocks * block
		}
		const room = 20 // blocks, for a record of 64 KiB
		rec := segment.Record(record{op, enc})
		if err := log.Admit(oplog.MaxExtentBlocks+room, false); err != nil {
			t.Fatal(err)
		}
		if pieces != nil {
			if _, err := log.Append(pieces, nil); err != nil {
				t.Fatal(err)
			}
			op.Extents = []oplog.Extent{{Addr: uint64(pieces[0].Addr), CRC: pieces[0].CRC}}
			piece[0].Addr = pieces[0].Addr
		}
		if _, err := log.Append(nil, rec); err != nil {
			t.Fatal(err)
		}
		log.Release(oplog.MaxExtentBlocks + room - 1)
		off += op.Len
	}
}

// giants makes a pool with volumes of which so many bytes are mapped.
func giants(t *testing.T, mapped map[string]uint64) (*engine.Engine, *syncCounter) {
	t.Helper()
	store := &syncCounter{Store: mem.New(64<<20, 64<<30)}
	o := engine.Options{
		Store: store, CheckpointEvery: -1,
		Segment: func(o *segment.Options) { o.MarkerDelay = -1 },
	}
	c := newCrowd(t, o)
	ids := map[string]uint64{}
	for name := range mapped {
		if _, err := c.e.CreateVolume(tester, name, 1<<40); err != nil {
			t.Fatal(err)
		}
		info, err := c.e.Dataset(name)
		if err != nil {
			t.Fatal(err)
		}
		ids[name] = info.ID
	}
	if err := c.e.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	super, err := store.Superblock()
	if err != nil {
		t.Fatal(err)
	}
	pool := [16]byte(super[48:])
	root, err := segment.FindSuperRoot(store, pool)
	if err != nil {
		t.Fatal(err)
	}
	tail, err := segment.Scan(store, pool, root.Position, segment.ScanOptions{Attested: root.Seq}, func(*segment.Frame) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	log, err := segment.Resume(segment.Options{Store: store, PoolID: pool, MarkerDelay: -1}, tail)
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range mapped {
		mapBytes(t, log, ids[name], n)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	e, err := engine.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Abort)
	for name, n := range mapped {
		if info, err := e.Dataset(name); err != nil || info.Mapped != n {
			t.Fatalf("%s: %+v, %v", name, info, err)
		}
	}
	return e, store
}

// Snapshot, clone and rollback cost one flush of the log, however much the
// volume holds.
func TestConstantTime(t *testing.T) {
	sizes := map[string]uint64{"small": 1 << 30, "large": 100 << 30}
	e, store := giants(t, sizes)
	took := map[string]map[string]time.Duration{}
	for _, name := range []string{"small", "large", "small", "large"} {
		for what, d := range timeAll(t, e, store, name, sizes[name]) {
			if took[what] == nil {
				took[what] = map[string]time.Duration{}
			}
			if old, ok := took[what][name]; !ok || d < old {
				took[what][name] = d
			}
		}
	}
	for what, d := range took {
		t.Logf("%-32s 1 GiB: %8v   100 GiB: %8v", what, d["small"], d["large"])
		if d["large"] > 3*d["small"]+5*time.Millisecond {
			t.Errorf("%s takes %v of 100 GiB, %v of 1 GiB", what, d["large"], d["small"])
		}
	}
}

var serial atomic.Int64

// timeAll runs each operation several times and returns the median times.
func timeAll(t *testing.T, e *engine.Engine, store *syncCounter, name string, mapped uint64) map[string]time.Duration {
	t.Helper()
	snap := fmt.Sprintf("before%d", serial.Add(1))
	if _, err := e.Snapshot(tester, name, snap); err != nil {
		t.Fatal(err)
	}
	between := scatter(t, e, name, mapped)
	now, past := when.Spec{Kind: when.Now}, when.Spec{Kind: when.Snapshot, Name: snap}
	clone := func(at when.Spec) func() error {
		return func() error { return second(e.Clone(tester, name, at, fmt.Sprintf("c%d", serial.Add(1)))) }
	}
	rollback := func(at when.Spec) func() error {
		return func() error { return second(e.Rollback(tester, name, at, false)) }
	}
	out := map[string]time.Duration{}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"snapshot", func() error { return second(e.Snapshot(tester, name, fmt.Sprintf("s%d", serial.Add(1)))) }},
		{"clone of now", clone(now)},
		{"clone of a snapshot", clone(past)},
		{"clone between checkpoints", clone(between)},
		{"rollback to between checkpoints", rollback(between)},
		{"rollback to a snapshot", rollback(past)},
		{"rollback to now", rollback(now)},
	} {
		var times []time.Duration
		for range 5 {
			if err := e.Flush(); err != nil { // what others wrote is not to be counted
				t.Fatal(err)
			}
			before, start := store.syncs.Load(), time.Now()
			if err := step.do(); err != nil {
				t.Fatalf("%s of %s: %v", step.what, name, err)
			}
			times = append(times, time.Since(start))
			if n := store.syncs.Load() - before; n != 1 {
				t.Errorf("%s of %s took %d syncs", step.what, name, n)
			}
		}
		slices.Sort(times)
		out[step.what] = times[len(times)/2]
	}
	if err := e.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	return out
}

// scatter takes a checkpoint, then writes blocks all over a volume, and returns
// a moment in the middle of that.
func scatter(t *testing.T, e *engine.Engine, name string, mapped uint64) when.Spec {
	t.Helper()
	if err := e.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	v, err := vol.Open(e, name, nil, tester, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	rng := rand.New(rand.NewPCG(1, 1))
	middle := uint64(0)
	for i := range 400 {
		if err := v.WriteAt(make([]byte, block), rng.Uint64N(mapped/block)*block); err != nil {
			t.Fatal(err)
		}
		if i == 200 {
			middle = e.Status().LastLSN
		}
	}
	return atLSN(middle)
}
