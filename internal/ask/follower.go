package ask

import (
	"slices"
	"strings"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/inode"
	"varve/internal/oplog"
)

// Follower knows the paths of a share's files at each operation of the log, as
// they were then. It is given every operation of the share that binds names
// (oplog.NameKinds), in order, and asked about any in between.
//
// The first question opens the view of the moment before that operation; from
// there on it notes which names changed, and looks up others in the view. When
// it has noted too many it begins anew, best at a checkpoint from which views
// start, where that costs nothing. So its memory is bounded. Operations before
// the first question cost nothing.
//
// An operation that uses a name has the path of that name; one on an inode alone
// has that of its newest name, and none when the last name is gone. Not safe for
// concurrent use.
type Follower struct {
	e       *engine.Engine
	dataset uint64
	view    *engine.View // nil: begin at the next question
	at      uint64       // the last operation given, or the moment of the view
	bases   []uint64     // cuts of checkpoints that views start from, ascending

	changed places              // newest names that came since the view
	linked  map[uint64]struct{} // inodes that got another name beside theirs since the view
	base    places              // names in the view, as far as they were looked up
	many    bool                // lookEverywhere was there
	dirs    map[uint64]string   // paths of directories now; "" the root's

	only []oplog.Literal // of BeforeOnly
}

// place is a name of an inode. An unsure one has to be looked up in a view of
// its own time.
type place struct {
	dir    uint64
	name   string
	unsure bool
	newest bool // of a name in the view: it is known to be the newest
	made   bool // of a name that came since the view: the object came too
}

// Bounds of a Follower: how many changed names it notes before it begins anew at
// the next checkpoint, or in any case, and how many names of the view it keeps.
const (
	maxChanged = 2_000_000
	mustRebase = 2 * maxChanged
	maxLooked  = 1_000_000
	maxDepth   = 64 << 10 // directories above each other: more are a circle
)

// Follow makes a Follower of a share. Close it.
func Follow(e *engine.Engine, dataset uint64) *Follower {
	return &Follower{e: e, dataset: dataset}
}

// Close gives the view back.
func (f *Follower) Close() { f.forget() }

// Skip says that operations which bind names were left out.
func (f *Follower) Skip() { f.forget() }

func (f *Follower) forget() {
	if f.view != nil {
		f.view.Close()
	}
	f.view, f.changed, f.linked, f.base, f.dirs, f.many = nil, places{}, nil, places{}, nil, false
}

// begin opens the view of a moment.
func (f *Follower) begin(lsn uint64) error {
	f.forget()
	v, err := f.e.OpenViewID(f.dataset, lsn)
	if err != nil {
		return err
	}
	f.view, f.at = v, lsn
	f.changed, f.linked, f.base = newPlaces(), make(map[uint64]struct{}), newPlaces()
	f.dirs = map[uint64]string{inode.Root: ""}
	f.bases = f.bases[:0]
	for _, c := range f.e.Checkpoints() {
		if c.Base {
			f.bases = append(f.bases, c.LSN)
		}
	}
	return nil
}

// advance begins anew where too much was noted, if the moment before lsn is a
// good one.
func (f *Follower) advance(lsn uint64) error {
	if f.view == nil || f.changed.size() < maxChanged {
		return nil
	}
	i, _ := slices.BinarySearch(f.bases, lsn)
	if f.changed.size() < mustRebase && (i == 0 || f.bases[i-1] <= f.at) {
		return nil
	}
	return f.begin(lsn - 1)
}

// Before returns the path that an operation is about, as of the moment before it
// for what is moved or removed, and for a rename the new path too. "": none, as
// for operations that are not on files. It does not take the operation: Apply does.
func (f *Follower) Before(op *oplog.Op) (path, path2 string, err error) {
	f.only = nil
	return f.before(op)
}

// BeforeOnly is Before where only paths that match one of some patterns are of
// interest: others may come out as "".
func (f *Follower) BeforeOnly(op *oplog.Op, only []oplog.Literal) (path, path2 string, err error) {
	f.only = only
	path, path2, err = f.before(op)
	f.only = nil
	return path, path2, err
}

func (f *Follower) before(op *oplog.Op) (path, path2 string, err error) {
	if !op.Kind.OnFile() {
		return "", "", nil
	}
	if f.view == nil {
		if err := f.begin(op.LSN - 1); err != nil {
			return "", "", err
		}
	}
	if op.Dir == 0 {
		path, err = f.Path(op.Ino, op.LSN)
		return path, "", err
	}
	if path, err = f.named(op.Dir, op.Name, op.LSN); err != nil || op.Dir2 == 0 {
		return path, "", err
	}
	path2, err = f.named(op.Dir2, op.Name2, op.LSN)
	return path, path2, err
}

// Apply takes an operation.
func (f *Follower) Apply(op *oplog.Op) error {
	if err := f.advance(op.LSN); err != nil {
		return err
	}
	f.at = op.LSN
	if f.view == nil || op.Dataset != f.dataset || !oplog.NameKinds.Has(op.Kind) {
		return nil
	}
	switch op.Kind {
	case oplog.Remove, oplog.Rmdir:
		f.left(op.Ino, op.Dir, op.Name)
	case oplog.Link:
		f.linked[op.Ino] = struct{}{}
		f.rebind(op.Ino, op.Dir, op.Name)
	case oplog.Move:
		if op.Ino2 != 0 && op.Ino2 != op.Ino {
			f.left(op.Ino2, op.Dir2, op.Name2)
		}
		f.rebind(op.Ino, op.Dir2, op.Name2)
		if _, ok := f.dirs[op.Ino]; ok {
			f.dirs = map[uint64]string{inode.Root: ""}
		}
	case oplog.Create, oplog.Mkdir, oplog.Symlink, oplog.Mknod:
		f.changed.set(op.Ino, place{dir: op.Dir, name: strings.Clone(op.Name), made: true})
	default: // the whole share is elsewhere
		f.forget()
	}
	return nil
}

// rebind gives an object that is there a newer name.
func (f *Follower) rebind(ino, dir uint64, name string) {
	p, _ := f.changed.get(ino)
	f.changed.set(ino, place{dir: dir, name: strings.Clone(name), made: p.made})
}

// left takes a name away. What came since the view and had no other name is
// gone; of everything else another name may be left.
func (f *Follower) left(ino, dir uint64, name string) {
	delete(f.dirs, ino)
	p, changed := f.changed.get(ino)
	_, linked := f.linked[ino]
	switch {
	case changed && (p.dir != dir || p.name != name): // an older one
	case changed && !linked && (p.made || !f.inView(ino)):
		f.changed.delete(ino)
	default:
		f.changed.set(ino, place{unsure: true, made: p.made})
	}
}

// inView reports whether an inode may be in the view.
func (f *Follower) inView(ino uint64) bool {
	_, err := f.load(ino)
	return !fail.Is(err, fail.Stale)
}

func (f *Follower) load(ino uint64) (i inode.Inode, err error) {
	err = f.view.Look(func(r inode.Reader) error {
		i, err = inode.Load(r, ino)
		return err
	})
	return i, err
}

// Path returns the path of an inode's newest name right before operation lsn;
// "" if it has none.
func (f *Follower) Path(ino, lsn uint64) (string, error) {
	if ino == inode.Root {
		return "/", nil
	}
	if f.view == nil {
		if err := f.begin(lsn - 1); err != nil {
			return "", err
		}
	}
	p, ok, err := f.place(ino, lsn)
	if err != nil || !ok {
		return "", err
	}
	return f.named(p.dir, p.name, lsn)
}

// named returns the path of a name in a directory; "" if that has no path.
func (f *Follower) named(dir uint64, name string, lsn uint64) (string, error) {
	if !f.mayEnd(name) {
		return "", nil
	}
	d, ok, err := f.dir(dir, lsn)
	if err != nil || !ok {
		return "", err
	}
	wanted := f.only == nil
	for i := range f.only {
		wanted = wanted || f.only[i].MayMatch(d, name)
	}
	if !wanted {
		return "", nil
	}
	return d + "/" + name, nil
}

// mayEnd reports whether a path that is of interest may end with a name.
func (f *Follower) mayEnd(name string) bool {
	may := f.only == nil
	for i := range f.only {
		may = may || f.only[i].MayEnd(name)
	}
	return may
}

// dir returns the path of a directory, without the slash at its end.
func (f *Follower) dir(ino, lsn uint64) (string, bool, error) {
	var up []place
	var inos []uint64
	path, ok := f.dirs[ino]
	for at := ino; !ok; path, ok = f.dirs[at] {
		p, there, err := f.place(at, lsn)
		if err != nil || !there {
			return "", false, err
		}
		if len(up) == maxDepth {
			return "", false, fail.New(fail.Corrupt, "directory %d is deeper than any path", ino)
		}
		up, inos = append(up, p), append(inos, at)
		at = p.dir
	}
	for i := len(up) - 1; i >= 0; i-- {
		path += "/" + up[i].name
		if len(f.dirs) >= maxLooked {
			f.dirs = map[uint64]string{inode.Root: ""}
		}
		f.dirs[inos[i]] = path
	}
	return path, true, nil
}

// place finds the newest name of an inode.
func (f *Follower) place(ino, lsn uint64) (place, bool, error) {
	p, ok := f.changed.get(ino)
	if ok && p.unsure {
		if err := f.begin(lsn - 1); err != nil {
			return p, false, err
		}
		ok = false
	}
	if ok {
		return p, true, nil
	}
	if p, ok = f.base.get(ino); ok && p.newest {
		return p, true, nil
	}
	return f.look(ino, p)
}

// look finds an inode's name in the view: in the directory of its newest name,
// whose other names it notes too; else, if that name is gone and another one
// there, among all. A name that is known already may be another than the newest.
func (f *Follower) look(ino uint64, known place) (place, bool, error) {
	i, err := f.load(ino)
	if fail.Is(err, fail.Stale) || ino == inode.Root {
		return place{}, false, nil
	}
	if err != nil {
		return place{}, false, err
	}
	found, ok := known, known.dir == i.Parent
	if !ok {
		if f.base.size() >= maxLooked {
			f.base, f.many = newPlaces(), false
		}
		if found, ok, err = f.list(i.Parent, ino); err != nil {
			return found, false, err
		}
	}
	if !ok && !i.IsDir() {
		if !f.many {
			if err := f.lookEverywhere(); err != nil {
				return place{}, false, err
			}
		}
		found, ok = f.base.get(ino)
	}
	if ok {
		found.newest = true
		f.base.set(ino, found)
	}
	return found, ok, nil
}

// listed is how many entries are read in one go.
const listed = 1000

// list notes the names in a directory of the view, and returns that of ino.
func (f *Follower) list(dir, ino uint64) (found place, ok bool, err error) {
	err = entries(f.view, dir, func(e *inode.Entry) error {
		p := place{dir: dir, name: e.Name}
		if e.Ino == ino && !ok {
			found, ok = p, true
		}
		if _, known := f.base.get(e.Ino); !known && (f.base.size() < maxLooked || e.Ino == ino) {
			f.base.set(e.Ino, p)
		}
		return nil
	})
	return found, ok, err
}

// entries visits the entries of a directory of a view.
func entries(v *engine.View, dir uint64, fn func(*inode.Entry) error) error {
	after := uint64(0)
	for {
		var chunk []inode.Entry
		err := v.Look(func(r inode.Reader) error {
			return inode.List(r, dir, after, func(e inode.Entry) bool {
				e.Name = strings.Clone(e.Name)
				chunk = append(chunk, e)
				return len(chunk) < listed
			})
		})
		if err != nil || len(chunk) == 0 {
			return err
		}
		for i := range chunk {
			if err := fn(&chunk[i]); err != nil {
				return err
			}
		}
		after = chunk[len(chunk)-1].Cookie
	}
}

// lookEverywhere notes a name of every inode of the view that has several, or
// had, so that its only one is not where its newest was.
func (f *Follower) lookEverywhere() error {
	f.many = true
	dirs := []uint64{inode.Root}
	for len(dirs) > 0 {
		dir := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		err := entries(f.view, dir, func(e *inode.Entry) error {
			if uint32(e.Type)<<12 == inode.ModeDir {
				dirs = append(dirs, e.Ino)
				return nil
			}
			i, err := f.load(e.Ino)
			if err == nil && (i.Nlink > 1 || i.Parent != dir) {
				f.base.set(e.Ino, place{dir: dir, name: e.Name})
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
