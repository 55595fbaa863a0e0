package engine

import (
	"errors"
	"math"
	"slices"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/tree"
)

// drainEntries bounds the entries that one Drain operation visits.
const drainEntries = 2048

// drainStep is what one Drain operation does to a dying list.
type drainStep struct {
	deaths []death
	next   tree.Key // where the next step begins
	lost   bool     // some of the list could not be read, and stays for good
}

// keyOf reads where a Drain operation ends.
func keyOf(op *oplog.Op) (k tree.Key, err error) {
	if copy(k[:], op.Value); op.Value != "" && len(op.Value) != len(k) {
		err = fail.New(fail.Corrupt, "%v: a key of %d bytes", op, len(op.Value))
	}
	return k, err
}

// collectDying visits the entries of y from where it is, up to limit of them and
// none from end on. Nothing changes.
func (e *Engine) collectDying(d *dataset, y *dying, limit int, end tree.Key) (s drainStep, err error) {
	d.mu.Lock()
	v := y.root.version(e.cache)
	d.mu.Unlock()
	defer v.Close()
	keep := e.keepBelow(d)
	lost := func(err error) bool { // what the disk does not give now may come back
		passed := fail.Is(err, fail.Corrupt) && keep(err)
		s.lost = s.lost || passed
		return passed
	}
	s.next = end
	err = v.Blocking().Past(lost).Scan(y.next, end, func(k tree.Key, v []byte) bool {
		if limit == 0 {
			s.next = k
			return false
		}
		limit--
		if !isExtent(k) {
			return true
		}
		if x, err := parseExtent(k, v); err != nil {
			lost(err)
		} else if x.birth > y.born {
			s.deaths = append(s.deaths, death{
				kind: dataDeath, count: uint16(x.count), addr: x.addr, birth: x.birth, death: y.id,
			})
		}
		return true
	})
	return s, err
}

// applyDrain enters the deaths of one step and moves on, or ends the list. A replay
// reads them anew, up to where the step came: of what cannot be read by then it
// enters none.
func (e *Engine) applyDrain(d *dataset, op *oplog.Op, pre *prepared) error {
	i := slices.IndexFunc(d.dying, func(y *dying) bool { return y.id == op.At })
	if i < 0 {
		return fail.New(fail.Corrupt, "%v: no such dying list", op)
	}
	y := d.dying[i]
	if pre == nil {
		pre = &prepared{}
		end, err := keyOf(op)
		if err != nil {
			return err
		}
		if pre.step, err = e.collectDying(d, y, math.MaxInt, end); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	led := &d.lineAt(y.root.lsn).led
	for _, x := range pre.step.deaths {
		led.add(x)
	}
	if y.counts {
		for _, x := range pre.step.deaths {
			d.head.mapped -= int64(x.count)
			if x.birth >= d.head.since {
				d.head.own -= int64(x.count)
			}
		}
		d.head.rough = d.head.rough || pre.step.lost
	}
	if y.next.Less(pre.step.next) {
		y.next = pre.step.next
	}
	if !y.next.Less(y.end) {
		d.dying = slices.Delete(slices.Clone(d.dying), i, i+1)
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
	for d, y := e.nextDying(); d != nil; d, y = e.nextDying() {
		// y.root's tree never changes and only this goroutine moves y.next.
		step, err := e.collectDying(d, y, drainEntries, y.end)
		if err == nil {
			op := &oplog.Op{Kind: oplog.Drain, Dataset: d.id, At: y.id, Value: string(step.next[:])}
			_, err = e.change(op, true, func() (*prepared, error) { return &prepared{step: step}, nil })
			return err == nil
		}
		e.logger.Error("emptying a dying list", "dataset", d.name, "list", y.id, "err", err)
		d.mu.Lock()
		y.stuck = true
		d.mu.Unlock()
	}
	return false
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
	t, since, was, wasOwn := d.head.tree, d.head.since, d.head.mapped, d.head.own
	v := d.version()
	d.mu.Unlock()
	defer v.Close()
	n, own, err := countMapped(v, since)
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
