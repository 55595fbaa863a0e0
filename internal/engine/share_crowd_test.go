package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/inode"
	"varve/internal/oplog"
	"varve/internal/segstore/mem"
	"varve/internal/when"
)

// hand makes operations on the files of a share as a front end does: what an
// operation needs to know, its judge finds.
type hand struct{ *engine.Head }

func newHand(t *testing.T, e *engine.Engine, id uint64) hand {
	t.Helper()
	h, err := e.AttachID(id, tester, func() {})
	if err != nil {
		t.Fatal(err)
	}
	return hand{h}
}

var errTaken, errNone = errors.New("the name is taken"), errors.New("no such name")

// ino returns what a name leads to, 0 if there is no such name.
func (h hand) ino(r inode.Reader, dir uint64, name string) (uint64, error) {
	e, _, err := inode.Lookup(r, h.Seed(), dir, name)
	return e.Ino, err
}

func (h hand) create(dir uint64, name string, mode uint32) (uint64, error) {
	op := &oplog.Op{Kind: oplog.Create, Dir: dir, Name: name, Attr: oplog.Attr{Mask: oplog.SetMode, Mode: mode}}
	if mode&inode.ModeType == inode.ModeDir {
		op.Kind = oplog.Mkdir
	}
	err := h.Change(op, func(r inode.Reader) error {
		op.Ino = h.NextIno()
		ino, err := h.ino(r, dir, name)
		if err == nil && ino != 0 {
			err = errTaken
		}
		return err
	}, nil)
	return op.Ino, err
}

func (h hand) remove(dir uint64, name string) error {
	op := &oplog.Op{Kind: oplog.Remove, Dir: dir, Name: name}
	return h.Change(op, func(r inode.Reader) (err error) {
		if op.Ino, err = h.ino(r, dir, name); err == nil && op.Ino == 0 {
			err = errNone
		}
		return err
	}, nil)
}

func (h hand) link(ino, dir uint64, name string) error {
	op := &oplog.Op{Kind: oplog.Link, Ino: ino, Dir: dir, Name: name}
	return h.Change(op, func(r inode.Reader) error {
		if _, err := inode.Load(r, ino); err != nil {
			return err
		}
		had, err := h.ino(r, dir, name)
		if err == nil && had != 0 {
			err = errTaken
		}
		return err
	}, nil)
}

func (h hand) rename(dir uint64, name string, dir2 uint64, name2 string) error {
	op := &oplog.Op{Kind: oplog.Move, Dir: dir, Name: name, Dir2: dir2, Name2: name2}
	return h.Change(op, func(r inode.Reader) (err error) {
		if op.Ino, err = h.ino(r, dir, name); err != nil {
			return err
		}
		if op.Ino == 0 {
			return errNone
		}
		op.Ino2, err = h.ino(r, dir2, name2)
		return err
	}, nil)
}

func (h hand) write(ino, off uint64, p []byte) error {
	return h.WriteFile(&oplog.Op{Ino: ino, Off: off}, nil, p, func(r inode.Reader) error {
		_, err := inode.Load(r, ino)
		return err
	}, nil)
}

func (h hand) truncate(ino, size uint64) error {
	op := &oplog.Op{Ino: ino, Attr: oplog.Attr{Mask: oplog.SetSize, Size: size}}
	return h.Truncate(op, func(r inode.Reader) error {
		_, err := inode.Load(r, ino)
		return err
	}, nil)
}

// clerk makes, links, renames and removes names of its own in two directories
// that all clerks share, and knows what must be there.
type clerk struct {
	hand
	id   int
	rng  *rand.Rand
	dirs []uint64
	have map[entryName]uint64
	text map[uint64][]byte // of its files
	made []uint64
}

// entryName is a name in a directory.
type entryName struct {
	dir  uint64
	name string
}

func (c *clerk) draw() entryName {
	return entryName{c.dirs[c.rng.IntN(len(c.dirs))], fmt.Sprintf("%d-%d", c.id, c.rng.IntN(12))}
}

func (c *clerk) step() error {
	at := c.draw()
	ino := c.have[at]
	switch pick := c.rng.IntN(10); {
	case ino == 0:
		ino, err := c.create(at.dir, at.name, inode.ModeFile|0o600)
		if err != nil {
			return err
		}
		p := bytes.Repeat([]byte{byte(ino), byte(c.rng.Uint32())}, 1+c.rng.IntN(3*block))
		c.have[at], c.text[ino], c.made = ino, p, append(c.made, ino)
		return c.write(ino, 0, p)
	case pick < 4:
		to := c.draw()
		if err := c.rename(at.dir, at.name, to.dir, to.name); err != nil {
			return err
		}
		if c.have[to] != ino { // else both names stay
			delete(c.have, at)
			c.have[to] = ino
		}
	case pick < 6:
		to := c.draw()
		err := c.link(ino, to.dir, to.name)
		if c.have[to] != 0 {
			if err != errTaken {
				return fmt.Errorf("link over %v: %w", to, err)
			}
			return nil
		}
		c.have[to] = ino
		return err
	case pick < 7: // shorter by the half, and longer again: with zeros
		half := len(c.text[ino]) / 2
		p := bytes.Clone(c.text[ino])
		clear(p[half:])
		if err := c.truncate(ino, uint64(half)); err != nil {
			return err
		}
		c.text[ino] = p
		return c.truncate(ino, uint64(len(p)))
	case pick < 8:
		p := bytes.Clone(c.text[ino])
		from := c.rng.IntN(len(p))
		for i := range p[from:] {
			p[from+i] = byte(c.rng.Uint32())
		}
		c.text[ino] = p
		return c.write(ino, uint64(from), p[from:])
	default:
		delete(c.have, at)
		return c.remove(at.dir, at.name)
	}
	return nil
}

// verify compares what is there with what the clerk knows.
func (c *clerk) verify(h hand) error {
	have := map[entryName]uint64{}
	for _, dir := range c.dirs {
		err := h.Look(func(r inode.Reader) error {
			return inode.List(r, dir, 0, func(e inode.Entry) bool {
				var id, n int
				if _, err := fmt.Sscanf(e.Name, "%d-%d", &id, &n); err == nil && id == c.id {
					have[entryName{dir, e.Name}] = e.Ino
				}
				return true
			})
		})
		if err != nil {
			return err
		}
	}
	if !maps.Equal(have, c.have) {
		return fmt.Errorf("clerk %d has %v, want %v", c.id, have, c.have)
	}
	for at, ino := range have {
		want := c.text[ino]
		got := make([]byte, len(want)+block)
		if err := h.ReadFile(ino, got, 0); err != nil {
			return err
		}
		if i := differs(got, append(bytes.Clone(want), make([]byte, block)...)); i >= 0 {
			return fmt.Errorf("clerk %d: byte %d of %v is %#x of %d bytes", c.id, i, at, got[i], len(want))
		}
	}
	return nil
}

// slicer writes slices of one file, between those of others, and reads back.
type slicer struct {
	hand
	ino, id, of, round uint64
}

const (
	sliceBytes = 100
	slicesEach = 60
)

func (s *slicer) step() error {
	s.round++
	p, got := make([]byte, sliceBytes), make([]byte, sliceBytes)
	for i := range uint64(slicesEach) {
		fillSlice(p, s.id, i, s.round)
		off := (i*s.of + s.id) * sliceBytes
		if err := s.write(s.ino, off, p); err != nil {
			return err
		}
		if err := s.ReadFile(s.ino, got, off); err != nil {
			return err
		}
		if !bytes.Equal(got, p) {
			return fmt.Errorf("slice %d of writer %d, round %d: lost its bytes", i, s.id, s.round)
		}
	}
	return nil
}

func (s *slicer) verify(h hand) error {
	p, got := make([]byte, sliceBytes), make([]byte, sliceBytes)
	for i := range uint64(slicesEach) {
		fillSlice(p, s.id, i, s.round)
		if err := h.ReadFile(s.ino, got, (i*s.of+s.id)*sliceBytes); err != nil {
			return err
		}
		if !bytes.Equal(got, p) {
			return fmt.Errorf("slice %d of writer %d: lost its bytes", i, s.id)
		}
	}
	return nil
}

// shareCrowd is many clients at work on one share.
type shareCrowd struct {
	*crowd
	id      uint64
	clerks  []*clerk
	slicers []*slicer
}

// Clients that change one directory and one file at the same time, with
// checkpoints, snapshots, views and a truncation at the file's end beside: each
// finds what it left, and the share is whole at every moment.
func TestShareCrowd(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	o := engine.Options{Store: mem.New(4<<20, 64<<30), CheckpointEvery: 5 * time.Millisecond, CacheBytes: 1 << 20, BaseOps: 500}
	c := &shareCrowd{crowd: newCrowd(t, o)}
	if _, err := c.e.CreateShare(tester, "home", 0o755, 0, 0); err != nil {
		t.Fatal(err)
	}
	i, err := c.e.Dataset("home")
	if err != nil {
		t.Fatal(err)
	}
	c.id = i.ID
	c.start(seed)
	c.watch()
	c.turnBack(seed)
	time.Sleep(4 * time.Second)
	c.stop.Store(true)
	c.group.Wait()
	c.verify(newHand(t, c.e, c.id))
	c.e = c.reopen(o)
	defer c.e.Close(context.Background())
	c.verify(newHand(t, c.e, c.id))
}

func (c *shareCrowd) start(seed uint64) {
	h := newHand(c.t, c.e, c.id)
	sub, err := h.create(inode.Root, "sub", inode.ModeDir|0o755)
	if err != nil {
		c.t.Fatal(err)
	}
	file, err := h.create(inode.Root, "file", inode.ModeFile|0o644)
	if err != nil {
		c.t.Fatal(err)
	}
	for id := range 4 {
		k := &clerk{
			hand: newHand(c.t, c.e, c.id), id: id, rng: rand.New(rand.NewPCG(seed, uint64(id))),
			dirs: []uint64{inode.Root, sub}, have: map[entryName]uint64{}, text: map[uint64][]byte{},
		}
		c.clerks = append(c.clerks, k)
		c.do("clerk", k.step)
	}
	const writers = 4
	for id := range uint64(writers) {
		s := &slicer{hand: newHand(c.t, c.e, c.id), ino: file, id: id, of: writers}
		c.slicers = append(c.slicers, s)
		c.do("slicer", s.step)
	}
	rng := rand.New(rand.NewPCG(seed, 300))
	end := uint64(writers * slicesEach * sliceBytes)
	c.do("truncate", func() error { return h.truncate(file, end+rng.Uint64N(2*block)) })
}

// watch takes checkpoints, snapshots and views of the share and looks whether
// it is whole.
func (c *shareCrowd) watch() {
	c.do("checkpoint", func() error {
		time.Sleep(3 * time.Millisecond)
		return c.e.Checkpoint()
	})
	n := 0
	c.do("snapshot", func() error {
		n++
		name := fmt.Sprintf("s%d", n)
		if _, err := c.e.Snapshot(tester, "home", name); err != nil {
			return err
		}
		if err := c.whole("home", when.Spec{Kind: when.Snapshot, Name: name}); err != nil {
			return err
		}
		_, err := c.e.DestroySnapshot(tester, "home", name)
		return err
	})
}

// whole looks at a moment of a share: every name, count and block.
func (c *shareCrowd) whole(name string, at when.Spec) error {
	m, err := c.e.Resolve(name, at)
	if err != nil {
		return err
	}
	v, err := c.e.OpenView(m)
	if err != nil {
		return err
	}
	defer v.Close()
	var bad []error
	err = v.Look(func(r inode.Reader) error {
		found, err := inode.Check(context.Background(), r, v.Seed(), engine.ExtentBlocks, func(err error) { bad = append(bad, err) })
		if _, inodes := v.Usage(); err == nil && found.Inodes != inodes {
			bad = append(bad, fmt.Errorf("%d inodes, and %d are counted", found.Inodes, inodes))
		}
		return err
	})
	if err != nil {
		return err
	}
	return errors.Join(bad...)
}

// turnBack rolls a share back and back while others change its files. They do
// not notice, but for what is gone or there again.
func (c *shareCrowd) turnBack(seed uint64) {
	if _, err := c.e.CreateShare(tester, "back", 0o755, 0, 0); err != nil {
		c.t.Fatal(err)
	}
	i, err := c.e.Dataset("back")
	if err != nil {
		c.t.Fatal(err)
	}
	var mu sync.Mutex
	made := map[uint64]bool{}
	for g := range uint64(2) {
		h, rng := newHand(c.t, c.e, i.ID), rand.New(rand.NewPCG(seed, 400+g))
		c.do("changes", func() error {
			name := fmt.Sprint(rng.IntN(20))
			if rng.IntN(2) == 0 {
				if err := h.remove(inode.Root, name); err != errNone {
					return err
				}
				return nil
			}
			ino, err := h.create(inode.Root, name, inode.ModeFile)
			if err == errTaken {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			if made[ino] {
				return fmt.Errorf("inode number %d is used again", ino)
			}
			made[ino] = true
			return err
		})
	}
	rng := rand.New(rand.NewPCG(seed, 500))
	c.do("rollback", func() error {
		time.Sleep(2 * time.Millisecond)
		now, err := c.e.Dataset("back")
		if err != nil {
			return err
		}
		lsn := now.CreatedLSN + rng.Uint64N(now.ChangedLSN-now.CreatedLSN+1)
		if _, err := c.e.Rollback(tester, "back", atLSN(lsn), false); err != nil {
			return err
		}
		return c.whole("back", when.Spec{Kind: when.Now})
	})
}

func (c *shareCrowd) verify(h hand) {
	c.t.Helper()
	made := map[uint64]bool{}
	for _, k := range c.clerks {
		if err := k.verify(h); err != nil {
			c.t.Error(err)
		}
		for _, ino := range k.made {
			if made[ino] {
				c.t.Errorf("inode number %d is used twice", ino)
			}
			made[ino] = true
		}
	}
	rounds := uint64(0)
	for _, s := range c.slicers {
		if err := s.verify(h); err != nil {
			c.t.Error(err)
		}
		rounds += s.round
	}
	if len(made) == 0 || rounds == 0 {
		c.t.Errorf("%d files made, %d rounds written", len(made), rounds)
	}
	c.t.Logf("%d files made, %d rounds of slices", len(made), rounds)
}
