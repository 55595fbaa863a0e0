package redo

import (
	"context"
	"strings"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/inode"
	"varve/internal/when"
)

// FromOptions say where operations come from that were another dataset's.
type FromOptions struct {
	Options
	At     when.Spec // the moment of the dataset that the new one begins as
	Name   string    // of the new one
	Source func(ctx context.Context, fn func(*Step) error) error
}

// From is Replay of operations that come from elsewhere, with their data. Their
// objects get numbers of this dataset: those that they make new ones, others that
// of what is at their path.
func From(ctx context.Context, e *engine.Engine, c engine.Caller, dataset string, o FromOptions) (*Report, error) {
	begun := time.Now()
	r := &Report{Dataset: dataset, Name: o.Name}
	err := e.FreeName(o.Name)
	if o.DryRun {
		err = nil
	}
	if err == nil {
		r.From, err = e.Resolve(dataset, o.At)
	}
	if err != nil {
		return r, err
	}
	a, err := e.Draft(c, r.From, o.Name)
	if err != nil {
		return r, err
	}
	defer a.Discard()
	p := newPlayer(a, o.Options, r)
	p.inos = map[uint64]uint64{}
	err = p.run(ctx, func(ctx context.Context, send func(*batch) error) error {
		f := filler{send: send}
		err := o.Source(ctx, func(s *Step) error {
			if s.Op.Kind.OnFile() != a.IsShare() {
				return fail.New(fail.Invalid, "%s is a %s; the operation %s is not for one", dataset, kindOf(a), s.Op.Kind)
			}
			own, data, err := f.add(s.Op, len(s.Data))
			if err == nil {
				own.Path, own.Data = s.Path, data
				copy(data, s.Data)
			}
			return err
		})
		if err != nil {
			return err
		}
		return f.flush()
	})
	if err == nil && !o.DryRun {
		r.Done, err = a.Publish(c, o.Name)
	}
	r.Took = took(begun)
	return r, err
}

func kindOf(a *engine.Draft) string {
	if a.IsShare() {
		return "share"
	}
	return "volume"
}

// translate gives the objects of an operation on another dataset the numbers that
// they have here.
func (p *player) translate(s *Step) error {
	for _, n := range []*uint64{&p.op.Ino, &p.op.Dir, &p.op.Dir2, &p.op.Ino2} {
		if *n == 0 || n == &p.op.Ino && p.op.Kind.Makes() {
			continue
		}
		ino, err := p.inoOf(s, *n)
		if err != nil {
			return err
		}
		*n = ino
	}
	return nil
}

// noIno is a number that no object has: what is not there.
const noIno = 1

func (p *player) inoOf(s *Step, theirs uint64) (uint64, error) {
	if ino, ok := p.inos[theirs]; ok {
		return ino, nil
	}
	if theirs == inode.Root {
		return inode.Root, nil
	}
	if err := p.bounded(); err != nil {
		return 0, err
	}
	path := ""
	if s.Path != nil {
		path = s.Path(theirs)
	}
	if path == "" {
		p.inos[theirs] = noIno // for good: what has such a name later is another
		return noIno, nil
	}
	ino := uint64(inode.Root)
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if name == "" {
			continue
		}
		dir := ino
		err := p.a.Look(func(r inode.Reader) error {
			e, ok, err := inode.Lookup(r, p.a.Seed(), dir, name)
			if ino = e.Ino; !ok {
				ino = noIno
			}
			return err
		})
		if err != nil {
			return 0, err
		}
		if ino == noIno {
			break
		}
	}
	p.inos[theirs] = ino
	return ino, nil
}
