package inode

import (
	"sync"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/tree"
)

// LargeCut is the number of blocks above which a cut is large. It decides what
// Replay does, so it is part of the format.
const LargeCut = 4096

// Effect is what an operation leaves for the engine to do.
type Effect struct {
	// Cut: the extents of file Ino from block From on have to go. If Inodes is
	// -1, the file itself is gone; else AddBlocks has to be told.
	Cut       bool
	Ino, From uint64
	// Large: that may be more than LargeCut blocks. They go as a range, without
	// being counted, and the inode of what is left of the file is Rough.
	Large  bool
	Inodes int // how many more there are
}

// Plan says what the effect of op will be. It only reads, and fails as Prepare
// does.
func Plan(r Reader, seed uint64, op *oplog.Op) (Effect, error) {
	return placesOf(seed).plan(r, op)
}

func (p places) plan(r Reader, op *oplog.Op) (Effect, error) {
	e, err := p.newEdit(r, op)
	defer e.put()
	return e.effect, err
}

// Prepare makes every leaf that Apply of op touches resident and writable, but
// for the extents of its effect. After a *tree.Miss, load it and call again.
// Other errors are those of Apply, and NoSpace where too many names have the
// same hash: then op must not be logged.
func Prepare(t *tree.Tree, seed uint64, op *oplog.Op) error {
	return placesOf(seed).prepare(t, op)
}

func (p places) prepare(t *tree.Tree, op *oplog.Op) error {
	e, err := p.newEdit(t, op)
	defer e.put()
	if err != nil {
		return err
	}
	return e.prepare(t)
}

// Apply changes a prepared tree by one operation on files. It is memory only;
// an error is corruption: op contradicts the tree, which is not changed then.
// It does not touch extents, and changes Blocks of no inode: see AddBlocks.
func Apply(t *tree.Tree, seed uint64, op *oplog.Op) (Effect, error) {
	return placesOf(seed).apply(t, op)
}

func (p places) apply(t *tree.Tree, op *oplog.Op) (Effect, error) {
	e, err := p.newEdit(t, op)
	defer e.put()
	if err != nil {
		return Effect{}, err
	}
	e.apply(t)
	return e.effect, nil
}

// AddBlocks changes the number of blocks of a file, after its extents and its
// size have been changed. The leaf of its inode has been prepared. It never
// falls below 0, nor, where it is only an upper bound, stays above what the
// size allows.
func AddBlocks(t *tree.Tree, ino uint64, delta int64) error {
	buf := make([]byte, 0, inodeSize)
	i, ok, err := load(t, ino, buf)
	if err != nil {
		return err
	}
	if !ok {
		return fail.New(fail.Corrupt, "there is no inode %d to count blocks of", ino)
	}
	if delta < 0 {
		i.Blocks -= min(i.Blocks, uint64(-delta))
	} else {
		i.Blocks += uint64(delta)
	}
	if i.Rough {
		i.Blocks = min(i.Blocks, blocksOf(i.Size))
		i.Rough = i.Blocks > 0
	}
	t.Put(Key(ino), i.Append(buf))
	return nil
}

// An edit is what one operation does to the items of a share. It is found by
// reading, so that Plan, Prepare and Apply have one meaning; then it is
// prepared, or applied: first what goes, then what comes.
type edit struct {
	places
	r      Reader
	op     *oplog.Op
	effect Effect

	inodes [4]held // in use: n. Those it looked at; they may all change
	n      int
	buf    [inodeSize]byte
	reads  []span     // ranges that were looked at
	gone   []tree.Key // in there, that go
	ranges []span     // that go
	items  []tree.Key // that come,
	values [][]byte   // with these values,
	memory []byte     // which are here
}

// A span is the keys from the first to below the second.
type span [2]tree.Key

// A held is an inode that an edit has read or made.
type held struct {
	ino uint64
	Inode
	gone bool
}

var edits = sync.Pool{New: func() any { return new(edit) }}

// newEdit finds what op does. The edit is to be put back, also after an error.
func (p places) newEdit(r Reader, op *oplog.Op) (*edit, error) {
	e := edits.Get().(*edit)
	e.places, e.r, e.op = p, r, op
	err := e.resolve()
	if err != nil {
		e.effect = Effect{}
		return e, err
	}
	for i := range e.inodes[:e.n] {
		if h := &e.inodes[i]; !h.gone {
			start := len(e.memory)
			e.memory = h.Append(e.memory)
			e.set(Key(h.ino), e.memory[start:])
		}
	}
	return e, nil
}

func (e *edit) put() {
	clear(e.values)
	*e = edit{
		reads: e.reads[:0], gone: e.gone[:0], ranges: e.ranges[:0],
		items: e.items[:0], values: e.values[:0], memory: e.memory[:0],
	}
	edits.Put(e)
}

func (e *edit) prepare(t *tree.Tree) error {
	for _, r := range e.reads {
		if err := t.Prepare(r[0], r[1]); err != nil {
			return err
		}
	}
	for _, k := range e.items {
		if err := t.Prepare(k, k); err != nil {
			return err
		}
	}
	for _, r := range e.ranges {
		if err := t.PrepareRange(r[0], r[1]); err != nil {
			return err
		}
	}
	return nil
}

func (e *edit) apply(t *tree.Tree) {
	for _, k := range e.gone {
		t.Delete(k)
	}
	for _, r := range e.ranges {
		t.DeleteRange(r[0], r[1])
	}
	for i, k := range e.items {
		t.Put(k, e.values[i])
	}
}

// set makes v the value of k.
func (e *edit) set(k tree.Key, v []byte) {
	e.items, e.values = append(e.items, k), append(e.values, v)
}

// setPieces makes v, cut into pieces, the values of the keys from k on.
func (e *edit) setPieces(k tree.Key, v []byte) {
	for len(v) > 0 {
		n := min(pieceSize, len(v))
		e.set(k, v[:n])
		k, v = k.Next(), v[n:]
	}
}

// bad is the error of an operation that contradicts the tree.
func (e *edit) bad(format string, args ...any) error {
	return fail.Wrap(fail.Corrupt, fail.New(fail.Corrupt, format, args...), "%v", e.op)
}

// inode returns an inode, to be changed.
func (e *edit) inode(ino uint64) (*held, error) {
	for i := range e.inodes[:e.n] {
		if h := &e.inodes[i]; h.ino == ino {
			return h, nil
		}
	}
	i, ok, err := load(e.r, ino, e.buf[:0])
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, e.bad("there is no inode %d", ino)
	}
	return e.hold(ino, i), nil
}

func (e *edit) hold(ino uint64, i Inode) *held {
	h := &e.inodes[e.n]
	*h = held{ino: ino, Inode: i}
	e.n++
	return h
}

func (e *edit) directory(ino uint64) (*held, error) {
	h, err := e.inode(ino)
	if err == nil && !h.IsDir() {
		return nil, e.bad("inode %d is no directory", ino)
	}
	return h, err
}
