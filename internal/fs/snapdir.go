package fs

import (
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/inode"
	"varve/internal/when"
)

// The past of a directory is in its .snapshot: a directory that is in no
// listing, and lists the names of the share's snapshots. What is looked up in
// it may also be any other WHEN, without the "@": 10m-ago, 2026-11-22T10:00,
// lsn:812455. It is resolved at the lookup; the handle then holds the moment,
// and everything below it belongs to that. The directory of the past is the one
// with the same inode number, whatever it was called. The past of a clone begins
// where it was made: who may use it need not be allowed to use its origin.

// snapDirStep is how often .snapshot seems to change, so that clients, which
// keep names as long as a directory does not change, ask again what 10m-ago is.
const snapDirStep = 10 * time.Second

// snapDirAttr makes the attributes of .snapshot from its directory's.
func (f *FS) snapDirAttr(a *Attr, h Handle) {
	t := f.now().Truncate(snapDirStep).UnixNano()
	a.Mode, a.Nlink, a.FileID = inode.ModeDir|0o555, 2, h.fileID()
	a.Mtime, a.Ctime = max(a.Ctime, t), max(a.Ctime, t)
}

// lookupMoment is Lookup in a .snapshot.
func (f *FS) lookupMoment(c *Call, dir Handle, name string) (Handle, Attr, Attr, error) {
	d, err := f.Getattr(c, dir)
	if err != nil {
		return Handle{}, Attr{}, Attr{}, err
	}
	h := dir
	switch name {
	case ".":
	case "..":
		h.SnapDir = false
	default:
		if err := checkName(name); err != nil {
			return Handle{}, Attr{}, d, err
		}
		if h, err = f.momentHandle(dir, name); err != nil {
			return Handle{}, Attr{}, d, err
		}
	}
	a, err := f.Getattr(c, h)
	if fail.Is(err, fail.Stale) && h.Moment != 0 {
		err = ErrNoEnt // there was no such directory then
	}
	return h, a, d, err
}

// momentHandle resolves the name of a moment in a .snapshot.
func (f *FS) momentHandle(dir Handle, name string) (Handle, error) {
	s, err := f.share(dir.Dataset)
	if err != nil {
		return Handle{}, err
	}
	w, err := when.Parse(name, f.loc)
	if err != nil {
		return Handle{}, ErrNoEnt
	}
	moment, err := f.moment(s.id, s.head.Name(), f.steady(w))
	switch {
	case fail.Is(err, fail.NotFound), fail.Is(err, fail.OutsideHistory):
		return Handle{}, ErrNoEnt
	case err != nil:
		return Handle{}, err
	}
	return Handle{Dataset: dir.Dataset, Ino: dir.Ino, Moment: moment}, nil
}

// moment resolves a WHEN of a share by its name. ErrStale: the name is another's
// by now, and so may be what was found. NotFound, OutsideHistory.
func (f *FS) moment(id uint64, name string, w when.Spec) (uint64, error) {
	m, err := f.e.Resolve(name, w)
	if err != nil {
		return 0, err
	}
	d, err := f.still(id, name)
	switch {
	case err != nil:
		return 0, err
	case m.LSN < d.CreatedLSN:
		return 0, fail.New(fail.OutsideHistory, "%s is before %s was cloned from %s (lsn %d)", w, name, d.Origin, d.CreatedLSN).
			WithHint("look at the origin")
	}
	return m.LSN, nil
}

// still describes the share that was found by its name. ErrStale: the name is
// another's by now. NotFound.
func (f *FS) still(id uint64, name string) (engine.DatasetInfo, error) {
	d, err := f.e.Dataset(name)
	if err == nil && d.ID != id {
		err = ErrStale
	}
	return d, err
}

// steady makes a time from one that goes with the clock, in steps of a tenth of
// the distance and a minute at the most: programs that walk a tree by paths
// look its top up again and again, and must meet one moment.
func (f *FS) steady(w when.Spec) when.Spec {
	if w.Kind != when.Ago {
		return w
	}
	step := min(max((w.Ago/10).Truncate(time.Second), time.Second), time.Minute)
	return when.Spec{Kind: when.Time, Time: f.now().Truncate(step).Add(-w.Ago).UTC()}
}

// snapshots returns the names in a .snapshot after a cookie, at most max, and
// whether that is all.
func (f *FS) snapshots(h Handle, after uint64, max int) ([]engine.SnapshotInfo, bool, error) {
	s, err := f.share(h.Dataset)
	if err != nil {
		return nil, false, err
	}
	name := s.head.Name()
	all, err := f.e.Snapshots(name)
	if err == nil {
		_, err = f.still(s.id, name)
	}
	if err != nil {
		return nil, false, f.settle(s, err)
	}
	first := 0
	for first < len(all) && all[first].ID <= after {
		first++
	}
	all = all[first:]
	return all[:min(max, len(all))], len(all) <= max, nil
}
