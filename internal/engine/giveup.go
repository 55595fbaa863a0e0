package engine

import (
	"fmt"
	"slices"
	"strings"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/segment"
	"varve/internal/varint"
)

// unmade is a clone that is given up as a whole.
type unmade struct {
	of     *dataset // what it was to be made of
	name   string
	draft  bool // nobody knows of it
	damage error
}

// giveUp decides about an operation of the log that cannot be repeated because
// something that it needs is damaged. With AcceptLoss, and where no older super root
// helps, its dataset stays as it was before: it loses the end of what was done, and
// nothing in between. A clone of what was lost does not come to be. All others lose
// nothing. An I/O error is no damage.
func (e *Engine) giveUp(op *oplog.Op, err error) error {
	if !fail.Is(err, fail.Corrupt) {
		return err
	}
	name, loss := op.Name, "the clone "+op.Name
	if d := e.datasets[op.Dataset]; d != nil {
		name, loss = d.name, fmt.Sprintf("what follows lsn %d of %s", op.LSN-1, d.name)
		if e.mayGiveUp {
			d.givenUp, d.damage = op.LSN, err
			e.passOver(d, op)
			return nil
		}
	} else if op.Kind != oplog.Clone {
		return err
	}
	if !e.mayGiveUp {
		e.wouldGiveUp = loss
		return fail.Wrap(fail.Corrupt, err, "%s", name)
	}
	of := e.datasets[op.Source]
	if of == nil {
		of = e.unmade[op.Source].of
	}
	if e.unmade == nil {
		e.unmade = map[uint64]unmade{}
	}
	e.unmade[op.Dataset] = unmade{of, op.Name, op.Now, err}
	e.nextDataset = max(e.nextDataset, op.Dataset+1)
	return nil
}

// givenUp reports whether an operation of the log belongs to what its dataset loses:
// all but what others see of it, for those may do on that. So no root of a moment in
// between is made, from which a replay could begin.
func (e *Engine) givenUp(op *oplog.Op) bool {
	if x, ok := e.unmade[op.Dataset]; ok {
		if x.of != nil { // which may have taken its place
			e.skipInodes(x.of, op)
		}
		if op.Kind == oplog.Undestroy { // a draft is published
			x.name, x.draft = op.Name, false
			e.unmade[op.Dataset] = x
		}
		return true
	}
	d := e.datasets[op.Dataset]
	if d == nil || d.givenUp == 0 {
		return false
	}
	if staysWithLoss(op.Kind) {
		return false
	}
	e.passOver(d, op)
	return true
}

// staysWithLoss reports whether an operation of kind k is not given up with others of
// its dataset.
func staysWithLoss(k oplog.Kind) bool {
	return k == oplog.Destroy || k == oplog.Undestroy || k == oplog.Rename
}

// passOver takes leave of an operation of a dataset that stays as it was.
func (e *Engine) passOver(d *dataset, op *oplog.Op) {
	e.skipInodes(d, op)
	for _, x := range op.Extents {
		if len(x.CRC) > 0 {
			d.lost = append(d.lost, extent{addr: x.Addr, count: uint64(len(x.CRC)), birth: op.LSN})
		}
	}
}

// skipInodes lets no object have the number of one that an operation made which is
// not repeated.
func (e *Engine) skipInodes(d *dataset, op *oplog.Op) {
	d.nextIno = max(d.nextIno, op.Ino+1)
	if of := e.datasets[op.Source]; of != nil && op.Kind == oplog.Undo {
		d.nextIno = max(d.nextIno, of.inoAfter())
	}
}

// keepGivenUp lets the moments from now on of the datasets that lost something begin
// with what is left of them, at the end of the log, and says what it was. Up to there
// their moments are as they were, where an older root that is whole leads to them: so
// the data that was lost lived until then, and they are a gap of their line.
func (e *Engine) keepGivenUp(lsn uint64, pos segment.Position) {
	told := []string{}
	for _, x := range e.unmade {
		if !x.draft {
			told = append(told, fmt.Sprintf("the clone %s was given up: %v", x.name, x.damage))
		}
	}
	for _, d := range e.datasets {
		if d.givenUp == 0 {
			continue
		}
		for _, x := range d.lost {
			d.head.led.drop(x, lsn)
		}
		e.touch(d)
		if !d.gone && !d.isDraft() {
			told = append(told, fmt.Sprintf("what follows lsn %d of %s was given up: %v", d.givenUp-1, d.name, d.damage))
		}
		if !d.gone {
			d.mu.Lock()
			d.now().gaps = append(d.now().gaps, stretch{d.givenUp, lsn})
			d.losses = append(d.losses, stretch{d.givenUp, lsn + 1})
			e.record(itemKey(tagLoss, d.id, lsn+1), putUvarints(nil, d.givenUp))
			d.thaw()
			d.changed = lsn
			e.keep(d, d.addRoot(d.freeze(lsn, pos)))
			d.mu.Unlock()
		}
		d.givenUp, d.damage, d.lost = 0, nil, nil
	}
	e.gaveUp = len(told) > 0
	slices.Sort(told)
	if e.recovery.Discarded != "" {
		told = append([]string{e.recovery.Discarded}, told...)
	}
	e.unmade, e.recovery.Discarded = nil, strings.Join(told, "; ")
}

// readLoss takes an item of the pool tree.
func (d *dataset) readLoss(to uint64, v []byte) error {
	r := varint.Reader{B: v}
	x := stretch{r.Uvarint(), to}
	r.Bad = r.Bad || x.from >= x.to
	d.losses = append(d.losses, x)
	return recordEnd(&r, "loss", to)
}

// losses are the operations that were given up, by dataset: readers of the log pass
// over them, for they never were. Who has a copy needs no lock: only opening adds some.
type losses map[uint64][]stretch

// losses returns those of the datasets that are there.
func (e *Engine) losses() losses {
	e.gate.RLock()
	defer e.gate.RUnlock()
	out := losses{}
	for _, d := range e.datasets {
		if len(d.losses) > 0 {
			out[d.id] = d.losses
		}
	}
	return out
}

// has reports whether an operation is one of them.
func (l losses) has(op *oplog.Op) bool {
	return !staysWithLoss(op.Kind) && slices.ContainsFunc(l[op.Dataset], func(s stretch) bool { return s.from <= op.LSN && op.LSN < s.to })
}

// outside makes sure that a moment of a dataset is not among operations that were
// given up: what came after those does not follow from it.
func (l losses) outside(dataset, lsn uint64) error {
	for _, s := range l[dataset] {
		if s.from <= lsn && lsn < s.to-1 {
			return fail.New(fail.Invalid, "lsn %d is among what was given up, from lsn %d to %d", lsn, s.from, s.to-1).
				WithHint("name @lsn:%d, or @lsn:%d and later", s.from-1, s.to-1)
		}
	}
	return nil
}
