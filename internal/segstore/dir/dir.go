// Package dir keeps a segment store in a directory:
//
//	DIR/layout                        how it is laid out; see layout.go
//	DIR/pool                          the superblock, as the caller wrote it
//	DIR/hint                          the hint; see hint.go
//	DIR/lock                          held, and signed, by the process that serves the pool
//	DIR/log/00000000000000000001.seg  segment 1: exactly the segment's bytes
//	DIR/log/1.spare                   a segment that has no number now; see spare.go
//	*.new                             being made; a file of no meaning
//
// A file gets its name only when its content and its space are durable: what
// an interrupted operation leaves is called *.new, and Open removes it.
//
// Lock order: metaMu, then mu. metaMu is held while names and space change; mu
// guards the table of segments and is never held while the disk is asked.
package dir

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"varve/internal/fail"
	"varve/internal/segstore"
	"varve/internal/vfs"
)

const (
	layoutName = "layout"
	superName  = "pool"
	hintName   = "hint"
	lockName   = "lock"
	logName    = "log"
	newSuffix  = ".new"

	readOnly  = os.O_RDONLY
	readWrite = os.O_RDWR
	create    = os.O_CREATE
	truncate  = os.O_TRUNC
)

// floorPercent is the part of the file system that a pool leaves alone.
const floorPercent = 5

// Options say how to open a pool directory.
type Options struct {
	ReadOnly bool   // changes nothing, beside others that do not either
	LockNote string // who serves the pool, for whom it may concern: "pid 4711 since 09:12"
	Spare    int    // segments to keep ready for when the file system is full; see spare.go
}

// Store is a segstore.Store in a directory.
type Store struct {
	fsys     vfs.FS
	dir      string
	readOnly bool
	lock     io.Closer

	metaMu sync.Mutex
	layout layout
	used   int64        // bytes that segments occupy or are about to
	grace  int64        // bytes that they may occupy beyond the capacity
	spares map[int]bool // by number: whether every block was written once
	hint   vfs.File

	segments  table
	spareMost int
}

// Open opens a pool directory. For writing, it must be the only one: otherwise
// the error is Busy and says who serves the pool. Other errors: NotFound where
// there is no pool, Unsupported for a layout that this build does not know,
// Corrupt for a damaged one.
func Open(fsys vfs.FS, dir string, o Options) (*Store, error) {
	l, err := readLayout(fsys, dir)
	if err != nil {
		return nil, err
	}
	lock, err := takeLock(fsys, dir, o)
	if err != nil {
		return nil, err
	}
	s := &Store{fsys: fsys, dir: dir, readOnly: o.ReadOnly, lock: lock, layout: l, spares: map[int]bool{}, spareMost: o.Spare}
	if err := s.load(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func readLayout(fsys vfs.FS, dir string) (layout, error) {
	b, err := readAll(fsys, dir, layoutName, layoutMax)
	if fail.Is(err, fail.NotFound) {
		return layout{}, fail.New(fail.NotFound, "%s is not a pool", dir).WithHint("varve init %s makes one", dir)
	}
	if err != nil {
		return layout{}, err
	}
	return decodeLayout(dir, b)
}

// takeLock lets one process write, or several read.
func takeLock(fsys vfs.FS, dir string, o Options) (io.Closer, error) {
	name := filepath.Join(dir, lockName)
	lock, err := fsys.Lock(name, !o.ReadOnly, o.LockNote)
	if !fail.Is(err, fail.Busy) {
		return lock, err
	}
	if note, e := readAll(fsys, dir, lockName, maxLockNote); e == nil && len(note) > 0 {
		return nil, fail.New(fail.Busy, "pool %s is served by %s", dir, note)
	}
	return nil, fail.New(fail.Busy, "pool %s is in use by another process", dir)
}

const maxLockNote = 4096 // bytes

// load reads which segments there are, and removes what was being made.
func (s *Store) load() error {
	// The layout may have changed before the lock was ours.
	l, err := readLayout(s.fsys, s.dir)
	if err != nil {
		return err
	}
	s.layout = l
	list, err := s.fsys.ReadDir(s.logDir())
	if err != nil {
		return err
	}
	s.segments.init(len(list))
	for _, e := range list {
		n, ok := segmentNumber(e.Name)
		switch {
		case ok && !e.Dir:
			s.segments.all[n] = &segment{number: n, allocated: e.Allocated}
			s.used += e.Allocated
		case !s.readOnly && filepath.Ext(e.Name) == newSuffix:
			if err := s.fsys.Remove(filepath.Join(s.logDir(), e.Name)); err != nil {
				return err
			}
		case !s.readOnly && filepath.Ext(e.Name) == spareSuffix:
			if err := s.loadSpare(e.Name, e.Allocated); err != nil {
				return err
			}
		}
	}
	s.grace = s.excess()
	if s.readOnly {
		return nil
	}
	return s.trimSpares()
}

// SegmentSize implements segstore.Store.
func (s *Store) SegmentSize() int64 { return s.layout.segmentSize }

// Superblock implements segstore.Store.
func (s *Store) Superblock() ([]byte, error) {
	b, err := readAll(s.fsys, s.dir, superName, segstore.MaxSuperblock)
	if fail.Is(err, fail.NotFound) {
		return nil, fail.New(fail.NotFound, "pool %s has no superblock", s.dir).
			WithHint("making it was interrupted: varve init finishes it")
	}
	return b, err
}

// WriteSuperblock implements segstore.Store.
func (s *Store) WriteSuperblock(b []byte) error {
	if err := segstore.CheckSuperblock(b); err != nil {
		return err
	}
	s.metaMu.Lock()
	defer s.metaMu.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	return replace(s.fsys, s.dir, superName, b)
}

// Space implements segstore.Store.
func (s *Store) Space() (segstore.Space, error) {
	s.metaMu.Lock()
	defer s.metaMu.Unlock()
	return s.space()
}

// graceSegments is how many segments a pool may make after opening though its
// capacity is used up; less in a tiny pool. A crash brings back space whose
// freeing was not durable yet; the pool has to be opened, and written to, for it
// to be freed again.
const graceSegments = 4

// space needs metaMu.
func (s *Store) space() (segstore.Space, error) {
	free, _, err := s.room()
	return segstore.Space{Used: s.used, Free: free, Capacity: s.layout.capacity}, err
}

// room is how many bytes are free: what the capacity leaves, as far as the file
// system has it above its floor, or spare segments do; and how many are without
// these. metaMu is held.
func (s *Store) room() (free, unspared int64, err error) {
	disk, total, err := s.fsys.Space(s.dir)
	disk = max(0, disk-total/100*floorPercent)
	s.grace = min(s.grace, s.excess())
	left, spare := s.layout.capacity+s.grace-s.used, int64(len(s.spares))*s.layout.segmentSize
	return max(0, min(left, disk+spare)), min(left-spare, disk), err
}

// excess is by how much the grace would exceed the capacity at this moment.
func (s *Store) excess() int64 {
	want := min(graceSegments*s.layout.segmentSize, s.layout.capacity/8)
	return max(0, s.used+want-s.layout.capacity)
}

// List implements segstore.Store.
func (s *Store) List() ([]segstore.Segment, error) {
	s.metaMu.Lock()
	defer s.metaMu.Unlock()
	list := s.segments.list()
	slices.SortFunc(list, segstore.ByNumber)
	return list, nil
}

// Close implements segstore.Store.
func (s *Store) Close() error {
	err := s.segments.close()
	if s.hint != nil {
		if e := s.hint.Close(); err == nil {
			err = e
		}
	}
	if e := s.lock.Close(); err == nil {
		err = e
	}
	return err
}

func (s *Store) writable() error {
	if s.readOnly {
		return fail.New(fail.ReadOnly, "pool %s is open read-only", s.dir)
	}
	return nil
}

func (s *Store) logDir() string { return filepath.Join(s.dir, logName) }

// path returns the name of a segment's file.
func (s *Store) path(n uint64) string {
	return filepath.Join(s.logDir(), fmt.Sprintf("%020d.seg", n))
}

// segmentNumber reads the name of a segment's file.
func segmentNumber(name string) (uint64, bool) {
	var n uint64
	if len(name) != len("00000000000000000001.seg") {
		return 0, false
	}
	if _, err := fmt.Sscanf(name, "%020d.seg", &n); err != nil || n == 0 || fmt.Sprintf("%020d.seg", n) != name {
		return 0, false
	}
	return n, true
}

func missing(n uint64) error { return fail.New(fail.NotFound, "no segment %d", n) }
