package files

import (
	"context"
	"crypto/rand"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/fs"
	"varve/internal/inode"
	"varve/internal/oplog"
	"varve/internal/when"
)

// Progress is what copying or restoring has done so far, and at the end.
type Progress struct {
	Files   uint64 `json:"files" doc:"Made or made anew, directories too"`
	Removed uint64 `json:"removed,omitempty" doc:"Of restoring: what was not there"`
	Bytes   uint64 `json:"bytes" doc:"Written"`
}

// Copied is what became of a copy or a restoration. It is durable.
type Copied struct {
	Progress
	LSN    uint64         `json:"lsn" doc:"The pool's last operation"`
	Moment *engine.Moment `json:"moment,omitempty"`
	Guard  string         `json:"guard,omitempty"`
	Path   Text           `json:"path" doc:"Where the copy is"`
}

// Copy copies what is at a place, with all that is below it, to a path of the
// present of a share, be it the same or another. Into a directory that is there it goes under
// its own name. What is in the way is refused with Exists; with force, files
// are replaced and directories merged. Modes, owners, times, extended
// attributes and hard links within are kept. It reads one moment, so a tree
// can be copied into itself.
func (f *Files) Copy(ctx context.Context, c engine.Caller, from Place, share, path string, force bool, tell func(Progress)) (out Copied, err error) {
	w := when.Spec{Kind: when.Now}
	if from.When != nil {
		w = *from.When
	}
	src, view, err := f.view(ctx, from.Share, w)
	if err != nil {
		return out, err
	}
	defer src.close()
	if from.When == nil {
		src.moment = nil // nobody asked for one
	}
	out.Moment = src.moment
	ino, i, err := src.find(from.Path)
	if err != nil {
		return out, err
	}
	k, err := f.copier(ctx, c, src, view, share, tell)
	if err != nil {
		return out, err
	}
	dir, name, err := k.target(from.Path, path)
	if err != nil {
		return out, err
	}
	err = k.put(dir, name, ino, i, force)
	out.Path, out.Progress, out.LSN = Text(child(dir.path, name)), k.done, k.lsn
	if err != nil {
		return out, err
	}
	return out, f.e.Flush()
}

// copier makes files of a share's present what files of a moment are.
type copier struct {
	ctx   context.Context
	f     *Files
	call  *fs.Call
	src   *state
	view  *engine.View
	share engine.DatasetInfo // that is written
	links map[uint64]fs.Handle
	tell  func(Progress)
	done  Progress
	lsn   uint64
	buf   []byte
	depth int // of directories that it is in
}

func (f *Files) copier(ctx context.Context, c engine.Caller, src *state, view *engine.View, to string, tell func(Progress)) (*copier, error) {
	share, err := f.share(to)
	if err != nil {
		return nil, err
	}
	return &copier{
		ctx: ctx, f: f, src: src, view: view, share: share, tell: tell, links: make(map[uint64]fs.Handle),
		call: &fs.Call{Client: &oplog.Client{Name: c.Proto + " " + c.Addr}},
		buf:  make([]byte, readSize),
	}, nil
}

// place is an object of the present, and where it was found.
type place struct {
	handle fs.Handle
	attr   fs.Attr
	path   string
}

func (p *place) isDir() bool { return p.attr.Mode&inode.ModeType == inode.ModeDir }

// walk finds a path in the share that is written.
func (k *copier) walk(names []string) (place, error) {
	p := place{handle: fs.Handle{Dataset: k.share.ID, Ino: inode.Root}, path: "/"}
	var err error
	if p.attr, err = k.f.fs.Getattr(k.call, p.handle); err != nil {
		return p, err
	}
	for n, name := range names {
		next, ok, err := k.lookup(p.handle, name)
		switch {
		case fs.CodeOf(err) == fs.CodeNotDir:
			return p, fail.New(fail.Invalid, "%s of %s is no directory", join(names[:n]), k.share.Name)
		case err != nil:
			return p, err
		case !ok:
			return p, fail.New(fail.NotFound, "no %s in %s", join(names[:n+1]), k.share.Name)
		}
		next.path = join(names[:n+1])
		p = next
	}
	return p, nil
}

// lookup finds a name in a directory of the present.
func (k *copier) lookup(dir fs.Handle, name string) (place, bool, error) {
	h, a, _, err := k.f.fs.Lookup(k.call, dir, name)
	if fs.CodeOf(err) == fs.CodeNoEnt {
		return place{}, false, nil
	}
	return place{handle: h, attr: a}, err == nil, err
}

// target finds the directory that a copy goes into, and its name there.
func (k *copier) target(from, to string) (place, string, error) {
	source, err := split(from)
	if err != nil {
		return place{}, "", err
	}
	names, err := split(to)
	if err != nil {
		return place{}, "", err
	}
	p, err := k.walk(names)
	switch {
	case err == nil && p.isDir() && len(source) > 0:
		return p, source[len(source)-1], nil
	case len(names) == 0:
		return p, "", fail.New(fail.Exists, "%s:/ is there already", k.share.Name).WithHint("name a new directory: %s:/NAME", k.share.Name)
	case err != nil && !fail.Is(err, fail.NotFound):
		return p, "", err
	}
	p, err = k.walk(names[:len(names)-1])
	return p, names[len(names)-1], err
}

// put makes a copy of an inode under a name, in place of what has it already
// if that is allowed.
func (k *copier) put(dir place, name string, ino uint64, i inode.Inode, force bool) error {
	there, taken, err := k.lookup(dir.handle, name)
	there.path = child(dir.path, name)
	switch {
	case err != nil:
		return err
	case !taken:
		_, err := k.make(dir.handle, name, ino, i)
		return err
	case !force:
		return k.inTheWay(there, "is there already").WithHint("--force replaces it")
	case i.IsDir() && there.isDir():
		err := k.children(ino, func(e inode.Entry, i inode.Inode) error { return k.put(there, e.Name, e.Ino, i, true) })
		if err != nil {
			return err
		}
		return k.dress(there.handle, ino, i)
	case there.isDir():
		return k.inTheWay(there, "is a directory, and its copy is none").WithHint("copy to another name")
	case i.IsDir():
		return k.inTheWay(there, "is there already, and is no directory").WithHint("copy to another name")
	}
	return k.replace(dir.handle, name, ino, i)
}

func (k *copier) inTheWay(there place, what string) *fail.Error {
	return fail.New(fail.Exists, "%s:%s %s", k.share.Name, Text(there.path), what)
}

// replace puts a copy in place of what is no directory, at once.
func (k *copier) replace(dir fs.Handle, name string, ino uint64, i inode.Inode) error {
	fresh := ".varve-" + rand.Text()
	if _, err := k.make(dir, fresh, ino, i); err != nil {
		k.f.fs.Remove(k.call, dir, fresh)
		return err
	}
	_, _, lsn, err := k.f.fs.Rename(k.call, dir, fresh, dir, name)
	return k.did(lsn, err)
}

// enter begins the visit of a directory, and leave ends it. Each level takes
// memory: TooBig beyond fs.MaxDepth.
func (k *copier) enter() error {
	if k.depth == fs.MaxDepth {
		return fail.New(fail.TooBig, "directories are nested deeper than %d", fs.MaxDepth).WithHint("do it with the deeper ones by themselves")
	}
	k.depth++
	return nil
}

func (k *copier) leave() { k.depth-- }

// children visits what is in a directory of the source.
func (k *copier) children(dir uint64, fn func(inode.Entry, inode.Inode) error) error {
	if err := k.enter(); err != nil {
		return err
	}
	defer k.leave()
	return k.src.names(dir, func(chunk []inode.Entry) error {
		for _, e := range chunk {
			if err := k.ctx.Err(); err != nil {
				return err
			}
			i, err := k.load(e.Ino)
			if err == nil {
				err = fn(e, i)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (k *copier) load(ino uint64) (i inode.Inode, err error) {
	err = k.src.Look(func(r inode.Reader) error {
		i, err = inode.Load(r, ino)
		return err
	})
	return i, err
}

// did notes an operation.
func (k *copier) did(lsn uint64, err error) error {
	k.lsn = max(k.lsn, lsn)
	return err
}
