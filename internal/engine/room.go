package engine

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"varve/internal/bytesize"
	"varve/internal/fail"
	"varve/internal/oplog"
)

// roomMaker makes room when the pool is full: writers wait while it works. One
// round at a time; who comes meanwhile shares it.
type roomMaker struct {
	mu     sync.Mutex
	rounds atomic.Uint64 // that found something, and changes of the capacity; who reads it does not wait
	until  time.Time     // no round before it: the last one found nothing
	rest   time.Duration // doubles while rounds find nothing
}

const (
	roomTries    = 8               // rounds that one writer waits for
	shortenTries = 8               // times that one round shortens history
	roomRest     = 2 * time.Second // after a round that found nothing, before the next is tried;
	roomSleep    = 5 * time.Minute // it doubles up to this: each costs checkpoints, which take space
	shorten      = 50              // part of the capacity that one shortening of history frees, at the least: 1/50
)

// roomFor makes room on a full pool, for an operation that was refused: what is
// free is given back, and if that is not enough, history is shortened from its
// oldest end, never a snapshot. It returns refused if there is nothing.
func (e *Engine) roomFor(seen uint64, refused error) error {
	e.room.mu.Lock()
	defer e.room.mu.Unlock()
	if e.room.rounds.Load() != seen {
		return nil // somebody else's round made some
	}
	if time.Now().Before(e.room.until) || e.opt.CheckpointEvery < 0 || e.gain() < e.store.SegmentSize() {
		return refused
	}
	e.needy.Store(true)
	e.endChecks()
	enough, err := e.giveBack()
	for tries := 0; err == nil && !enough && tries < shortenTries; tries++ {
		var cut bool
		if cut, err = e.shortenHistory(); !cut {
			break
		}
		if err == nil {
			enough, err = e.giveBack()
		}
	}
	if err != nil || !enough {
		if e.room.rounds.Load() != seen {
			return nil // the capacity was changed meanwhile
		}
		e.noRoom(err)
		e.room.rest = min(max(roomRest, 2*e.room.rest), roomSleep)
		e.room.until = time.Now().Add(e.room.rest)
		return refused
	}
	e.room.rounds.Add(1)
	e.room.rest = 0
	return nil
}

// noRoom says that a round found nothing, or why it could not look.
func (e *Engine) noRoom(err error) {
	var why []any
	if err != nil {
		why = append(why, "err", err)
	}
	e.logger.Warn("the pool is full, and nothing that may be forgotten is left", why...)
}

// gain is the most that a round could give back: bytes.
func (e *Engine) gain() int64 {
	dead := e.unreturned()
	e.gate.RLock()
	defer e.gate.RUnlock()
	s := e.poolSpace(dead)
	return s.Dead + s.History
}

// mayGain lets the next writer that finds the pool full try at once: something
// was destroyed or forgotten.
func (e *Engine) mayGain() {
	e.room.mu.Lock()
	e.room.until, e.room.rest = time.Time{}, 0
	e.room.mu.Unlock()
	e.wakeCheckpoint()
	e.wakeRetain()
}

// giveBack takes the checkpoints after which the store may have what is free
// now, and gives it back. It tells whether writers can have a segment then.
func (e *Engine) giveBack() (enough bool, err error) {
	if err := e.settleDead(func() error { return nil }); err != nil {
		return false, err
	}
	if _, err := e.reclaim(context.Background(), wantRoom); err != nil {
		return false, err
	}
	sp, err := e.store.Space()
	return sp.Free >= e.log.Reserve()+e.store.SegmentSize(), err
}

// settleMost bounds the checkpoints that settleDead takes.
const settleMost = 64

// settleDead empties the dying lists, and takes checkpoints until all that nobody
// needs is the store's to give back. step is told of each.
func (e *Engine) settleDead(step func() error) error {
	for e.DrainStep() {
		if err := step(); err != nil {
			return err
		}
	}
	for i := 0; i < settleMost; i++ { // one files; more, where there is more than one can do
		if err := e.checkpoint(true); err != nil {
			return err
		}
		if err := step(); err != nil {
			return err
		}
		if !e.moreToDo.Load() {
			break
		}
	}
	return e.checkpoint(true) // hands over
}

// shortenHistory forgets the oldest part of history, of the dataset whose history
// reaches back farthest, unless somebody else has just done so; false if no history
// holds anything.
func (e *Engine) shortenHistory() (bool, error) {
	sp, err := e.store.Space()
	if err != nil {
		return false, err
	}
	e.gate.RLock()
	type end struct {
		d   *dataset
		run *deathRun
	}
	var ends []end
	for _, d := range e.datasets {
		if r := d.oldestRun(); r != nil {
			ends = append(ends, end{d, r})
		}
	}
	e.gate.RUnlock()
	if len(ends) == 0 {
		return false, nil
	}
	oldest := slices.MinFunc(ends, func(a, b end) int { return cmp.Compare(a.run.last, b.run.last) })
	e.gate.RLock()
	var total int64
	for _, l := range oldest.d.lines {
		l.estate.mu.RLock()
		_, blocks := l.waiting()
		total += blocks * BlockSize
		l.estate.mu.RUnlock()
	}
	p := plan{d: oldest.d, horizon: oldest.d.horizon}
	from := p.horizon
	p.moveTo(e.horizonForBytes(oldest.d, max(0, total-max(sp.Capacity/shorten, 2*e.store.SegmentSize()))))
	p.expireGuards()
	overtaken := !p.moves && oldest.d.toFile()
	e.gate.RUnlock()
	if !p.moves {
		return overtaken, nil
	}
	e.logger.Warn("the pool is full: history is shortened", "dataset", oldest.d.name,
		"from", from.wall().Format(time.RFC3339), "to", p.horizon.wall().Format(time.RFC3339))
	_, err = e.carryOut(Caller{}, p)
	return err == nil, err
}

// toFile reports whether somebody has forgotten some of d's history, and no
// checkpoint has filed it yet. The gate is held.
func (d *dataset) toFile() bool {
	for _, l := range d.lines {
		l.estate.mu.RLock()
		behind := slices.ContainsFunc(l.estate.history, func(x *deathRun) bool { return x.first <= d.horizon.lsn })
		l.estate.mu.RUnlock()
		if behind {
			return true
		}
	}
	return false
}

// oldestRun returns the run of history that its horizon reaches first. The gate
// is held.
func (d *dataset) oldestRun() (oldest *deathRun) {
	for _, l := range d.lines {
		l.estate.mu.RLock()
		runs, _ := l.waiting()
		for _, x := range runs {
			if oldest == nil || x.last < oldest.last {
				oldest = x
			}
		}
		l.estate.mu.RUnlock()
	}
	return oldest
}

// Clean gives back dead space at once, whatever the watermarks, and what the store
// has kept of earlier rounds. progress may be nil; it counts steps.
func (e *Engine) Clean(ctx context.Context, progress func(done, total int64)) (CleanReport, error) {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	return e.clean(ctx, wantAll, progress)
}

// Expunge is Clean that leaves nothing, whatever that costs: no byte that was dead
// before it can be read in the store below any more.
func (e *Engine) Expunge(ctx context.Context) error {
	if _, err := e.clean(ctx, wantBare, func(int64, int64) {}); err != nil {
		return err
	}
	return e.log.Wipe()
}

func (e *Engine) clean(ctx context.Context, w want, progress func(done, total int64)) (CleanReport, error) {
	if err := e.writable(); err != nil {
		return CleanReport{}, err
	}
	const steps = 2
	progress(0, steps)
	canceled := func() error {
		if err := ctx.Err(); err != nil {
			return fail.Wrap(fail.Canceled, err, "cleaning")
		}
		select {
		case <-e.closing:
			return fail.New(fail.Canceled, "cleaning: the server is shutting down")
		default:
			return nil
		}
	}
	first, err := e.reclaim(ctx, w) // a full pool may need this before it can take a checkpoint
	if err == nil {
		err = canceled()
	}
	if err == nil {
		err = e.settleDead(canceled)
	}
	if err != nil {
		return first, err
	}
	progress(1, steps)
	r, err := e.reclaim(ctx, w)
	if err == nil {
		err = canceled()
	}
	if err == nil {
		err = e.store.GiveBack()
	}
	progress(steps, steps)
	r.add(first)
	return r, err
}

// budgetWatch resets a clone that has used up its budget, where its policy says
// so. It runs in the background: the write that found out is refused.
func (e *Engine) budgetWatch(d *dataset) {
	select {
	case <-e.closing:
		return
	default:
	}
	if d.props["on-full"].value != "reset" || d.created.lsn == 0 || !d.resetting.CompareAndSwap(false, true) {
		return
	}
	name := d.name
	e.background.Go(func() {
		defer d.resetting.Store(false)
		e.logger.Warn("the budget is used up: reset to what it was when it was made", "dataset", name)
		unfence, err := e.expel(name)
		if err == nil {
			defer unfence()
			_, err = e.rollbackTo(Caller{}, Moment{Dataset: name, LSN: d.created.lsn})
		}
		if err != nil {
			e.logger.Error("resetting", "dataset", name, "err", err)
		}
	})
}

// withinLimits says whether a volume may grow by so many blocks. d.mu and the
// gate are held, shared at least.
func (e *Engine) withinLimits(d *dataset, op *oplog.Op) error {
	if len(d.props) == 0 || op.Kind != oplog.Write && op.Kind != oplog.WriteFile {
		return nil
	}
	b, end := blocks(op)
	quota, budget := d.limit("quota"), d.limit("budget")
	if d.kind == shareKind {
		quota = 0 // the share's own judge has looked
	}
	blocks := int64(end - b)
	fits := func(limit, used, grows int64) bool { return limit == 0 || (used+grows)*BlockSize <= limit }
	if fits(quota, d.head.mapped, blocks) && fits(budget, d.head.own, blocks) {
		return nil
	}
	// Near a limit what the write replaces counts.
	if err := d.head.collect(span{op.Ino, b, end}); err != nil {
		return err
	}
	grows, growsOwn := blocks, blocks
	for _, x := range d.head.found {
		n := int64(min(x.end(), end) - max(x.block, b))
		if grows -= n; x.birth >= d.head.since {
			growsOwn -= n
		}
	}
	if !fits(quota, d.head.mapped, grows) && grows > 0 {
		return fail.New(fail.NoSpace, "%s may have %s by its quota, and has %s", d.name, bytesize.Exact(quota), bytesize.Exact(d.head.mapped*BlockSize)).
			WithHint("varve set %s quota=N gives it more", d.name)
	}
	// After an undo all counts as its own until somebody has counted.
	if !fits(budget, d.head.own, growsOwn) && growsOwn > 0 && !d.head.rough {
		e.budgetWatch(d)
		return fail.New(fail.NoSpace, "%s may change %s by its budget, and has changed %s", d.name, bytesize.Exact(budget), bytesize.Exact(d.head.own*BlockSize)).
			WithHint("varve set %s budget=N gives it more", d.name)
	}
	return nil
}

// limit returns a property that is a number of bytes; 0: none.
func (d *dataset) limit(name string) int64 {
	if p, ok := d.props[name]; ok {
		return p.number
	}
	return 0
}
