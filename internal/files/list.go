package files

import (
	"context"
	"slices"
	"strings"
	"time"

	"varve/internal/engine"
	"varve/internal/inode"
)

// Entry describes one file, of whatever type.
type Entry struct {
	Path   Text      `json:"path"`
	Type   string    `json:"type" enum:"file,dir,symlink,fifo,socket,char,block"`
	Ino    uint64    `json:"ino"`
	Mode   uint32    `json:"mode" doc:"Permission bits"`
	Nlink  uint32    `json:"nlink"`
	UID    uint32    `json:"uid"`
	GID    uint32    `json:"gid"`
	Size   uint64    `json:"size" doc:"Bytes; of a directory: entries"`
	Used   uint64    `json:"used" doc:"Bytes of payload"`
	Mtime  time.Time `json:"mtime"`
	Ctime  time.Time `json:"ctime"`
	Atime  time.Time `json:"atime"`
	Btime  time.Time `json:"btime"`
	Target Text      `json:"target,omitempty" doc:"Where a symbolic link leads"`
	Rdev   uint64    `json:"rdev,omitempty" doc:"Of a device: major<<32 | minor"`
}

// How much of a directory is looked at in one go, and up to how many entries
// it is sorted.
const (
	listChunk = 100
	maxSorted = 100_000
)

var typeNames = map[uint32]string{
	inode.ModeFile: "file", inode.ModeDir: "dir", inode.ModeLink: "symlink", inode.ModeFIFO: "fifo",
	inode.ModeSocket: "socket", inode.ModeChar: "char", inode.ModeBlock: "block",
}

// List visits what is in a directory, by name, or the one thing that is no
// directory. With self a directory itself is visited instead. A directory with
// more than 100,000 entries comes in no order. It returns what the moment was
// resolved to, if there was one.
func (f *Files) List(ctx context.Context, p Place, self bool, fn func(Entry) error) (*engine.Moment, error) {
	s, err := f.open(ctx, p.Share, p.When)
	if err != nil {
		return nil, err
	}
	defer s.close()
	ino, i, err := s.find(p.Path)
	if err != nil {
		return s.moment, err
	}
	names, _ := split(p.Path)
	if i.IsDir() && !self {
		return s.moment, s.listDir(ctx, ino, join(names), fn)
	}
	e, err := s.entry(join(names), ino)
	if err != nil {
		return s.moment, err
	}
	return s.moment, fn(e)
}

func (s *state) listDir(ctx context.Context, dir uint64, path string, fn func(Entry) error) error {
	var all []inode.Entry
	sorted := true
	flush := func() error {
		for len(all) > 0 {
			n := min(len(all), listChunk)
			entries, err := s.entries(path, all[:n])
			if err != nil {
				return err
			}
			for _, e := range entries {
				if err := fn(e); err != nil {
					return err
				}
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			all = all[n:]
		}
		return nil
	}
	err := s.names(dir, func(chunk []inode.Entry) error {
		if all = append(all, chunk...); len(all) <= maxSorted && sorted {
			return nil
		}
		sorted = false
		return flush()
	})
	if err != nil {
		return err
	}
	if sorted {
		slices.SortFunc(all, func(a, b inode.Entry) int { return strings.Compare(a.Name, b.Name) })
	}
	return flush()
}

// names visits the entries of a directory, some at a time: what fn does
// meanwhile holds up nobody.
func (s *state) names(dir uint64, fn func([]inode.Entry) error) error {
	after := uint64(0)
	for {
		var chunk []inode.Entry
		err := s.Look(func(r inode.Reader) error {
			chunk = nil
			return inode.List(r, dir, after, func(e inode.Entry) bool {
				chunk = append(chunk, e)
				return len(chunk) < listChunk
			})
		})
		if err != nil || len(chunk) == 0 {
			return err
		}
		after = chunk[len(chunk)-1].Cookie
		if err := fn(chunk); err != nil {
			return err
		}
	}
}

// entries describes some entries of a directory. What has gone meanwhile is
// left out.
func (s *state) entries(dir string, names []inode.Entry) (out []Entry, err error) {
	err = s.Look(func(r inode.Reader) error {
		out = make([]Entry, 0, len(names))
		for _, n := range names {
			e, err := s.describe(r, child(dir, n.Name), n.Ino)
			if isGone(err) {
				continue
			}
			if err != nil {
				return err
			}
			out = append(out, e)
		}
		return nil
	})
	return out, err
}

func (s *state) entry(path string, ino uint64) (e Entry, err error) {
	err = s.Look(func(r inode.Reader) error {
		e, err = s.describe(r, path, ino)
		return err
	})
	return e, err
}

func (s *state) describe(r inode.Reader, path string, ino uint64) (Entry, error) {
	i, err := inode.Load(r, ino)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{
		Path: Text(path), Type: typeNames[i.Mode&inode.ModeType], Ino: ino, Mode: i.Mode &^ inode.ModeType,
		Nlink: i.Nlink, UID: i.UID, GID: i.GID, Size: i.Size, Used: i.Blocks * engine.BlockSize, Rdev: i.Rdev,
		Mtime: wall(i.Mtime), Ctime: wall(max(i.Ctime, s.floor())), Atime: wall(i.Atime), Btime: wall(i.Btime),
	}
	if i.IsDir() {
		e.Size = i.Entries
	}
	if i.Mode&inode.ModeType == inode.ModeLink {
		target, err := inode.Target(r, ino)
		if err != nil {
			return Entry{}, err
		}
		e.Target = Text(target)
	}
	return e, nil
}

func wall(ns int64) time.Time { return time.Unix(0, ns).UTC() }
