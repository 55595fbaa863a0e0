package chain

import (
	"context"
	"slices"
	"strings"

	"varve/internal/dump"
	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/inode"
	"varve/internal/tree"
)

// share is a dump.Source of a share at a moment.
type share struct {
	view    *engine.View
	name    string
	numbers *Numbers
	inodes  uint64
	bytes   uint64
}

func newShare(v *engine.View, name string, n *Numbers) *share {
	bytes, inodes := v.Usage()
	return &share{view: v, name: name, numbers: n, inodes: inodes, bytes: bytes}
}

// Info implements dump.Source.
func (s *share) Info() dump.Info {
	return dump.Info{
		Kind: "share", Label: s.name, MaxIno: s.numbers.max, BlockSize: engine.BlockSize, Inodes: s.inodes, Used: s.bytes,
	}
}

// Warnings implements dump.Source.
func (s *share) Warnings() []string { return nil }

// sparse: of fewer inodes than one in so many each is looked up.
const sparse = 16

// Scan implements dump.Source.
func (s *share) Scan(ctx context.Context, want *dump.Map, fn func(*dump.Inode) error) error {
	if want == nil || s.numbers.straight() && want.Count()*sparse > s.inodes {
		return scanInodes(ctx, s.view, func(ino uint64, i *inode.Inode, xattrs bool) error {
			n := s.numbers.archive(ino)
			if n == 0 {
				return fail.New(fail.Corrupt, "inode %d of %s has no number", ino, s.name)
			}
			if want != nil && !want.Has(n) {
				return nil
			}
			return fn(s.inode(n, i, xattrs))
		})
	}
	for n := want.Next(0); n != 0; n = want.Next(n + 1) {
		if err := ctx.Err(); err != nil {
			return err
		}
		ino := s.numbers.share(n)
		var i inode.Inode
		var xattrs bool
		err := s.view.Look(func(r inode.Reader) (err error) {
			if i, err = inode.Load(r, ino); err != nil {
				return err
			}
			return inode.Xattrs(r, ino, func(string, int) bool {
				xattrs = true
				return false
			})
		})
		if err != nil {
			return err
		}
		if err := fn(s.inode(n, &i, xattrs)); err != nil {
			return err
		}
	}
	return nil
}

// scanNumbers visits the numbers of the inodes of a view, rising. It looks at keys alone.
func scanNumbers(ctx context.Context, v *engine.View, fn func(ino uint64) error) error {
	item := func(list []uint64, ino, kind uint64, _ []byte) ([]uint64, error) {
		if kind == inode.InodeItem {
			list = append(list, ino)
		}
		return list, nil
	}
	return scanChunks(ctx, v, 4096, item, func(ino *uint64) error { return fn(*ino) })
}

// scanInodes visits the inodes of a view in the order of their numbers.
func scanInodes(ctx context.Context, v *engine.View, fn func(ino uint64, i *inode.Inode, xattrs bool) error) error {
	type found struct {
		ino    uint64
		inode  inode.Inode
		xattrs bool
	}
	item := func(list []found, ino, kind uint64, val []byte) ([]found, error) {
		switch kind {
		case inode.InodeItem:
			i, err := inode.Parse(val)
			if err != nil {
				return list, fail.Wrap(fail.Corrupt, err, "inode %d", ino)
			}
			list = append(list, found{ino: ino, inode: i})
		case inode.XattrItem:
			if n := len(list); n > 0 && list[n-1].ino == ino {
				list[n-1].xattrs = true
			}
		}
		return list, nil
	}
	return scanChunks(ctx, v, 512, item, func(f *found) error { return fn(f.ino, &f.inode, f.xattrs) })
}

// scanChunks visits the inodes of a view, which item makes of the items of a share, so
// many at a time: nothing is held while fn runs.
func scanChunks[T any](ctx context.Context, v *engine.View, chunk int, item func(list []T, ino, kind uint64, val []byte) ([]T, error), fn func(*T) error) error {
	list := make([]T, 0, chunk)
	next, more := inode.Key(1), true
	for more {
		list, more = list[:0], false
		var bad error
		err := v.Look(func(r inode.Reader) error {
			return r.Scan(next, tree.MaxKey, func(k tree.Key, val []byte) bool {
				ino, lo := k.Split()
				kind := lo >> inode.ItemShift
				if kind == inode.InodeItem && len(list) == chunk {
					next, more = k, true
					return false
				}
				list, bad = item(list, ino, kind, val)
				return bad == nil
			})
		})
		if err == nil {
			err = bad
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		for i := range list {
			if err := fn(&list[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *share) inode(n uint32, i *inode.Inode, xattrs bool) *dump.Inode {
	d := &dump.Inode{
		Ino: n, Mode: i.Mode, Nlink: i.Nlink, UID: i.UID, GID: i.GID, Size: i.Size, Blocks: i.Blocks * (engine.BlockSize / 512),
		Atime: dump.TimeOf(i.Atime), Mtime: dump.TimeOf(i.Mtime), Ctime: dump.TimeOf(max(i.Ctime, s.view.Floor())), Birth: dump.TimeOf(i.Btime),
		HasXattrs: xattrs,
	}
	if i.Flags&inode.FlagNodump != 0 {
		d.Flags = dump.Nodump
	}
	if d.IsDevice() {
		d.Major, d.Minor = uint32(i.Rdev>>32), uint32(i.Rdev)
	}
	return d
}

// entriesAtATime is how many names are read in one go.
const entriesAtATime = 1024

// Entries implements dump.Source.
func (s *share) Entries(ctx context.Context, dir *dump.Inode, fn func(dump.Entry) error) error {
	ino := s.numbers.share(dir.Ino)
	list := make([]inode.Entry, 0, 64)
	for after := uint64(0); ; {
		list = list[:0]
		err := s.view.Look(func(r inode.Reader) error {
			return inode.List(r, ino, after, func(e inode.Entry) bool {
				list = append(list, e)
				return len(list) < entriesAtATime
			})
		})
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		for i := range list {
			e := &list[i]
			n := s.numbers.archive(e.Ino)
			if n == 0 {
				return fail.New(fail.Corrupt, "%.100q in directory %d of %s leads to inode %d, which has no number", e.Name, ino, s.name, e.Ino)
			}
			if err := fn(dump.Entry{Ino: n, Type: e.Type, Name: e.Name}); err != nil {
				return err
			}
			after = e.Cookie
		}
		if len(list) < entriesAtATime {
			return nil
		}
	}
}

// Parent implements dump.Source.
func (s *share) Parent(_ context.Context, dir *dump.Inode) (uint32, error) {
	ino := s.numbers.share(dir.Ino)
	var parent uint64
	err := s.view.Look(func(r inode.Reader) error {
		i, err := inode.Load(r, ino)
		parent = i.Parent
		return err
	})
	if err != nil {
		return 0, err
	}
	if n := s.numbers.archive(parent); n != 0 {
		return n, nil
	}
	return 0, fail.New(fail.Corrupt, "directory %d of %s is in %d, which has no number", ino, s.name, parent)
}

// Target implements dump.Source.
func (s *share) Target(_ context.Context, link *dump.Inode) (target string, err error) {
	ino := s.numbers.share(link.Ino)
	err = s.view.Look(func(r inode.Reader) (err error) {
		target, err = inode.Target(r, ino)
		return err
	})
	return target, err
}

// Xattrs implements dump.Source.
func (s *share) Xattrs(_ context.Context, i *dump.Inode) ([]dump.Xattr, error) {
	if !i.HasXattrs {
		return nil, nil
	}
	ino := s.numbers.share(i.Ino)
	var list []dump.Xattr
	err := s.view.Look(func(r inode.Reader) error {
		if err := inode.Xattrs(r, ino, func(name string, _ int) bool {
			list = append(list, dump.Xattr{Name: name})
			return true
		}); err != nil {
			return err
		}
		for k := range list {
			value, ok, err := inode.Xattr(r, s.view.Seed(), ino, list[k].Name)
			if err != nil {
				return err
			}
			if !ok {
				return fail.New(fail.Corrupt, "inode %d of %s lists the extended attribute %.100q and lacks it", ino, s.name, list[k].Name)
			}
			list[k].Value = value
		}
		return nil
	})
	slices.SortFunc(list, func(a, b dump.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return list, err
}

// Open implements dump.Source.
func (s *share) Open(_ context.Context, i *dump.Inode) (dump.File, error) {
	return shareFile{s.view, s.numbers.share(i.Ino), i.Size}, nil
}

type shareFile struct {
	view *engine.View
	ino  uint64
	size uint64
}

// Next implements dump.File.
func (f shareFile) Next(_ context.Context, off uint64) (from, to uint64, err error) {
	return f.view.NextData(f.ino, off, f.size)
}

// Read implements dump.File.
func (f shareFile) Read(_ context.Context, p []byte, off uint64) error {
	return f.view.ReadFile(f.ino, p, off)
}
