package dir

import (
	"io"
	"path/filepath"
	"slices"

	"varve/internal/fail"
	"varve/internal/segstore"
	"varve/internal/vfs"
)

// capacityShare is the part of the free space, in percent, that a pool may
// take when nothing is said about its capacity.
const capacityShare = 80

// Make makes the directory of a pool, whose segments have segmentSize bytes
// and may occupy capacity bytes; 0 is 80 % of what is free now. A directory
// that exists must be empty, or hold what is left of the making of a pool that
// was interrupted: a pool is one when its superblock is written, which is for
// the caller to do. Errors: Exists for a pool or other content, Invalid for
// impossible sizes, Busy while somebody else makes it. Durable on return.
func Make(fsys vfs.FS, dir string, segmentSize, capacity int64) error {
	if err := segstore.CheckSegmentSize(segmentSize); err != nil {
		return err
	}
	if capacity < 0 {
		return fail.New(fail.Invalid, "a pool cannot have a capacity of %d bytes", capacity)
	}
	if err := mkdirDurably(fsys, dir); err != nil {
		return err
	}
	begun, err := checkVacant(fsys, dir)
	if err != nil {
		return err
	}
	if begun {
		unlock, err := clearBegun(fsys, dir)
		if err != nil {
			return err
		}
		defer unlock.Close()
	}
	if capacity == 0 {
		free, _, err := fsys.Space(dir)
		if err != nil {
			return err
		}
		capacity = defaultCapacity(free)
	}
	// The layout comes last, so that a Make that was interrupted left no pool
	// and can be repeated.
	if err := fsys.MkdirAll(filepath.Join(dir, logName), 0o700); err != nil {
		return err
	}
	if err := fsys.SyncDir(dir); err != nil {
		return err
	}
	l := layout{segmentSize, capacity}
	return replace(fsys, dir, layoutName, l.encode())
}

func defaultCapacity(free int64) int64 { return free / 100 * capacityShare }

// mkdirDurably makes a directory and its missing parents, durably. A parent
// that exists may have been made by an attempt that was interrupted: so it
// syncs all the way up, as far as this user is allowed to.
func mkdirDurably(fsys vfs.FS, dir string) error {
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	dir = filepath.Clean(dir)
	for parent := filepath.Dir(dir); parent != dir; dir, parent = parent, filepath.Dir(parent) {
		err := fsys.SyncDir(parent)
		if fail.Is(err, fail.Denied) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkVacant refuses a directory that holds more than the making of a file
// system or an interrupted making of a pool leaves there. begun says that the
// latter came as far as a layout.
func checkVacant(fsys vfs.FS, dir string) (begun bool, err error) {
	list, err := fsys.ReadDir(dir)
	if err != nil {
		return false, err
	}
	has := make(map[string]bool, len(list))
	for _, e := range list {
		has[e.Name] = true
	}
	begun = has[layoutName]
	if begun && has[superName] {
		return false, fail.New(fail.Exists, "pool %s is a pool already", dir)
	}
	left := []string{"lost+found", layoutName + newSuffix, logName}
	if begun {
		left = append(left, layoutName, lockName, hintName, superName+newSuffix)
	}
	for _, e := range list {
		if !slices.Contains(left, e.Name) {
			return false, fail.New(fail.Exists, "%s is not empty and not a pool: it holds %q", dir, e.Name).
				WithHint("choose an empty directory")
		}
	}
	if !begun && has[logName] {
		segments, err := fsys.ReadDir(filepath.Join(dir, logName))
		if err == nil && len(segments) > 0 {
			err = fail.New(fail.Exists, "%s holds a log but no layout", dir).WithHint(keepAway)
		}
		return false, err
	}
	return begun, nil
}

const keepAway = "it may be a damaged pool: move it away or choose another directory"

// clearBegun removes the log of a pool that has no superblock, and returns its
// lock. Only a log of segment 1 alone is sure to hold nothing: that one is
// written before the superblock, and whoever serves a pool goes on in another.
func clearBegun(fsys vfs.FS, dir string) (io.Closer, error) {
	if _, err := readLayout(fsys, dir); err != nil {
		return nil, err // of a version whose superblock may be elsewhere
	}
	lock, err := takeLock(fsys, dir, Options{})
	if err != nil {
		return nil, err
	}
	if _, err = checkVacant(fsys, dir); err == nil { // it may have become a pool before the lock was ours
		err = clearLog(fsys, dir)
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

func clearLog(fsys vfs.FS, dir string) error {
	logDir := filepath.Join(dir, logName)
	list, err := fsys.ReadDir(logDir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if n, ok := segmentNumber(e.Name); (!ok || n != 1) && filepath.Ext(e.Name) != newSuffix && filepath.Ext(e.Name) != spareSuffix {
			return fail.New(fail.Exists, "%s has no superblock, but a log that may hold data: %s", dir, e.Name).WithHint(keepAway)
		}
	}
	for _, e := range list {
		if err := fsys.Remove(filepath.Join(logDir, e.Name)); err != nil {
			return err
		}
	}
	return fsys.SyncDir(logDir)
}

// replace gives a file in dir new content, atomically and durably.
func replace(fsys vfs.FS, dir, name string, b []byte) error {
	path := filepath.Join(dir, name)
	f, err := fsys.Open(path+newSuffix, readWrite|create|truncate, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = fsys.Rename(path+newSuffix, path)
	}
	if err == nil {
		err = fsys.SyncDir(dir)
	}
	return err
}

// readAll returns the content of a file in dir, which has at most limit bytes.
func readAll(fsys vfs.FS, dir, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(filepath.Join(dir, name), readOnly, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fail.New(fail.Corrupt, "%s has %d bytes; the limit is %d", filepath.Join(dir, name), size, limit)
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if n == len(b) {
		err = nil
	}
	return slices.Clip(b[:n]), err
}
