package segment

import (
	"crypto/rand"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"varve/internal/fail"
	"varve/internal/segstore"
)

// Options of a Log. Store and PoolID are needed; zero values of the others
// mean their defaults.
type Options struct {
	Store  segstore.Store
	PoolID [16]byte
	Now    func() time.Time // default time.Now
	Rand   io.Reader        // of incarnations; default crypto/rand
	Logger *slog.Logger     // default: discards

	FirstLSN uint64 // of Create: the first LSN that Append gives; default 1
	Epoch    uint32 // of leadership; stored in every header

	MaxFrame     int           // blocks, 8..1024; default 256, and never more than a segment
	MarkerDelay  time.Duration // from a sync to the marker that attests it; default 50 ms, negative: no markers but by Close
	MaxUnwritten int64         // bytes appended but not yet written, beyond which Admit waits; default 16 MiB
	MaxUnsynced  int64         // bytes appended but not yet durable, beyond which Admit waits; default 64 MiB
	Reserve      int64         // bytes of the store's last space, for Admit with reserve only; default two segments
	LastReserve  int64         // of these, bytes for AdmitLast only; default none

	// Told how long each wait for durability, and each sync, took. They are
	// called under the log's lock and must not wait; nil: nobody is told.
	ObserveCommit, ObserveSync func(time.Duration)

	// Told that the log goes on in a segment, and which frame is the last one before
	// it. Called under the log's lock, as Record.AppendRecord is; nil: nobody is told.
	Entered func(seg uint64, last Position)
}

const (
	maxPieceBlocks = 32
	maxRecordBytes = 72 << 10
	minFrameBlocks = 8
)

func (o Options) withDefaults() (Options, error) {
	segBlocks := o.Store.SegmentSize() / BlockSize
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.FirstLSN == 0 {
		o.FirstLSN = 1
	}
	if o.MaxFrame == 0 {
		o.MaxFrame = 256
	}
	if o.MaxFrame < minFrameBlocks || o.MaxFrame > maxFrameBlocks || segBlocks < minFrameBlocks || segBlocks > maxSegBlocks {
		return o, fail.New(fail.Invalid, "no log has frames of %d blocks in segments of %d", o.MaxFrame, segBlocks)
	}
	o.MaxFrame = min(o.MaxFrame, int(segBlocks))
	if o.MarkerDelay == 0 {
		o.MarkerDelay = 50 * time.Millisecond
	}
	if o.MaxUnwritten <= 0 {
		o.MaxUnwritten = 16 << 20
	}
	if o.MaxUnsynced <= 0 {
		o.MaxUnsynced = 64 << 20
	}
	if o.ObserveCommit == nil {
		o.ObserveCommit = func(time.Duration) {}
	}
	if o.ObserveSync == nil {
		o.ObserveSync = func(time.Duration) {}
	}
	if o.Reserve == 0 {
		o.Reserve = 2 * o.Store.SegmentSize()
	}
	return o, nil
}

// Log is the writing end of the log of one pool. All methods are safe for
// concurrent use.
//
// After a failed write or sync the log is fail-stopped: Append, Admit, Commit
// and all else that writes return the same FailStopped error for ever, no sync
// is tried again, and reads go on.
type Log struct {
	opts      Options
	store     segstore.Store
	segBlocks int
	maxPiece  int
	maxRecord int
	// frameBlocks is the most that a frame can have: one more than MaxFrame, so
	// that a write of a whole MaxFrame can be one.
	frameBlocks int

	// What Admit keeps of the store's last space: bytes. See Options.
	reserve, lastReserve atomic.Int64

	// memLow is the lowest address that is not in the store yet. It only
	// rises; reads below it need no lock.
	memLow atomic.Uint64

	mu          sync.Mutex
	err         error // why nothing is written any more
	closing     bool  // Close has begun: nothing new is taken
	stopped     bool  // goroutines end, memory goes
	incarnation [16]byte
	lastTime    int64 // Unix nanoseconds
	lastLSN     uint64
	lastSuper   Addr

	// The open frame. It has no memory while it is empty.
	openSeq   uint64
	openSeg   uint64
	openBlock int // where in openSeg it is, or will be if it fits there
	openBuf   []byte
	openLimit int // blocks that it may have
	payload   int // blocks
	sum       summary
	scratch   []byte // the record being encoded

	// The chain so far.
	last     Position // the last sealed frame
	lastKind FrameKind
	queue    frameQueue
	next     uint64 // the first sealed frame that may be unclaimed
	written  uint64 // all frames up to it are written
	durable  uint64 // all frames up to it are durable
	durLSN   uint64

	// Group commit. Round r releases rounds[r%2]; who is not in it waits on
	// the other.
	syncing  bool
	round    uint64
	goal     uint64 // of the running round
	wanted   uint64 // the highest frame that anybody committed, sealed or not
	rounds   [2]sync.Cond
	syncSegs []uint64 // of the token's holder
	inflight int      // calls of the store on behalf of callers and goroutines

	wrote    sync.Cond // written has moved, or inflight has
	work     sync.Cond // the writer goroutines have something to do
	syncWork sync.Cond // the syncer goroutine may have something to do

	room      room
	buffers   bufferPool
	marker    markerState
	stats     Stats
	usage     []Usage // ascending by segment
	unwritten int64   // bytes in the open frame and in sealed ones not yet written
	unsynced  int64   // bytes in the open frame and in sealed ones not yet durable

	goroutines sync.WaitGroup
}

// Create starts the log of a new pool in a store without segments: the first
// segment with an opening frame, durable on return.
func Create(o Options) (*Log, error) {
	l, err := newLog(o)
	if err != nil {
		return nil, err
	}
	list, err := l.store.List()
	if err != nil {
		return nil, err
	}
	if len(list) > 0 {
		return nil, fail.New(fail.Exists, "the store holds a log already: %d segments", len(list))
	}
	if err := l.store.Create(1, segstore.Anything); err != nil {
		return nil, err
	}
	l.lastLSN = l.opts.FirstLSN - 1
	return l.start(1, Tail{Position: Position{LastLSN: l.lastLSN}})
}

// Resume goes on after what Scan found; it acts where Scan only looked. It
// makes the accepted frames durable, wipes the block behind them, where a frame
// that was damaged today may be whole tomorrow and would continue the chain,
// gives back the space behind a tail that nothing lies behind, removes the
// segments beyond it, and writes an opening frame into a fresh segment,
// numbered above all that exist. On return all is durable. It may be repeated
// after a crash or an error, with the Tail of a new Scan.
func Resume(o Options, t Tail) (*Log, error) {
	l, err := newLog(o)
	if err != nil {
		return nil, err
	}
	for _, n := range t.unsynced {
		if err := l.store.Sync(n); err != nil {
			return nil, err
		}
	}
	for _, a := range t.void {
		if err := l.store.WriteDurableAt(a.Segment(), make([]byte, BlockSize), a.offset()); err != nil {
			return nil, err
		}
	}
	if t.lost { // what it attests was given up
		if err := l.store.SetHint(nil); err != nil {
			return nil, err
		}
	}
	if t.free != 0 {
		// Nothing will ever be written there: without this each opening of
		// the pool would cost it a segment's space.
		off := t.free.offset()
		if err := l.store.PunchHole(t.free.Segment(), off, l.store.SegmentSize()-off); err != nil {
			l.opts.Logger.Warn("giving back the rest of a segment", "segment", t.free.Segment(), "err", err)
		}
	}
	fresh := t.highest + 1
	if err := l.takeOver(t.Leftover, fresh); err != nil {
		return nil, err
	}
	l.lastLSN, l.lastTime, l.lastSuper = t.LastLSN, t.LastTime, t.LastSuper
	return l.start(fresh, t)
}

// takeOver makes segment fresh, out of a leftover one if there is any: then
// there is room for it even if the disk is full. It removes the others.
func (l *Log) takeOver(leftover []uint64, fresh uint64) error {
	made := false
	for _, n := range leftover {
		var err error
		if made {
			err = l.store.Remove(n)
		} else {
			err = l.store.Recycle(n, fresh)
		}
		if err != nil {
			return err
		}
		made = true
	}
	if made {
		return nil
	}
	return l.store.Create(fresh, segstore.Anything)
}

func newLog(o Options) (*Log, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Log{opts: o, store: o.Store, segBlocks: int(o.Store.SegmentSize() / BlockSize)}
	l.SetReserve(o.Reserve, o.LastReserve)
	l.maxPiece = min(maxPieceBlocks, o.MaxFrame-1)
	l.maxRecord = min(maxRecordBytes, (o.MaxFrame-1)*BlockSize-16)
	l.frameBlocks = min(o.MaxFrame+1, l.segBlocks, maxFrameBlocks)
	l.openLimit = o.MaxFrame
	l.buffers.size = l.frameBlocks * BlockSize
	for _, c := range []*sync.Cond{&l.rounds[0], &l.rounds[1], &l.wrote, &l.work, &l.syncWork,
		&l.room.admit, &l.room.wanted, &l.room.done} {
		c.L = &l.mu
	}
	if _, err := io.ReadFull(o.Rand, l.incarnation[:]); err != nil {
		return nil, fail.Wrap(fail.IO, err, "no random bytes for a new incarnation")
	}
	return l, nil
}

// start writes the opening frame that continues after t and sets the log
// going.
func (l *Log) start(seg uint64, t Tail) (*Log, error) {
	space, err := l.store.Space()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.room.free = space.Free
	l.last = t.Position
	l.openSeq, l.openSeg = t.Seq+1, seg
	l.next, l.written, l.durable, l.durLSN = l.openSeq, t.Seq, t.Seq, t.LastLSN
	l.room.highest = seg
	l.seal(FrameOpen, t.Incarnation)
	l.makeDurable(l.last.Seq)
	if l.err != nil {
		l.forget()
		return nil, l.err
	}
	l.marker.timer = time.AfterFunc(time.Hour, l.markerDue)
	l.marker.timer.Stop()
	for _, run := range []func(){l.writer, l.writer, l.syncer, l.provisioner} {
		l.goroutines.Go(run)
	}
	return l, nil
}

// MaxPiece is the most blocks that one Piece can have: 32, or less where
// frames are smaller.
func (l *Log) MaxPiece() int { return l.maxPiece }

// MaxRecord is the most bytes that one record can have: 64 KiB, or less where
// frames are smaller.
func (l *Log) MaxRecord() int { return l.maxRecord }

// LastLSN returns the last LSN given.
func (l *Log) LastLSN() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lastLSN
}

// DurableLSN returns the last LSN known durable, with all before it.
func (l *Log) DurableLSN() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.durLSN
}

// Err returns why the log takes no more writes: FailStopped, Canceled once it
// is closed, or nil.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refusal()
}

// errClosed is what a closed log answers.
var errClosed = fail.New(fail.Canceled, "the log is closed")

// refusal returns why nothing new is taken. mu is held.
func (l *Log) refusal() error {
	if l.err == nil && l.closing {
		return errClosed
	}
	return l.err
}

// fail stops all writing for good. mu is held.
func (l *Log) fail(cause error) {
	if l.err != nil {
		return
	}
	l.err = &fail.Error{
		Kind: fail.FailStopped, Err: cause,
		Msg:  "stopped taking writes at lsn " + strconv.FormatUint(l.lastLSN, 10),
		Hint: "reads go on; see docs/operations.md#fail-stop",
	}
	l.opts.Logger.Error("log stopped", "lsn", l.lastLSN, "durable", l.durLSN, "cause", cause)
	l.wakeAll()
}

// wakeAll makes all who wait look at what has changed. mu is held.
func (l *Log) wakeAll() {
	for _, c := range []*sync.Cond{&l.rounds[0], &l.rounds[1], &l.wrote, &l.work, &l.syncWork,
		&l.room.admit, &l.room.wanted, &l.room.done} {
		c.Broadcast()
	}
}

// Close commits everything, writes a marker and stops. It returns the error of
// a log that has failed. The store stays open, and reads go on from it.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		return errClosed
	}
	l.closing = true
	err := l.commit(l.openSeq)
	if err == nil {
		err = l.mark()
	}
	l.mu.Unlock()
	l.stop()
	return err
}

// Abort stops without writing anything more, as a crash would: what was not
// durable may be lost.
func (l *Log) Abort() {
	l.mu.Lock()
	l.closing = true
	if l.err == nil {
		l.err = errClosed
	}
	l.mu.Unlock()
	l.stop()
}

// stop ends the goroutines, waits for calls of the store and frees memory.
func (l *Log) stop() {
	l.mu.Lock()
	l.stopped = true
	l.marker.timer.Stop()
	l.wakeAll()
	for l.inflight > 0 {
		l.wrote.Wait()
	}
	l.mu.Unlock()
	l.goroutines.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget()
}

// forget frees the memory of all frames. mu is held, and no call of the store
// uses them.
func (l *Log) forget() {
	live := l.queue.live()
	for i := range live {
		l.buffers.put(live[i].buf)
		live[i].buf = nil
	}
	l.buffers.put(l.openBuf)
	l.openBuf = nil
	l.buffers.free()
}
