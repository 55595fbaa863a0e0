package engine

import (
	"errors"
	"slices"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/tree"
)

// drainStep bounds the entries that one Drain operation visits.
const drainStep = 2048

// collectDying visits up to limit entries of y and returns the deaths among
// them and the block to go on from. Nothing changes. *tree.Miss as usual.
func (e *Engine) collectDying(d *dataset, y *dying, limit uint64, blocking bool) (dead []death, next tree.Key, err error) {
	d.mu.Lock()
	t := y.root.open(e.cache)
	d.mu.Unlock()
	defer t.Close()
	t.Blocking(blocking)
	next = y.end
	var bad error
	err = t.Scan(y.next, y.end, func(k tree.Key, v []byte) bool {
		if limit == 0 {
			next = k
			return false
		}
		limit--
		if !isExtent(k) {
			return true
		}
		x, err := parseExtent(k, v)
		if err != nil {
			bad = err
			return false
		}
		if x.birth > y.born {
			dead = append(dead, death{
				kind: dataDeath, count: uint16(x.count), addr: x.addr, birth: x.birth, death: y.id,
			})
		}
		return true
	})
	if err == nil {
		err = bad
	}
	return dead, next, err
}

// applyDrain enters the deaths of one step and moves on, or ends the list.
func (e *Engine) applyDrain(d *dataset, op *oplog.Op, pre *prepared) error {
	i := 0
	for i < len(d.dying) && d.dying[i].id != op.At {
		i++
	}
	if i == len(d.dying) {
		return fail.New(fail.Corrupt, "%v: no such dying list", op)
	}
	y := d.dying[i]
	if pre == nil {
		pre = &prepared{}
		var err error
		if pre.deaths, pre.next, err = e.collectDying(d, y, op.Limit, true); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	led := &d.lineAt(y.root.lsn).led
	for _, x := range pre.deaths {
		led.add(x)
	}
	if y.counts {
		for _, x := range pre.deaths {
			d.head.mapped -= int64(x.count)
			if x.birth >= d.head.since {
				d.head.own -= int64(x.count)
			}
		}
	}
	y.next = pre.next
	if !y.next.Less(y.end) {
		d.dying = append(d.dying[:i:i], d.dying[i+1:]...)
		e.record(itemKey(tagDying, d.id, y.id), nil)
		y.root.walks--
		e.discard(e.records, d, y.root)
	}
	e.touch(d)
	return nil
}

// drain empties dying lists in small logged steps until none is left or the
// engine closes.
func (e *Engine) drain() {
	defer e.background.Done()
	for e.woken(e.drainWake) {
		for e.DrainStep() || e.recount() {
			select {
			case <-e.closing:
				return
			default:
			}
		}
	}
}

func (e *Engine) wakeDrain() {
	wake(e.drainWake)
}

// DrainStep makes one step on one dying list, as the background does all the
// time; false when there is none, or no way to go on for now.
func (e *Engine) DrainStep() bool {
	e.draining.Lock()
	defer e.draining.Unlock()
	d, y, dead, next, err := e.nextDeaths()
	if d == nil || err != nil {
		return false
	}
	op := &oplog.Op{Kind: oplog.Drain, Dataset: d.id, At: y.id, Limit: drainStep}
	_, err = e.change(op, true, func() (*prepared, error) {
		return &prepared{deaths: dead, next: next}, nil
	})
	return err == nil
}

// nextDeaths returns the next step on a dying list. One that cannot be read stays,
// and the others go on.
func (e *Engine) nextDeaths() (d *dataset, y *dying, dead []death, next tree.Key, err error) {
	for {
		if d, y = e.nextDying(); d == nil {
			return
		}
		// y.root's tree never changes and only this goroutine moves y.next.
		if dead, next, err = e.collectDying(d, y, drainStep, true); err == nil {
			return
		}
		e.logger.Error("emptying a dying list", "dataset", d.name, "list", y.id, "err", err)
		if !unreadable(err) {
			return
		}
		d.mu.Lock()
		y.stuck = true
		d.mu.Unlock()
	}
}

// recount makes one head's count of mapped blocks exact again, after a
// rollback or clone to a moment at which a dying list was being emptied; false
// when there is none to count. The count is for people: no operation needs it.
func (e *Engine) recount() bool {
	d := e.nextRough()
	if d == nil {
		return false
	}
	d.mu.Lock()
	t, was, wasOwn := d.head.tree, d.head.mapped, d.head.own
	v := d.version()
	d.mu.Unlock()
	defer v.Close()
	n, own, err := countMapped(v, d.head.since)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.head.tree == t {
		d.head.rough = false
		if err == nil {
			d.head.mapped += n - was
			d.head.own += own - wasOwn
		}
	}
	e.touch(d)
	return err == nil
}

// countMapped counts the blocks with payload in a tree, and those of them that
// were born from since on.
func countMapped(v *tree.Version, since uint64) (n, own int64, err error) {
	var bad error
	err = v.Blocking().Scan(tree.Key{}, tree.MaxKey, func(k tree.Key, val []byte) bool {
		if isExtent(k) {
			var x extent
			x, bad = parseExtent(k, val)
			n += int64(x.count)
			if x.birth >= since {
				own += int64(x.count)
			}
		}
		return bad == nil
	})
	return n, own, errors.Join(err, bad)
}

func (e *Engine) nextRough() *dataset {
	e.gate.RLock()
	defer e.gate.RUnlock()
	for _, d := range e.datasets {
		d.mu.RLock()
		rough := d.head.rough
		d.mu.RUnlock()
		if rough {
			return d
		}
	}
	return nil
}

func (e *Engine) nextDying() (*dataset, *dying) {
	e.gate.RLock()
	defer e.gate.RUnlock()
	for _, d := range e.datasets {
		d.mu.RLock()
		i := slices.IndexFunc(d.dying, func(y *dying) bool { return !y.stuck })
		var y *dying
		if i >= 0 {
			y = d.dying[i]
		}
		d.mu.RUnlock()
		if y != nil {
			return d, y
		}
	}
	return nil, nil
}
