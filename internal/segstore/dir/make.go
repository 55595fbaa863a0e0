package dir

import (
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
// that exists must be empty. Errors: Exists for a pool or other content,
// Invalid for impossible sizes. Durable on return; the superblock is for
// the caller to write.
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
	if err := checkEmpty(fsys, dir); err != nil {
		return err
	}
	if capacity == 0 {
		free, _, err := fsys.Space(dir)
		if err != nil {
			return err
		}
		capacity = free / 100 * capacityShare
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

// checkEmpty refuses a directory that holds more than an interrupted Make or
// the making of a file system leaves there.
func checkEmpty(fsys vfs.FS, dir string) error {
	list, err := fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		switch e.Name {
		case "lost+found", layoutName + newSuffix:
		case logName:
			segments, err := fsys.ReadDir(filepath.Join(dir, logName))
			if err != nil {
				return err
			}
			if len(segments) > 0 {
				return fail.New(fail.Exists, "%s holds a log but no layout", dir).
					WithHint("it may be a damaged pool: move it away or choose another directory")
			}
		case layoutName:
			return fail.New(fail.Exists, "%s is a pool already", dir)
		default:
			return fail.New(fail.Exists, "%s is not empty and not a pool: it holds %q", dir, e.Name).
				WithHint("choose an empty directory")
		}
	}
	return nil
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
