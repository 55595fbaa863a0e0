package chain

import (
	"context"

	"varve/internal/dump"
	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/inode"
	"varve/internal/tree"
)

// state is what a link of a chain leaves to the next: which archive numbers the
// share's inodes have, and which are in use. It does not change.
type state struct {
	numbers *Numbers
	used    *dump.Map
}

func (s *state) bytes() int { return len(s.numbers.runs)*20 + int(s.numbers.max)/8 }

// scanState numbers all inodes of a view: the state of a level 0.
func scanState(ctx context.Context, v *engine.View) (*state, error) {
	n := newNumbers()
	var used []byte // as a dump.Map has them, up to n.max
	err := scanNumbers(ctx, v, func(ino uint64) error {
		if ino != inode.Root { // which has its number
			if err := n.add(ino); err != nil {
				return err
			}
		}
		bit := n.max - 1 // of the number that was given last
		for uint32(len(used)) <= bit/8 {
			used = append(used, 0)
		}
		used[bit/8] |= 1 << (bit % 8)
		return nil
	})
	if err != nil {
		return nil, err
	}
	n.seal()
	s := &state{n, dump.NewMap(n.max)}
	s.used.Copy(dump.MapOf(used))
	return s, nil
}

// A step is the way from one state to the next: what changed between two views.
type step struct {
	state
	changed *dump.Map // by archive number: all of which something differs, new or not
}

// diffState makes a step. Only what differs is looked at, and the maps.
func diffState(ctx context.Context, base *state, was, is *engine.View) (*step, error) {
	n := base.numbers.clone()
	before, last := n.max, uint64(0)
	err := was.ItemDiff(ctx, is, func(k tree.Key, a, b []byte) error {
		ino, lo := k.Split()
		if lo>>inode.ItemShift != inode.InodeItem || a != nil || b == nil || ino == last {
			return nil
		}
		last = ino
		if base.numbers.archive(ino) != 0 {
			return nil // a rollback brought it back
		}
		return n.add(ino)
	})
	if err != nil {
		return nil, err
	}
	if n.max != before {
		n.seal()
	}
	s := &step{state{n, dump.NewMap(n.max)}, dump.NewMap(n.max)}
	s.used.Copy(base.used)
	return s, was.ItemDiff(ctx, is, func(k tree.Key, a, b []byte) error {
		ino, lo := k.Split()
		num := n.archive(ino)
		if num == 0 {
			if lo>>inode.ItemShift == inode.InodeItem && b != nil {
				return fail.New(fail.Corrupt, "inode %d has no number", ino)
			}
			return nil // it came and went, or its items hang over
		}
		if lo>>inode.ItemShift != inode.InodeItem {
			s.changed.Set(num)
			return nil
		}
		switch {
		case b == nil:
			s.used.Clear(num)
		case a == nil:
			s.used.Set(num)
			s.changed.Set(num)
		default:
			differs, err := differ(a, b)
			if err != nil {
				return fail.Wrap(fail.Corrupt, err, "inode %d", ino)
			}
			if differs {
				s.changed.Set(num)
			}
		}
		return nil
	})
}

// differ reports whether two inodes differ in more than when they were read.
func differ(a, b []byte) (bool, error) {
	x, err := inode.Parse(a)
	if err != nil {
		return false, err
	}
	y, err := inode.Parse(b)
	x.Atime, x.Rough, x.Verifier = y.Atime, y.Rough, y.Verifier
	return x != y, err
}

// planStep plans the archive of a step: what changed and is there, and all
// directories that lead there. At levels of at least honor, nodump is honoured.
func planStep(ctx context.Context, s *share, st *step, level, honor int, o *dump.Options) (*dump.Plan, error) {
	p := &planner{
		ctx: ctx, s: s, hides: level >= honor,
		plan:   &dump.Plan{Used: st.used, Dumped: dump.NewMap(st.numbers.max), Dirs: dump.NewMap(st.numbers.max)},
		hidden: dump.NewMap(st.numbers.max),
	}
	if err := p.way(dump.RootIno); err != nil {
		return nil, err
	}
	named := dump.NewMap(st.numbers.max) // directories that may name what changed
	files := dump.NewMap(st.numbers.max) // what changed and is no directory
	links := make(map[uint32]uint32)     // how many names of those with several, or not found yet, are missing
	for n := st.changed.Next(0); n != 0; n = st.changed.Next(n + 1) {
		if !st.used.Has(n) {
			continue
		}
		i, err := p.load(n)
		if err != nil {
			return nil, err
		}
		if i.IsDir() {
			if err := p.way(n); err != nil {
				return nil, err
			}
			named.Set(n)
			continue
		}
		if p.hides && i.Flags&inode.FlagNodump != 0 {
			continue
		}
		files.Set(n)
		if i.Nlink > 1 {
			if len(links) >= maxLinked {
				return nil, fail.New(fail.TooBig, "more than %d files with several names changed", maxLinked).WithHint("dump level 0")
			}
			links[n] = i.Nlink
		}
		if parent := s.numbers.archive(i.Parent); parent != 0 && st.used.Has(parent) {
			named.Set(parent)
		}
	}
	found, err := p.names(named, files, links)
	if err != nil {
		return nil, err
	}
	if len(links) > 0 || found.Count() < files.Count() { // names elsewhere
		rest := dump.NewMap(st.numbers.max)
		err := scanInodes(ctx, s.view, func(ino uint64, i *inode.Inode, _ bool) error {
			if n := s.numbers.archive(ino); i.IsDir() && !named.Has(n) {
				rest.Set(n)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if _, err := p.names(rest, files, links); err != nil {
			return nil, err
		}
	}
	if err := dump.Measure(ctx, s, p.plan, o); err != nil {
		return nil, err
	}
	return p.plan, nil
}

// maxLinked bounds the changed files with several names that are held in memory.
const maxLinked = 1 << 20

type planner struct {
	ctx    context.Context
	s      *share
	plan   *dump.Plan
	hides  bool
	hidden *dump.Map // directories that are or lie below one with nodump
}

func (p *planner) load(n uint32) (i inode.Inode, err error) {
	err = p.s.view.Look(func(r inode.Reader) (err error) {
		i, err = inode.Load(r, p.s.numbers.share(n))
		return err
	})
	return i, err
}

// way takes a directory and all above it into the plan, unless one of them has
// nodump.
func (p *planner) way(n uint32) error {
	var up []uint32
	hidden := false
	for !p.plan.Dirs.Has(n) && len(up) < 1<<16 {
		if p.hidden.Has(n) {
			hidden = true
			break
		}
		up = append(up, n)
		i, err := p.load(n)
		if err != nil {
			return err
		}
		if n == dump.RootIno {
			break
		}
		if p.hides && i.Flags&inode.FlagNodump != 0 {
			hidden = true
			break
		}
		parent := p.s.numbers.archive(i.Parent)
		if parent == 0 {
			return fail.New(fail.Corrupt, "directory %d of %s is in %d, which has no number", p.s.numbers.share(n), p.s.name, i.Parent)
		}
		n = parent
	}
	for _, n := range up {
		if hidden {
			p.hidden.Set(n)
			continue
		}
		p.plan.Dirs.Set(n)
		p.plan.Dumped.Set(n)
	}
	return nil
}

// names looks through directories for the files that changed: these directories
// are dumped, and so are the files. It returns those that it found, and takes names
// that were found out of links.
func (p *planner) names(dirs, files *dump.Map, links map[uint32]uint32) (*dump.Map, error) {
	found := dump.NewMap(files.MaxIno())
	for n := dirs.Next(0); n != 0; n = dirs.Next(n + 1) {
		any := false
		err := p.s.Entries(p.ctx, &dump.Inode{Ino: n}, func(e dump.Entry) error {
			if !files.Has(e.Ino) {
				return nil
			}
			any = true
			found.Set(e.Ino)
			if left, ok := links[e.Ino]; ok {
				if links[e.Ino] = left - 1; left == 1 {
					delete(links, e.Ino)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if !any {
			continue
		}
		if err := p.way(n); err != nil {
			return nil, err
		}
		if !p.plan.Dirs.Has(n) { // nodump above
			continue
		}
		err = p.s.Entries(p.ctx, &dump.Inode{Ino: n}, func(e dump.Entry) error {
			if files.Has(e.Ino) {
				p.plan.Dumped.Set(e.Ino)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}
