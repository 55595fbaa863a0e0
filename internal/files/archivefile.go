package files

import (
	"bytes"
	"fmt"
	"math"

	"varve/internal/dump"
	"varve/internal/fail"
	"varve/internal/fs"
	"varve/internal/inode"
	"varve/internal/restore"
)

// archiveFile is a file of a share that is being made: a restore.File.
type archiveFile struct {
	*archiveTree
	h fs.Handle
}

// WriteAt implements restore.File, as the others do.
func (w *archiveFile) WriteAt(p []byte, off int64) (int, error) {
	_, lsn, err := w.f.fs.Write(w.call, w.h, p, uint64(off))
	if err := w.did(lsn, err); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *archiveFile) Truncate(size int64) error {
	n := uint64(size)
	_, lsn, err := w.f.fs.Setattr(w.call, w.h, fs.SetAttr{Size: &n})
	return w.did(lsn, err)
}

func (w *archiveFile) Sync() error { return w.f.fs.Flush(w.h) }

func (w *archiveFile) Close() error { return nil }

func (w *archiveFile) Dress(a *restore.Attr) ([]string, error) { return w.dress(w.h, a) }

// dress gives an object its attributes, in the order in which none takes another
// away.
func (t *archiveTree) dress(h fs.Handle, a *restore.Attr) (lost []string, err error) {
	if lost, err = t.dressXattrs(h, a.Xattrs); err != nil {
		return lost, err
	}
	w, lsn, err := t.f.fs.Setattr(t.call, h, fs.SetAttr{UID: &a.UID, GID: &a.GID})
	if err := t.did(lsn, err); err != nil {
		return lost, err
	}
	flags := w.After.Flags &^ inode.FlagNodump
	if a.Flags&dump.Nodump != 0 {
		flags |= inode.FlagNodump
	}
	if a.Flags&(dump.Immutable|dump.Append) != 0 {
		lost = append(lost, "its flags: a share has neither immutable nor append-only files")
	}
	set := fs.SetAttr{Mode: &a.Mode, Flags: &flags}
	atime, ok := join64(a.Atime)
	mtime, ok2 := join64(a.Mtime)
	if ok && ok2 {
		set.Atime, set.Mtime = &atime, &mtime
	} else {
		lost = append(lost, "its times: a share has those from 1678 to 2262")
	}
	_, lsn, err = t.f.fs.Setattr(t.call, h, set)
	return lost, t.did(lsn, err)
}

// join64 makes nanoseconds since 1970; false if they do not fit.
func join64(t dump.Time) (int64, bool) {
	if t.Sec <= math.MinInt64/int64(1e9) || t.Sec >= math.MaxInt64/int64(1e9) {
		return 0, false
	}
	return t.Sec*1e9 + int64(t.Nsec), true
}

// dressXattrs makes the extended attributes of an object what they should be.
func (t *archiveTree) dressXattrs(h fs.Handle, want []dump.Xattr) (lost []string, err error) {
	have, err := t.xattrs(h)
	if err != nil {
		return nil, err
	}
	same := make(map[string]bool)
	for _, x := range have {
		i := indexXattr(want, x.Name)
		if i >= 0 {
			same[x.Name] = bytes.Equal(want[i].Value, x.Value)
			continue
		}
		lsn, err := t.f.fs.RemoveXattr(t.call, h, x.Name)
		if err := t.did(lsn, err); err != nil {
			return nil, err
		}
	}
	for _, x := range want {
		if same[x.Name] {
			continue
		}
		lsn, err := t.f.fs.SetXattr(t.call, h, x.Name, x.Value, fs.XattrSet)
		if err := t.did(lsn, err); fail.Is(err, fail.NoSpace) || fail.Is(err, fail.FailStopped) {
			return nil, err
		} else if err != nil {
			lost = append(lost, fmt.Sprintf("its extended attribute %q: %v", x.Name, err))
		}
	}
	return lost, nil
}

func indexXattr(list []dump.Xattr, name string) int {
	for i, x := range list {
		if x.Name == name {
			return i
		}
	}
	return -1
}
