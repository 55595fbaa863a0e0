package dump

import (
	"context"
	"errors"
)

// Since tells which inodes of a foreign file system changed: those whose mtime or
// ctime is at or after it, in seconds since 1970. Level 0 takes all.
type Since struct {
	Level int
	Time  int64
	// Honor is the least level at which the nodump flag is honoured.
	Honor int
}

func (s *Since) changed(i *Inode) bool {
	return s.Level == 0 || i.Mtime.Sec >= s.Time || i.Ctime.Sec >= s.Time
}

func (s *Since) honors() bool { return s.Level >= s.Honor }

// Examine makes the first two passes over a file system: which inodes are in use,
// which of them are dumped, and about how long the archive will be.
//
// I: all inodes that changed are dumped, those with nodump are not. II: directories
// that did not change are dumped where something below them is; what is below a
// directory with nodump is not. The root always is.
func Examine(ctx context.Context, s Source, since Since, o *Options) (*Plan, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	x := &examination{ctx: ctx, s: s, since: since, o: o}
	x.dirs = NewMap(s.Info().MaxIno)
	x.plan = &Plan{Used: NewMap(s.Info().MaxIno), Dumped: NewMap(s.Info().MaxIno), Dirs: NewMap(s.Info().MaxIno)}
	if err := x.inodes(); err != nil {
		return nil, err
	}
	if err := x.directories(); err != nil {
		return nil, err
	}
	x.finish()
	return x.plan, nil
}

// errFound ends a look through a directory.
var errFound = errors.New("found")

type examination struct {
	ctx    context.Context
	s      Source
	since  Since
	o      *Options
	plan   *Plan
	dirs   *Map // all directories
	nodump *Map // directories whose subtrees are left out, nil without any
}

// inodes is pass I.
func (x *examination) inodes() error {
	return x.s.Scan(x.ctx, nil, func(i *Inode) error {
		x.plan.Used.Set(i.Ino)
		hidden := i.Flags&Nodump != 0 && x.since.honors() && i.Ino != RootIno
		if i.IsDir() {
			x.dirs.Set(i.Ino)
			if hidden {
				if x.nodump == nil {
					x.nodump = NewMap(x.s.Info().MaxIno)
				}
				x.nodump.Set(i.Ino)
			}
		}
		if !hidden && (x.since.changed(i) || i.Ino == RootIno) {
			x.plan.Dumped.Set(i.Ino)
			x.plan.Records += x.records(i)
		}
		return nil
	})
}

// records estimates what an inode takes in the archive.
func (x *examination) records(i *Inode) uint64 {
	var data uint64
	switch i.Mode & ModeType {
	case ModeFile:
		data = min((i.Size+RecordSize-1)/RecordSize, (i.Blocks+1)/2+1)
	case ModeDir:
		data = (i.Size + RecordSize - 1) / RecordSize
	case ModeLink:
		data = (i.Size + RecordSize - 1) / RecordSize
	}
	heads := 1 + i.Size/RecordSize/maxAddr
	if i.IsDevice() || i.Mode&ModeType == ModeFIFO || i.Mode&ModeType == ModeSocket {
		heads = 1
	}
	if i.HasXattrs {
		data++
		if x.o.Profile == Linux {
			heads++
		}
	}
	return heads + data
}

// directories is pass II. Nothing has to be looked at where all of the tree is
// dumped.
func (x *examination) directories() error {
	if x.since.Level == 0 && x.nodump == nil {
		return nil
	}
	if x.nodump != nil {
		if err := x.spreadNodump(); err != nil {
			return err
		}
	}
	for again := x.since.Level > 0; again; {
		var err error
		if again, err = x.keepParents(); err != nil {
			return err
		}
	}
	return nil
}

// spreadNodump takes what is below directories with nodump out of the dump, until
// a round finds no more directories there.
func (x *examination) spreadNodump() error {
	done := NewMap(x.s.Info().MaxIno)
	for {
		todo := NewMap(x.s.Info().MaxIno)
		n := 0
		for ino := x.nodump.Next(0); ino != 0; ino = x.nodump.Next(ino + 1) {
			if !done.Has(ino) {
				todo.Set(ino)
				done.Set(ino)
				n++
			}
		}
		if n == 0 {
			return nil
		}
		err := x.s.Scan(x.ctx, todo, func(dir *Inode) error {
			return x.s.Entries(x.ctx, dir, func(e Entry) error {
				if e.Ino == RootIno {
					return nil
				}
				x.plan.Dumped.Clear(e.Ino)
				if x.dirs.Has(e.Ino) {
					x.nodump.Set(e.Ino)
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
}

// keepParents takes in the directories that name something dumped. It reports
// whether one more round may find more.
func (x *examination) keepParents() (again bool, err error) {
	todo := NewMap(x.s.Info().MaxIno)
	for ino := x.dirs.Next(0); ino != 0; ino = x.dirs.Next(ino + 1) {
		if !x.plan.Dumped.Has(ino) && (x.nodump == nil || !x.nodump.Has(ino)) {
			todo.Set(ino)
		}
	}
	err = x.s.Scan(x.ctx, todo, func(dir *Inode) error {
		found := false
		err := x.s.Entries(x.ctx, dir, func(e Entry) error {
			if x.plan.Dumped.Has(e.Ino) {
				found = true
				return errFound
			}
			return nil
		})
		if found {
			x.plan.Dumped.Set(dir.Ino)
			x.plan.Records += x.records(dir)
			again, err = true, nil
		}
		return err
	})
	return again, err
}

// finish adds up.
func (x *examination) finish() {
	p := x.plan
	for ino := x.dirs.Next(0); ino != 0; ino = x.dirs.Next(ino + 1) {
		if p.Dumped.Has(ino) {
			p.Dirs.Set(ino)
		}
	}
	p.Records += p.overhead()
}

// overhead is what the archive has besides inodes, up to its padding.
func (p *Plan) overhead() uint64 { return uint64(3 + p.Used.Records() + p.Dumped.Records()) }
