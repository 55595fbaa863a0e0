package engine

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"varve/internal/fail"
	"varve/internal/keep"
	"varve/internal/oplog"
)

// retainEvery is how often the background looks at what may be forgotten.
const retainEvery = 10 * time.Second

// policy is what a dataset's properties ask to keep.
type policy struct {
	history keep.History
	points  keep.Schedule
}

// policyOf reads d's properties, which were checked when they were set. The gate
// is held.
func (d *dataset) policyOf() policy {
	p := policy{keep.DefaultHistory(), keep.DefaultSchedule()}
	if v, ok := d.props["history"]; ok {
		if h, err := keep.ParseHistory(v.value); err == nil {
			p.history = h
		}
	}
	if v, ok := d.props["keep"]; ok {
		if s, err := keep.ParseSchedule(v.value); err == nil {
			p.points = s
		}
	}
	return p
}

// plan is what the policy of one dataset lets go of now.
type plan struct {
	d       *dataset
	horizon stamp       // where history begins then; as it is, if that is earlier
	snaps   []*snapshot // that expired, or that the schedule does not need any more
	point   string      // a kept point that is due, "" if none
	gone    bool        // it was destroyed, and its history is over
	moves   bool        // the horizon does
}

// empty reports whether nothing is to be done.
func (p *plan) empty() bool { return !p.moves && len(p.snaps) == 0 && p.point == "" && !p.gone }

// moveTo lets history begin at a moment, if that is later. The gate is held.
func (p *plan) moveTo(to stamp) {
	p.horizon = later(p.horizon, to)
	p.moves = p.horizon.lsn > p.d.horizon.lsn
}

// planFor decides what the policy of d says at this time, in a pool of so many
// bytes. The gate is held, shared at least.
func (e *Engine) planFor(d *dataset, now time.Time, capacity int64) plan {
	p := plan{d: d, horizon: d.horizon}
	if d.isDraft() {
		return p
	}
	p.moveTo(e.horizonByPolicy(d, capacity))
	if d.destroyed.lsn != 0 {
		p.gone = !d.gone && d.destroyed.lsn <= p.horizon.lsn
		return p
	}
	pol := d.policyOf()
	var points []keep.Point
	var kept []*snapshot
	last := d.created.wall()
	for _, s := range d.snaps {
		switch {
		case len(s.holds) > 0:
		case s.expires != 0 && s.expires <= now.UnixNano(), s.guard && s.lsn < p.horizon.lsn:
			p.snaps = append(p.snaps, s)
			continue
		}
		if s.kept {
			last = time.Unix(0, s.time)
			kept = append(kept, s)
			points = append(points, keep.Point{Time: last.UTC(), Protected: len(s.holds) > 0})
		}
	}
	if pol.points == (keep.Schedule{}) {
		for _, s := range kept {
			if len(s.holds) == 0 {
				p.snaps = append(p.snaps, s)
			}
		}
		return p
	}
	for _, i := range keep.Thin(pol.points, points) {
		p.snaps = append(p.snaps, kept[i])
	}
	since := uint64(0)
	if n := len(kept); n > 0 {
		since = kept[n-1].lsn
	}
	if d.lastChange() > since && keep.Due(pol.points, last, now) {
		p.point = keep.PointName(now)
	}
	return p
}

// horizonByPolicy is where history may begin by age and by share of the pool:
// at a checkpoint's cut. The gate is held.
func (e *Engine) horizonByPolicy(d *dataset, capacity int64) stamp {
	h := d.policyOf().history
	to := d.horizon
	if age, limited := h.AgeLimit(); limited {
		to = later(to, e.cutBefore(func(c checkpointRecord) bool { return c.age <= e.age()-age }))
	}
	if bytes, limited := h.ByteLimit(capacity); limited {
		to = later(to, e.horizonForBytes(d, bytes))
	}
	if d.lastChange() <= d.horizon.lsn && d.destroyed.lsn == 0 {
		return d.horizon // nothing of it is behind
	}
	return to
}

// lastChange is the last operation that changed the head. d.mu is not held.
func (d *dataset) lastChange() uint64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.changed
}

func later(a, b stamp) stamp {
	if b.lsn > a.lsn {
		return b
	}
	return a
}

// cutBefore returns the newest checkpoint's cut of which old is true, as it is of
// all before it; zero if there is none.
func (e *Engine) cutBefore(old func(checkpointRecord) bool) stamp {
	i := sort.Search(len(e.checkpoints), func(i int) bool { return !old(e.checkpoints[i]) })
	if i == 0 {
		return stamp{}
	}
	return stamp{e.checkpoints[i-1].cut, e.checkpoints[i-1].time}
}

// horizonForBytes is where d's history has to begin to have at most so many
// bytes of dropped data.
func (e *Engine) horizonForBytes(d *dataset, bytes int64) stamp {
	var runs []*deathRun
	var total int64
	for _, l := range d.lines {
		l.estate.mu.RLock()
		more, blocks := l.waiting()
		runs = append(runs, more...)
		total += blocks * BlockSize
		l.estate.mu.RUnlock()
	}
	slices.SortFunc(runs, func(a, b *deathRun) int { return cmp.Compare(a.last, b.last) })
	need := uint64(0)
	for _, x := range runs {
		if total <= bytes {
			break
		}
		total -= x.data * BlockSize
		need = x.last
	}
	if need == 0 {
		return stamp{}
	}
	i := sort.Search(len(e.checkpoints), func(i int) bool { return e.checkpoints[i].cut >= need })
	if i == len(e.checkpoints) {
		return stamp{}
	}
	return stamp{e.checkpoints[i].cut, e.checkpoints[i].time}
}

// Retain is one look at what may be forgotten, as the background does from time
// to time: the policies of all datasets. It returns whether anything changed.
func (e *Engine) Retain() (bool, error) {
	e.views.dropIdle()
	if _, suspect := e.clock.Suspect(); suspect {
		return false, nil
	}
	now := time.Unix(0, e.poolTime())
	sp, err := e.store.Space()
	if err != nil {
		return false, err
	}
	e.gate.RLock()
	var plans []plan
	for _, d := range e.datasets {
		if !d.gone {
			if p := e.planFor(d, now, sp.Capacity); !p.empty() {
				plans = append(plans, p)
			}
		}
	}
	e.gate.RUnlock()
	slices.SortFunc(plans, func(a, b plan) int { return cmp.Compare(a.d.id, b.d.id) })
	for _, p := range plans {
		if _, err := e.carryOut(Caller{}, p); err != nil {
			return true, err
		}
	}
	return len(plans) > 0, nil
}

// carryOut does what a plan says, as logged operations.
func (e *Engine) carryOut(c Caller, p plan) (Done, error) {
	var done Done
	var err error
	do := func(op *oplog.Op, judge func() error) {
		if err != nil {
			return
		}
		op.Client, op.Dataset = e.client(c), p.d.id
		var x Done
		if x, err = e.change(op, true, func() (*prepared, error) { return nil, judge() }); err == nil {
			done = x
		} else if fail.Is(err, fail.Stale) {
			err = nil // somebody was faster
		}
	}
	there := func() error {
		if e.datasets[p.d.id] != p.d || p.d.gone {
			return errOvertaken
		}
		return nil
	}
	if p.gone {
		do(&oplog.Op{Kind: oplog.Destroy, Now: true}, func() error {
			if p.d.destroyed.lsn == 0 {
				return errOvertaken // it was brought back
			}
			return there()
		})
		return done, err
	}
	if p.point != "" {
		do(&oplog.Op{Kind: oplog.Snapshot, Name: p.point, Value: "kept"}, func() error {
			if p.d.destroyed.lsn != 0 || p.d.snapshot(p.point) != nil {
				return errOvertaken
			}
			return there()
		})
	}
	for _, s := range p.snaps {
		do(&oplog.Op{Kind: oplog.DestroySnapshot, At: s.id, Name: s.name}, func() error {
			i := slices.IndexFunc(p.d.snaps, func(x *snapshot) bool { return x.id == s.id })
			if i < 0 || len(p.d.snaps[i].holds) > 0 || p.d.snaps[i].expires != s.expires {
				return errOvertaken
			}
			return there()
		})
	}
	if p.moves {
		do(&oplog.Op{Kind: oplog.Horizon, At: p.horizon.lsn, Size: uint64(p.horizon.time)}, func() error {
			if p.horizon.lsn <= p.d.horizon.lsn || p.d.isRepeated(p.horizon.lsn) {
				return errOvertaken
			}
			return there()
		})
	}
	return done, err
}

var errOvertaken = fail.New(fail.Stale, "something else was faster")

// retainer looks at what may be forgotten, and then lets the cleaner look. It does
// not clean: that can take long, and meanwhile history would grow.
func (e *Engine) retainer() {
	defer e.background.Done()
	tick := time.NewTicker(retainEvery)
	defer tick.Stop()
	for {
		select {
		case <-e.closing:
			return
		case <-e.retainWake:
		case <-tick.C:
		}
		e.warnOfLimits()
		if _, err := e.Retain(); err != nil && e.writable() == nil {
			e.logger.Error("forgetting", "err", err)
		}
		e.withinCapacity()
		wake(e.cleanWake)
	}
}

func (e *Engine) wakeRetain() {
	wake(e.retainWake)
}

// dropIdle closes the views that nobody used since the last call.
func (c *viewCache) dropIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range slices.Clone(c.idle) {
		if v.unused {
			c.drop(v)
		}
		v.unused = true
	}
}
