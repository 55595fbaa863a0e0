package vfs

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"varve/internal/fail"
)

// ErrCrashed is in the chain of every error of a Mem whose power went.
var ErrCrashed = errors.New("the power is off")

// Mem is a disk in memory that can lose power. It knows at any time what a
// process sees and what a power failure would leave, which is as little as the
// promises of FS and File allow:
//
//   - Each 512-byte sector of each unsynced write survives or not, on its own.
//   - The size of a file ends anywhere between its durable and its last one.
//   - Creates, renames and removes survive as any subset in which the changes
//     to one file keep their order; a rename happened as a whole or not.
//   - Syncing a file says nothing about its name.
//
// All methods are safe for concurrent use. One mutex orders everything, so a
// crash is one instant for all files.
type Mem struct {
	mu    sync.RWMutex
	seed  uint64
	root  *memDir
	moves []move // changes of names that are not durable, in order

	used, total int64 // bytes
	ops         int   // mutating calls so far
	fuse        int   // mutating calls left until the power goes; 0 = none set
	dead        bool
	locks       map[string]*memLock
}

var _ FS = (*Mem)(nil)

// memDir is a directory: its names as processes see them and as they would be
// found after a power failure that no move survives.
type memDir struct {
	now, durable map[string]memEntry
}

// memEntry is what a name stands for: a directory or a file's data.
type memEntry struct {
	dir  *memDir
	data *memData
}

// move is one change of names: a create has no from, a remove no to.
type move struct {
	entry            memEntry
	from, to         *memDir
	oldname, newname string
}

func (v move) touches(d *memDir) bool { return v.from == d || v.to == d }

// apply does the move in one of the two views of the directories.
func (v move) apply(view func(*memDir) map[string]memEntry) {
	if v.from != nil && view(v.from)[v.oldname] == v.entry {
		delete(view(v.from), v.oldname)
	}
	if v.to != nil {
		view(v.to)[v.newname] = v.entry
	}
}

func viewNow(d *memDir) map[string]memEntry     { return d.now }
func viewDurable(d *memDir) map[string]memEntry { return d.durable }

// NewMem returns an empty disk of 1 TiB. The seed is for crashes that are
// given no source of randomness.
func NewMem(seed uint64) *Mem {
	return &Mem{seed: seed, root: newMemDir(), total: 1 << 40, locks: map[string]*memLock{}}
}

func newMemDir() *memDir {
	return &memDir{now: map[string]memEntry{}, durable: map[string]memEntry{}}
}

// SetSpace sets the size of the disk in bytes. It may be less than what is
// used.
func (m *Mem) SetSpace(total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.total = total
}

// Ops returns how many calls so far wanted to change something, so that a test
// can choose one for CrashAfter.
func (m *Mem) Ops() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.ops
}

// CrashAfter lets the power go during the n-th following call that changes
// something. That call has its effect, but none of it is durable; it and
// every later call return ErrCrashed. 0 takes the order back.
func (m *Mem) CrashAfter(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fuse = n
}

// Freeze lets the power go now: every later call returns ErrCrashed.
func (m *Mem) Freeze() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
}

// rand returns rng, or one made from the seed and the number of calls so far.
func (m *Mem) rand(rng *rand.Rand) *rand.Rand {
	if rng != nil {
		return rng
	}
	return rand.New(rand.NewPCG(m.seed, uint64(m.ops)))
}

// change runs one mutating call: apply changes what processes see, settle
// (which may be nil) makes it durable. The caller must not hold mu.
func (m *Mem) change(op, name string, apply func() error, settle func()) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return wrap(op, name, ErrCrashed)
	}
	m.ops++
	last := m.fuse == 1
	if m.fuse > 0 {
		m.fuse--
	}
	if err := apply(); err != nil && !last {
		return wrap(op, name, err)
	}
	if last {
		m.dead = true
		return wrap(op, name, ErrCrashed)
	}
	if settle != nil {
		settle()
	}
	return nil
}

// look runs one call that only reads.
func (m *Mem) look(op, name string, read func() error) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.dead {
		return wrap(op, name, ErrCrashed)
	}
	return wrap(op, name, read())
}

// find returns what a name stands for, and the directory it is in. For a
// missing name in an existing directory the entry is empty.
func (m *Mem) find(name string) (parent *memDir, base string, e memEntry, err error) {
	clean := path.Clean("/" + name)
	if clean == "/" {
		return nil, "/", memEntry{dir: m.root}, nil
	}
	elems := strings.Split(clean[1:], "/")
	d := m.root
	for _, elem := range elems[:len(elems)-1] {
		next, ok := d.now[elem]
		if !ok {
			return nil, "", memEntry{}, unix.ENOENT
		}
		if next.dir == nil {
			return nil, "", memEntry{}, unix.ENOTDIR
		}
		d = next.dir
	}
	base = elems[len(elems)-1]
	return d, base, d.now[base], nil
}

// do performs a move as far as processes see it.
func (m *Mem) do(v move) {
	v.apply(viewNow)
	m.moves = append(m.moves, v)
}

// Open implements FS.
func (m *Mem) Open(name string, flag int, _ fs.FileMode) (File, error) {
	if err := checkFlag(name, flag); err != nil {
		return nil, err
	}
	f := &memFile{m: m, name: name, readOnly: flag&os.O_RDWR == 0}
	find := func() error {
		_, _, e, err := m.find(name)
		switch {
		case err != nil:
			return err
		case e.dir != nil:
			return unix.EISDIR
		case e.data == nil:
			return unix.ENOENT
		}
		f.data = e.data
		return nil
	}
	err := m.look("open", name, find)
	create := fail.Is(err, fail.NotFound) && flag&os.O_CREATE != 0
	switch {
	case err == nil && flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return nil, wrap("open", name, unix.EEXIST)
	case err != nil && !create:
		return nil, err
	case create || flag&os.O_TRUNC != 0:
		err = m.change("open", name, func() (err error) {
			f.data, err = m.create(name, flag)
			return err
		}, nil)
		if err != nil {
			return nil, err
		}
	}
	return f, nil
}

// create makes or truncates a file, as the flags of Open say.
func (m *Mem) create(name string, flag int) (*memData, error) {
	parent, base, e, err := m.find(name)
	switch {
	case err != nil:
		return nil, err
	case e.dir != nil:
		return nil, unix.EISDIR
	case e.data == nil && flag&os.O_CREATE == 0:
		return nil, unix.ENOENT // removed meanwhile
	case e.data == nil:
		e.data = &memData{linked: true}
		m.do(move{entry: e, to: parent, newname: base})
	case flag&os.O_EXCL != 0:
		return nil, unix.EEXIST // made meanwhile
	case flag&os.O_TRUNC != 0:
		m.truncate(e.data, 0)
	}
	return e.data, nil
}

// Rename implements FS.
func (m *Mem) Rename(oldname, newname string) error {
	return m.change("rename", oldname, func() error {
		from, oldbase, e, err := m.find(oldname)
		if err != nil {
			return err
		}
		to, newbase, target, err := m.find(newname)
		if err != nil {
			return err
		}
		switch {
		case e == (memEntry{}):
			return unix.ENOENT
		case from == nil || to == nil:
			return unix.EBUSY // the root
		case e == target:
			return nil
		case target.dir != nil && e.dir == nil:
			return unix.EISDIR
		case target.dir != nil && len(target.dir.now) > 0:
			return unix.ENOTEMPTY
		case target.data != nil && e.dir != nil:
			return unix.ENOTDIR
		case e.dir != nil && strings.HasPrefix(path.Clean("/"+newname)+"/", path.Clean("/"+oldname)+"/"):
			return unix.EINVAL // into itself
		}
		m.unlink(target.data)
		m.do(move{e, from, to, oldbase, newbase})
		return nil
	}, nil)
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	return m.change("remove", name, func() error {
		parent, base, e, err := m.find(name)
		switch {
		case err != nil:
			return err
		case e == (memEntry{}):
			return unix.ENOENT
		case parent == nil:
			return unix.EBUSY // the root
		case e.dir != nil && len(e.dir.now) > 0:
			return unix.ENOTEMPTY
		}
		m.unlink(e.data)
		m.do(move{entry: e, from: parent, oldname: base})
		return nil
	}, nil)
}

// unlink gives back the space of a file that lost its name; nil is fine.
func (m *Mem) unlink(data *memData) {
	if data != nil && data.linked {
		data.linked = false
		m.used -= data.pagesUsed * memPageSize
	}
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(name string, _ fs.FileMode) error {
	return m.change("mkdir", name, func() error {
		at := ""
		for elem := range strings.SplitSeq(strings.Trim(path.Clean("/"+name), "/"), "/") {
			at += "/" + elem
			parent, base, e, err := m.find(at)
			switch {
			case err != nil:
				return err
			case e.data != nil:
				return unix.ENOTDIR
			case e.dir == nil:
				m.do(move{entry: memEntry{dir: newMemDir()}, to: parent, newname: base})
			}
		}
		return nil
	}, nil)
}

// ReadDir implements FS.
func (m *Mem) ReadDir(name string) (list []Info, err error) {
	err = m.look("list", name, func() error {
		_, _, e, err := m.find(name)
		switch {
		case err != nil:
			return err
		case e.data != nil:
			return unix.ENOTDIR
		case e.dir == nil:
			return unix.ENOENT
		}
		for base, e := range e.dir.now {
			list = append(list, e.info(base))
		}
		slices.SortFunc(list, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
		return nil
	})
	return list, err
}

// Stat implements FS.
func (m *Mem) Stat(name string) (info Info, err error) {
	err = m.look("stat", name, func() error {
		_, base, e, err := m.find(name)
		if err == nil && e == (memEntry{}) {
			err = unix.ENOENT
		}
		if err == nil {
			info = e.info(base)
		}
		return err
	})
	return info, err
}

func (e memEntry) info(name string) Info {
	if e.dir != nil {
		return Info{Name: name, Dir: true}
	}
	return Info{Name: name, Size: e.data.size, Allocated: e.data.pagesUsed * memPageSize}
}

// SyncDir implements FS. A rename between two directories becomes durable as a
// whole when either is synced, with all that came before it in both.
func (m *Mem) SyncDir(name string) error {
	var dir *memDir
	return m.change("sync directory", name, func() error {
		_, _, e, err := m.find(name)
		switch {
		case err != nil:
			return err
		case e.data != nil:
			return unix.ENOTDIR
		case e.dir == nil:
			return unix.ENOENT
		}
		dir = e.dir
		return nil
	}, func() { m.settleMoves(dir) })
}

func (m *Mem) settleMoves(dir *memDir) {
	synced := []*memDir{dir}
	var settled, rest []move
	for _, v := range slices.Backward(m.moves) {
		if !slices.ContainsFunc(synced, v.touches) {
			rest = append(rest, v)
			continue
		}
		settled = append(settled, v)
		synced = append(synced, v.from, v.to)
	}
	for _, v := range slices.Backward(settled) {
		v.apply(viewDurable)
	}
	slices.Reverse(rest)
	m.moves = rest
}

// Space implements FS.
func (m *Mem) Space(name string) (free, total int64, err error) {
	err = m.look("statfs", name, func() error {
		_, _, e, err := m.find(name)
		if err == nil && e == (memEntry{}) {
			err = unix.ENOENT
		}
		free, total = max(0, m.total-m.used), m.total
		return err
	})
	return free, total, err
}
