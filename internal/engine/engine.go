// Package engine is the heart of varve: it turns operations into changes of
// trees (Apply), runs ranges of the log through that (Replay), and keeps
// checkpoints, snapshots, clones and the moments of history.
//
// Locks, in the order in which they are taken:
//
//	Engine.resizing  one change of the capacity
//	roomMaker.mu     one round of making room on a full pool
//	  Engine.draining  one step of emptying a dying list
//	  Engine.cleaning  one round of giving back space; takes the gate, never ckpt
//	Engine.ckpt      one checkpoint at a time; estates change under it alone
//	Engine.clients   attached front ends
//	Engine.gate      held shared by data operations, exclusively by operations
//	                 on the catalog and for the short pause of a checkpoint
//	viewCache.mu     which views are open; dropping one takes dataset.mu
//	dataset.mu       a head, its ledgers and pins; readers share it; of one
//	                 dataset at a time
//	  estate.mu        for who reads counters beside a checkpoint
//	  freeMap.mu, logReads.mu, Engine.touchMu
//	                   leaves
//	  segment.Log      its own, inside Append
//
// No disk is waited for while gate or dataset.mu is held: an operation that
// misses a tree node drops its locks, loads the node and begins again.
package engine

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/poolclock"
	"varve/internal/segment"
	"varve/internal/segstore"
	"varve/internal/tree"
)

// Options configures an Engine. Only Store is needed.
type Options struct {
	Store           segstore.Store
	Logger          *slog.Logger
	Now             func() time.Time
	Elapsed         func() time.Duration // since any moment, monotonic, suspended time included; default: by Now
	Rand            io.Reader
	CheckpointEvery time.Duration               // default 5 s; negative: nothing runs in the background, for tests
	CacheBytes      int64                       // memory for tree nodes; default 256 MiB
	BaseOps         uint64                      // operations between bases; default 250,000
	BaseAge         time.Duration               // time between bases; default 10 min
	KickTimeout     time.Duration               // for clients that a forced operation disconnects; default 10 s
	MaxFrame        int                         // blocks; 0: the log's default
	Scratch         func() (Scratch, error)     // makes an empty file for views of the past; nil: they stay in memory
	Progress        func(string)                // is told what Open is at, in words; it must not wait
	Observe         func(Timing, time.Duration) // is told what took how long, concurrently and under locks; it must not wait
	AcceptLoss      bool                        // open a damaged pool, giving up what follows the damage
	Segment         func(*segment.Options)
	Digests         func() (Scratch, error) // opens the file that keeps digests of segments, made if it is missing; nil: they stay in memory
}

func (o *Options) defaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.CheckpointEvery == 0 {
		o.CheckpointEvery = 5 * time.Second
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 256 << 20
	}
	if o.BaseOps == 0 {
		o.BaseOps = 250_000
	}
	if o.KickTimeout == 0 {
		o.KickTimeout = 10 * time.Second
	}
	if o.BaseAge == 0 {
		o.BaseAge = 10 * time.Minute
	}
}

// Engine is an open pool. Its methods are safe for concurrent use.
type Engine struct {
	opt    Options
	logger *slog.Logger
	store  segstore.Store
	super  superblock
	log    *segment.Log // nil while recovering, and in a read-only opening
	cache  *tree.Cache
	enc    oplog.Encoder // under the log's lock

	gate        sync.RWMutex
	datasets    map[uint64]*dataset
	names       map[string]*dataset // those that are there
	nextDataset uint64
	unmade      map[uint64]unmade   // in recovery: clones that AcceptLoss gives up
	mayGiveUp   bool                // in recovery: operations that cannot be repeated
	wouldGiveUp string              // in recovery: what AcceptLoss costs, where no older super root helps
	gaveUp      bool                // AcceptLoss gave up operations that are in the log
	records     map[tree.Key][]byte // changes of the pool tree since the last cut
	checkpoints []checkpointRecord

	clients sync.Mutex
	fenced  map[*dataset]bool // a forced rollback runs: nobody may attach

	touchMu     sync.Mutex
	touchedSets []*dataset

	ckpt         sync.Mutex
	pool         *tree.Tree  // under ckpt
	drops        []tree.Drop // of the pool tree, not yet in a super root
	died         []tree.Drop // named by the last super root, not yet in the map of free blocks
	space        freeMap
	freed        map[uint64][]uint64 // bits of the last checkpoint, which the store gets after the next
	floors       [2]segment.Position // where records begin that the last checkpoints need
	ends         map[*line]struct{}  // over, and not buried yet; under gate
	lastCkpt     atomic.Value        // checkpointRecord
	firstRecords atomic.Value        // segment.Position: of the oldest kept checkpoint
	lastBase     checkpointRecord
	outcome      atomic.Value // checkpointOutcome
	ckptWake     chan struct{}
	ckptLog      atomic.Int64 // log bytes at the last checkpoint

	views   viewCache
	scratch scratchSpace
	digests digests
	around  around

	verifier    writeVerifier
	recovery    Recovery
	lastTime    atomic.Int64     // of the last operation: Unix nanoseconds, 0 if none
	replayed    uint64           // while the log is not open: the last operation applied,
	replayPos   segment.Position // and the last frame before the next
	started     time.Time
	quarantined atomic.Int64
	broken      atomic.Pointer[fail.Error]
	opened      time.Duration // age of the pool when it was opened
	clock       *poolclock.Clock
	behind      time.Duration // what was confirmed: how far the machine's clock is behind
	reads       logReads
	room        roomMaker
	resizing    sync.Mutex     // one change of the capacity at a time
	draining    sync.Mutex     // one step at a time
	cleaning    sync.Mutex     // one round of giving back space at a time
	asked       atomic.Int32   // who wait for a round that they asked for
	needy       atomic.Bool    // free space is between the watermarks, and was below the low one
	warned      map[string]int // threshold last logged, by dataset and limit; the retainer's
	cleaned     cleanerTotals
	stuck       map[uint64]struct{} // damaged segments, which are not moved; under cleaning
	moreToDo    atomic.Bool         // the next checkpoint has something to do though nothing was logged
	closing     chan struct{}
	closeOnce   sync.Once
	background  sync.WaitGroup
	drainWake   chan struct{}
	retainWake  chan struct{}
	cleanWake   chan struct{}
	checks      checks // guarded by gate
}

// wake wakes who waits for c, which has room for one, or will. It does not wait.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// woken waits until somebody wakes c; false: the pool is closed.
func (e *Engine) woken(c <-chan struct{}) bool {
	select {
	case <-e.closing:
		return false
	case <-c:
		return true
	}
}

func newEngine(o Options) *Engine {
	o.defaults()
	e := &Engine{
		opt: o, logger: o.Logger, store: o.Store, started: o.Now(),
		datasets: make(map[uint64]*dataset), names: make(map[string]*dataset), nextDataset: 1,
		records: make(map[tree.Key][]byte), fenced: make(map[*dataset]bool),
		space: newFreeMap(), ends: make(map[*line]struct{}), warned: make(map[string]int), stuck: make(map[uint64]struct{}), ckptWake: make(chan struct{}, 1), drainWake: make(chan struct{}, 1), retainWake: make(chan struct{}, 1), cleanWake: make(chan struct{}, 1), closing: make(chan struct{}),
	}
	e.clock = poolclock.New(poolclock.Options{Wall: e.opt.Now, Elapsed: e.opt.Elapsed})
	e.lastCkpt.Store(checkpointRecord{})
	e.around.credit.Store(maxCredit)
	e.cache = tree.NewCache(nodeSource{e}, o.CacheBytes)
	e.scratch.open = o.Scratch
	return e
}

// nodeSource reads tree nodes from the log.
type nodeSource struct{ e *Engine }

func (s nodeSource) ReadNode(addr uint64, page []byte) error {
	if addr&scratchBit != 0 {
		return s.e.scratch.read(addr, page)
	}
	return s.e.readBlocks(segment.Addr(addr), page)
}

// readBlocks reads whole blocks from the log or, before it is open, the store.
func (e *Engine) readBlocks(a segment.Addr, p []byte) error {
	var err error
	if e.log != nil {
		err = e.log.ReadAt(a, p)
	} else {
		err = e.store.ReadAt(a.Segment(), p, int64(a.Block())*BlockSize)
	}
	if fail.Is(err, fail.NotFound) { // whoever knows the address says it is there
		err = fail.Wrap(fail.Corrupt, err, "segment %d is missing", a.Segment())
	}
	return err
}

// lastLSN returns the last operation applied: the present moment.
func (e *Engine) lastLSN() uint64 {
	if e.log != nil {
		return e.log.LastLSN()
	}
	return e.replayed
}

// position returns a frame before the next operation's.
func (e *Engine) position() segment.Position {
	if e.log != nil {
		return e.log.Position()
	}
	return e.replayPos
}

// stop makes the engine refuse all further writes: its state in memory can no
// longer be trusted to match the log.
func (e *Engine) stop(err error) {
	f := fail.Wrap(fail.FailStopped, err, "stopped taking writes").WithHint("reads go on; see docs/operations.md#fail-stop")
	if e.broken.CompareAndSwap(nil, f) {
		e.logger.Error("fail-stop", "err", err)
	}
}

// writable returns why the pool takes no writes, or nil.
func (e *Engine) writable() error {
	if f := e.broken.Load(); f != nil {
		return f
	}
	return nil
}

// opRecord makes an op a segment.Record.
type opRecord struct {
	e  *Engine
	op *oplog.Op
}

func (r *opRecord) AppendRecord(dst []byte, lsn, frame uint64, now int64) []byte {
	r.op.LSN, r.op.Time = lsn, now
	r.e.lastTime.Store(now)
	r.e.digests.open.Add(r.op)
	return r.e.enc.Append(dst, r.op, frame)
}

// change runs one operation on the catalog: judge under the gate, log, apply,
// release the gate, wait until it is durable. judge may fill in op; an error
// of its means that nothing happened. reserve lets it use the last space.
func (e *Engine) change(op *oplog.Op, reserve bool, judge func() (*prepared, error)) (Done, error) {
	if err := e.begin(op, reserve, judge); err != nil {
		return Done{}, err
	}
	return e.finish(op)
}

// begin is change up to the log: what happened is not durable yet.
func (e *Engine) begin(op *oplog.Op, reserve bool, judge func() (*prepared, error)) error {
	if err := e.writable(); err != nil {
		return err
	}
	if err := e.takeRoom(1, reserve); err != nil {
		return err
	}
	e.gate.Lock()
	err := e.logAndApply(op, judge)
	e.gate.Unlock()
	if err != nil {
		e.log.Release(1)
	}
	return err
}

func (e *Engine) finish(op *oplog.Op) (Done, error) {
	if err := e.log.Commit(op.LSN); err != nil {
		return Done{}, err
	}
	return Done{LSN: op.LSN, Time: time.Unix(0, op.Time).UTC()}, nil
}

func (e *Engine) logAndApply(op *oplog.Op, judge func() (*prepared, error)) error {
	pre, err := judge()
	if err != nil {
		return err
	}
	if pre == nil {
		pre = &prepared{}
	}
	pos := e.log.Position()
	if _, err := e.log.Append(nil, &opRecord{e, op}); err != nil {
		return err
	}
	if err := e.apply(op, pos, pre); err != nil {
		e.stop(err)
		return err
	}
	return nil
}

// Flush returns when every operation so far is durable.
func (e *Engine) Flush() error { return e.log.CommitAll() }

// Close takes a last checkpoint, and closes the log. Whoever uses the engine
// must have stopped. The store stays open.
func (e *Engine) Close(ctx context.Context) error {
	e.endBackground()
	e.gate.Lock()
	e.keepVerifier(true)
	e.gate.Unlock()
	err := e.checkpoint(true)
	if cerr := e.log.Close(); err == nil {
		err = cerr
	}
	e.views.close()
	e.release()
	return err
}

// Abort ends the engine as a crash would: nothing more is written.
func (e *Engine) Abort() {
	e.endBackground()
	e.log.Abort()
	e.views.close()
	e.release()
}

func (e *Engine) endBackground() {
	e.closeOnce.Do(func() { close(e.closing) })
	e.background.Wait()
}

// release frees the memory. A checkpoint that runs has ended by then, and none
// begins any more.
func (e *Engine) release() {
	e.ckpt.Lock()
	defer e.ckpt.Unlock()
	e.broken.CompareAndSwap(nil, fail.New(fail.Canceled, "the pool is closed"))
	e.cache.Close()
	e.scratch.close()
	e.digests.close()
}
