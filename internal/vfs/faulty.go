package vfs

import (
	"io"
	"io/fs"
	"path"
	"slices"
	"sync"
	"sync/atomic"
)

// Op names a kind of call that a Rule can meet.
type Op string

// The kinds of call. OpSync is for files, OpSyncDir for directories; OpRead
// stands for TryReadAt too, and OpWrite for WriteDurableAt too.
const (
	OpAny      Op = ""
	OpOpen     Op = "open"
	OpRename   Op = "rename" // by the old name
	OpRemove   Op = "remove"
	OpMkdir    Op = "mkdir"
	OpList     Op = "list"
	OpStat     Op = "stat"
	OpSyncDir  Op = "syncdir"
	OpLock     Op = "lock"
	OpSpace    Op = "space"
	OpRead     Op = "read"
	OpWrite    Op = "write"
	OpSync     Op = "sync"
	OpAllocate Op = "allocate"
	OpPunch    Op = "punch"
	OpZero     Op = "zero"
	OpTruncate Op = "truncate"
	OpSize     Op = "size"
)

// Rule says which calls go wrong, and how. The first rule that meets a call
// decides it.
type Rule struct {
	Op    Op     // OpAny meets every call
	Path  string // path.Match pattern of the last element of the name; "" meets every name
	After int    // so many calls that it meets pass unharmed
	Count int    // so many are then hit; 0 = all

	// What happens to a call that is hit: Hook runs first, if set, on the
	// goroutine of the call and with no lock held. Then one of the following;
	// with none of them, the call goes on.
	Hook  func(op Op, name string)
	Err   error // the call fails with this, for example syscall.ENOSPC
	Short bool  // of a write that fails with Err, the first half is done
	Rot   *Rot  // a read succeeds with a flipped bit
}

// Rot is a bit that reads find flipped. Its rule meets only reads of it.
type Rot struct {
	Offset int64 // bytes from the start of the file
	Bit    uint8 // 0 to 7
}

// Fault is a rule at work.
type Fault struct {
	rule Rule
	met  atomic.Int64
}

// Hits returns how many calls the rule has hit.
func (t *Fault) Hits() int {
	hits := max(0, int(t.met.Load())-t.rule.After)
	if t.rule.Count > 0 {
		hits = min(hits, t.rule.Count)
	}
	return hits
}

// meets reports whether the rule is about a call; off and n are the bytes that
// a read wants.
func (t *Fault) meets(op Op, name string, off, n int64) bool {
	r := &t.rule
	if r.Rot != nil && (op != OpRead || r.Rot.Offset < off || r.Rot.Offset >= off+n) {
		return false
	}
	if r.Op != OpAny && r.Op != op {
		return false
	}
	if r.Path == "" {
		return true
	}
	ok, _ := path.Match(r.Path, path.Base(name)) // checked by Add
	return ok
}

// hit counts a call that the rule meets, and reports whether it is hit.
func (t *Fault) hit() bool {
	met := int(t.met.Add(1)) - t.rule.After
	return met > 0 && (t.rule.Count == 0 || met <= t.rule.Count)
}

// Faulty is a file system with injected faults. Rules may come and go while it
// is in use.
type Faulty struct {
	under FS

	mu     sync.RWMutex
	faults []*Fault
}

var _ FS = (*Faulty)(nil)

// NewFaulty injects faults into a file system.
func NewFaulty(under FS, rules ...Rule) *Faulty {
	f := &Faulty{under: under}
	for _, r := range rules {
		f.Add(r)
	}
	return f
}

// Add lets a rule work from now on. It panics if the pattern is malformed.
func (f *Faulty) Add(r Rule) *Fault {
	if _, err := path.Match(r.Path, ""); err != nil {
		panic(err)
	}
	t := &Fault{rule: r}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, t)
	return t
}

// End takes a rule away.
func (f *Faulty) End(t *Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = slices.DeleteFunc(f.faults, func(other *Fault) bool { return other == t })
}

// hit returns the rule that decides a call, or nil, after its hook.
func (f *Faulty) hit(op Op, name string, off, n int64) *Rule {
	rule := f.find(op, name, off, n)
	if rule != nil && rule.Hook != nil {
		rule.Hook(op, name)
	}
	return rule
}

func (f *Faulty) find(op Op, name string, off, n int64) *Rule {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, t := range f.faults {
		if t.meets(op, name, off, n) && t.hit() {
			return &t.rule
		}
	}
	return nil
}

// check is hit for calls that a rule can only let fail.
func (f *Faulty) check(op Op, name string) error {
	if r := f.hit(op, name, 0, 0); r != nil && r.Err != nil {
		return wrap(string(op), name, r.Err)
	}
	return nil
}

// Open implements FS.
func (f *Faulty) Open(name string, flag int, perm fs.FileMode) (File, error) {
	if err := f.check(OpOpen, name); err != nil {
		return nil, err
	}
	file, err := f.under.Open(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &faultyFile{file, f, name}, nil
}

// Rename implements FS.
func (f *Faulty) Rename(oldname, newname string) error {
	if err := f.check(OpRename, oldname); err != nil {
		return err
	}
	return f.under.Rename(oldname, newname)
}

// Remove implements FS.
func (f *Faulty) Remove(name string) error {
	if err := f.check(OpRemove, name); err != nil {
		return err
	}
	return f.under.Remove(name)
}

// MkdirAll implements FS.
func (f *Faulty) MkdirAll(name string, perm fs.FileMode) error {
	if err := f.check(OpMkdir, name); err != nil {
		return err
	}
	return f.under.MkdirAll(name, perm)
}

// ReadDir implements FS.
func (f *Faulty) ReadDir(name string) ([]Info, error) {
	if err := f.check(OpList, name); err != nil {
		return nil, err
	}
	return f.under.ReadDir(name)
}

// Stat implements FS.
func (f *Faulty) Stat(name string) (Info, error) {
	if err := f.check(OpStat, name); err != nil {
		return Info{}, err
	}
	return f.under.Stat(name)
}

// SyncDir implements FS.
func (f *Faulty) SyncDir(name string) error {
	if err := f.check(OpSyncDir, name); err != nil {
		return err
	}
	return f.under.SyncDir(name)
}

// Lock implements FS.
func (f *Faulty) Lock(name string, exclusive bool, note string) (io.Closer, error) {
	if err := f.check(OpLock, name); err != nil {
		return nil, err
	}
	return f.under.Lock(name, exclusive, note)
}

// Space implements FS.
func (f *Faulty) Space(name string) (free, total int64, err error) {
	if err := f.check(OpSpace, name); err != nil {
		return 0, 0, err
	}
	return f.under.Space(name)
}

// faultyFile is an open file of a Faulty.
type faultyFile struct {
	under File
	fsys  *Faulty
	name  string
}

func (f *faultyFile) Close() error { return f.under.Close() }

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	r := f.fsys.hit(OpRead, f.name, off, int64(len(p)))
	if r != nil && r.Err != nil {
		return 0, wrap("read", f.name, r.Err)
	}
	n, err := f.under.ReadAt(p, off)
	rot(r, p[:n], off)
	return n, err
}

func (f *faultyFile) TryReadAt(p []byte, off int64) (int, bool, error) {
	r := f.fsys.hit(OpRead, f.name, off, int64(len(p)))
	if r != nil && r.Err != nil {
		return 0, false, wrap("read", f.name, r.Err)
	}
	n, ok, err := f.under.TryReadAt(p, off)
	rot(r, p[:n], off)
	return n, ok, err
}

func (f *faultyFile) Prefetch(off, n int64) { f.under.Prefetch(off, n) }

// rot flips the bit of a rule in what was read from off.
func rot(r *Rule, p []byte, off int64) {
	if r == nil || r.Rot == nil {
		return
	}
	if at := r.Rot.Offset - off; at >= 0 && at < int64(len(p)) {
		p[at] ^= 1 << (r.Rot.Bit & 7)
	}
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	r := f.fsys.hit(OpWrite, f.name, off, int64(len(p)))
	if r == nil || r.Err == nil {
		return f.under.WriteAt(p, off)
	}
	n := 0
	if r.Short {
		n, _ = f.under.WriteAt(p[:len(p)/2], off) // the call fails in any case
	}
	return n, wrap("write", f.name, r.Err)
}

func (f *faultyFile) WriteDurableAt(p []byte, off int64) error {
	r := f.fsys.hit(OpWrite, f.name, off, int64(len(p)))
	if r == nil || r.Err == nil {
		return f.under.WriteDurableAt(p, off)
	}
	if r.Short {
		_, _ = f.under.WriteAt(p[:len(p)/2], off) // the call fails in any case
	}
	return wrap("write", f.name, r.Err)
}

func (f *faultyFile) Sync() error {
	if err := f.fsys.check(OpSync, f.name); err != nil {
		return err
	}
	return f.under.Sync()
}

func (f *faultyFile) Allocate(off, n int64) error {
	if err := f.fsys.check(OpAllocate, f.name); err != nil {
		return err
	}
	return f.under.Allocate(off, n)
}

func (f *faultyFile) PunchHole(off, n int64) error {
	if err := f.fsys.check(OpPunch, f.name); err != nil {
		return err
	}
	return f.under.PunchHole(off, n)
}

func (f *faultyFile) Zero(off, n int64) error {
	if err := f.fsys.check(OpZero, f.name); err != nil {
		return err
	}
	return f.under.Zero(off, n)
}

func (f *faultyFile) Truncate(size int64) error {
	if err := f.fsys.check(OpTruncate, f.name); err != nil {
		return err
	}
	return f.under.Truncate(size)
}

func (f *faultyFile) Size() (int64, error) {
	if err := f.fsys.check(OpSize, f.name); err != nil {
		return 0, err
	}
	return f.under.Size()
}
