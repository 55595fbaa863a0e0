package redo

import (
	"errors"
	"fmt"
	"math"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/inode"
	"varve/internal/oplog"
)

// player repeats operations on a draft. Of one goroutine.
type player struct {
	a      *engine.Draft
	opt    Options
	report *Report
	left   leftOut
	total  uint64
	began  uint64            // what clients did after this operation is not tainted
	aside  map[named]string  // names that were changed, for there was another
	inos   map[uint64]uint64 // of objects of another dataset; nil: they have the same numbers
	paths  paths

	result looker   // what came of it
	op     oplog.Op // the one at work
}

// named is a name of an object, as the operations say it.
type named struct {
	place
	ino uint64
}

func newPlayer(a *engine.Draft, opt Options, r *Report) *player {
	if opt.OnConflict == "" {
		opt.OnConflict = RenameAside
	}
	r.Causes = map[string]uint64{}
	r.DryRun = opt.DryRun
	return &player{a: a, opt: opt, report: r, began: math.MaxUint64, left: newLeftOut(), aside: map[named]string{}, paths: newPaths(a), result: a}
}

// step repeats one operation, or leaves it out.
func (p *player) step(s *Step) error {
	p.report.Ops++
	if s.Out {
		p.report.LeftOut++
		p.report.client(s.Op.Client)
		p.report.OutBytes += payload(s.Op)
		return p.left.note(s.Op)
	}
	if p.opt.Taint != NoTaint && s.Op.LSN <= p.began && p.left.tainted(p.opt.Taint, s.Op) {
		p.report.Tainted++
		p.report.OutBytes += payload(s.Op)
		return p.left.note(s.Op)
	}
	if s.Op.Kind.TurnsBack() {
		return fail.New(fail.Busy, "%s was rolled back meanwhile, at lsn %d", p.report.Dataset, s.Op.LSN).WithHint("begin again")
	}
	p.again(s.Op)
	if p.inos != nil {
		if err := p.translate(s); err != nil {
			return err
		}
	}
	if cause, with := p.left.before(s.Op); cause != "" && p.meets() {
		done, err := p.overlaps(s, cause, with)
		if done || err != nil {
			return err
		}
	}
	err := p.do(s)
	var c *clash
	for tries := 0; errors.As(err, &c); tries++ {
		var again bool
		if again, err = p.resolve(s, c, tries); again && err == nil {
			err = p.do(s)
		} else if err == nil {
			return nil
		}
	}
	if err != nil {
		return err
	}
	p.report.Repeated++
	p.report.Bytes += payload(s.Op)
	p.left.repeated(s.Op)
	return p.renamed(s.Op)
}

func payload(op *oplog.Op) uint64 {
	if op.Kind.Writes() {
		return op.Len
	}
	return 0
}

// again begins the operation that repeats op.
func (p *player) again(op *oplog.Op) {
	p.op = oplog.Op{
		Kind: op.Kind, Client: op.Client, Off: op.Off, Len: op.Len, Size: op.Size,
		Ino: op.Ino, Dir: op.Dir, Name: op.Name, Dir2: op.Dir2, Name2: op.Name2, Ino2: op.Ino2,
		Attr: op.Attr, Value: op.Value, UID: op.UID, GID: op.GID,
	}
	if op.Kind.OnFile() {
		p.op.As = op.Shows()
		if name, ok := p.aside[named{place{op.Dir, op.Name}, op.Ino}]; ok {
			p.op.Name = name
		}
	}
	if name, ok := p.aside[replaced(op)]; ok && op.Kind == oplog.Move && op.Ino2 != op.Ino {
		p.op.Name2 = name // it replaces what has another name here
	}
}

// replaced is the name that a move takes, and whose it was.
func replaced(op *oplog.Op) named { return named{place{op.Dir2, op.Name2}, op.Ino2} }

// do makes the operation. A *clash says that it does not fit, and then nothing
// has happened.
func (p *player) do(s *Step) error {
	op := &p.op
	p.a.As(op.Client)
	switch {
	case op.Kind == oplog.Write, op.Kind == oplog.Trim:
		if size := p.a.Size(); op.Off > size || op.Len > size-op.Off {
			return &clash{cause: beyondEnd}
		}
		if op.Kind == oplog.Trim {
			return p.a.Trim(op.Off, op.Len)
		}
		return p.a.WriteAt(s.Data, op.Off)
	case op.Kind == oplog.Resize:
		return p.a.Grow(op.Size)
	case op.Kind == oplog.WriteFile:
		return p.a.WriteFile(op, nil, s.Data, p.judge, nil)
	case op.Kind == oplog.Setattr && op.Attr.Mask&oplog.SetSize != 0:
		return p.a.Truncate(op, p.judge, nil)
	}
	return p.a.Change(op, p.judge, nil)
}

func (p *player) judge(r inode.Reader) error {
	if p.inos != nil && p.op.Kind.Makes() {
		p.op.Ino = p.a.NextIno()
	}
	return fits(r, p.a.Seed(), &p.op)
}

// meets reports whether the operation finds its object.
func (p *player) meets() bool {
	return !p.op.Kind.OnFile() || p.a.Look(func(r inode.Reader) error { return fits(r, p.a.Seed(), &p.op) }) == nil
}

// overlaps decides about an operation that fits, and writes over what one left out
// had written.
func (p *player) overlaps(s *Step, cause string, with uint64) (done bool, err error) {
	switch p.opt.OnConflict {
	case RenameAside, KeepNewer:
		return false, p.tell(s.Op, cause, with, "repeated", "")
	}
	return true, p.skip(s.Op, cause, with)
}

// resolve decides about an operation that does not fit. again: it has been changed
// so that it may.
func (p *player) resolve(s *Step, c *clash, tries int) (again bool, err error) {
	op := s.Op
	if c.cause == nameTaken && tries == 0 {
		switch p.opt.OnConflict {
		case RenameAside:
			return true, p.rename(op)
		case KeepNewer:
			again, err = p.takeOver(op, c)
		}
		if again || err != nil {
			return again, err
		}
	}
	return false, p.skip(op, c.cause, p.left.with(op))
}

// skip leaves out an operation that depends on one left out.
func (p *player) skip(op *oplog.Op, cause string, with uint64) error {
	if p.opt.OnConflict == Abort && !p.opt.DryRun {
		if err := p.tell(op, cause, with, "refused", ""); err != nil {
			return err
		}
		return fail.Wrap(fail.Other, Conflict(cause), "%s at lsn %d depends on what is left out", op.Kind, op.LSN).
			WithHint("nothing was changed; --dry-run shows all conflicts, --on-conflict says what to do about them")
	}
	p.report.Skipped++
	p.report.OutBytes += payload(op)
	if err := p.tell(op, cause, with, "left out", ""); err != nil {
		return err
	}
	if p.opt.OnConflict == Cascade {
		return p.left.note(op)
	}
	return p.left.object(op) // so that it can be told where what depends on it is
}

// rename gives the object another name than the one that is taken.
func (p *player) rename(op *oplog.Op) error {
	at, name := place{op.Dir, op.Name}, &p.op.Name
	if op.Kind == oplog.Move {
		at, name = place{op.Dir2, op.Name2}, &p.op.Name2
		p.op.Ino2 = 0
	}
	suffix := fmt.Sprintf(".replay-%d", op.LSN)
	*name = at.name[:min(len(at.name), inode.MaxName-len(suffix))] + suffix
	return p.tell(op, nameTaken, p.left.with(op), "renamed", *name)
}

// takeOver removes what has the name, where that is possible.
func (p *player) takeOver(op *oplog.Op, c *clash) (bool, error) {
	at := place{op.Dir, op.Name}
	if op.Kind == oplog.Move {
		at = place{op.Dir2, op.Name2}
	}
	gone := oplog.Op{Kind: oplog.Remove, Client: op.Client, As: op.Shows(), Ino: c.ino, Dir: at.dir, Name: at.name, UID: op.UID, GID: op.GID}
	if uint32(c.typ)<<12 == inode.ModeDir {
		gone.Kind = oplog.Rmdir
	}
	err := p.a.Change(&gone, func(r inode.Reader) error { return fits(r, p.a.Seed(), &gone) }, nil)
	var not *clash
	if errors.As(err, &not) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, p.tell(op, nameTaken, p.left.with(op), "took over", "")
}

// renamed follows the names that were changed, and the numbers of what was made.
// TooBig where they are too many.
func (p *player) renamed(op *oplog.Op) error {
	was := named{place{op.Dir, op.Name}, op.Ino}
	switch op.Kind {
	case oplog.Create, oplog.Mkdir, oplog.Symlink, oplog.Mknod, oplog.Link:
		if p.op.Name != op.Name {
			p.aside[was] = p.op.Name
		}
	case oplog.Remove, oplog.Rmdir, oplog.Move:
		delete(p.aside, was)
		if op.Kind != oplog.Move {
			break
		}
		if op.Ino2 != op.Ino {
			delete(p.aside, replaced(op))
		}
		if p.op.Name2 != op.Name2 {
			p.aside[named{place{op.Dir2, op.Name2}, op.Ino}] = p.op.Name2
		}
	}
	if p.op.Kind == oplog.Move || p.op.Kind == oplog.Mkdir {
		p.paths.forget(p.op.Ino)
	}
	if p.inos != nil && op.Kind.Makes() {
		p.inos[op.Ino] = p.op.Ino
	}
	return p.bounded()
}

// bounded refuses to remember more.
func (p *player) bounded() error {
	if len(p.aside)+len(p.inos) <= maxLeft {
		return nil
	}
	return fail.New(fail.TooBig, "more than %d objects were made or renamed by what is repeated", maxLeft).WithHint("choose a smaller range")
}

// tell counts a conflict, and lists it among the first.
func (p *player) tell(op *oplog.Op, cause string, with uint64, action, name string) error {
	p.report.Causes[cause]++
	p.report.Partial = p.report.Partial || action == "left out"
	if len(p.report.Clashes) >= maxClashes {
		return nil
	}
	c := Clash{LSN: op.LSN, Time: time.Unix(0, op.Time).UTC(), Op: op.Kind.String(), Cause: cause, With: with, Action: action, Name: name}
	if op.Client != nil {
		c.Client = op.Client.Name
	}
	if payload(op) > 0 || op.Kind == oplog.Trim {
		c.Off, c.Len = op.Off, op.Len
	}
	var err error
	if op.Kind.OnFile() {
		c.Path, err = p.paths.of(p.op.Ino, op, &p.left)
	}
	p.report.Clashes = append(p.report.Clashes, c)
	return err
}
