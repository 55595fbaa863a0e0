package dir_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"varve/internal/fail"
	"varve/internal/segstore"
	"varve/internal/segstore/dir"
	"varve/internal/vfs"
)

const block = 4096

// promised is what a store must still hold after a power failure: the
// superblock, and of each segment the blocks that were made durable, by what
// they hold. A block that is not named may hold anything.
type promised struct {
	super    string
	segments map[uint64]map[int64]uint64
}

// pattern is the content of a block.
func pattern(tag uint64) []byte {
	return bytes.Repeat(binary.LittleEndian.AppendUint64(nil, tag), block/8)
}

// script runs random changes until the power goes, and keeps the books. After
// it, doubt says which change the crash interrupted, and resolve looks what
// became of it.
type script struct {
	t       *testing.T
	rng     *rand.Rand
	s       *dir.Store
	p       promised
	next    uint64 // number for a segment, and tag for a block
	doubt   string
	resolve func(have map[uint64]bool) error
}

func (c *script) pick() (uint64, bool) {
	numbers := slices.Sorted(maps.Keys(c.p.segments))
	if len(numbers) == 0 {
		return 0, false
	}
	return numbers[c.rng.IntN(len(numbers))], true
}

// run returns when the power has gone.
func (c *script) run() {
	steps := []func(n uint64) error{c.create, c.create, c.recycle, c.remove, c.write, c.write, c.write, c.writeDurable, c.writeDurable, c.punch, c.superblock, c.hint}
	for {
		n, ok := c.pick()
		step := steps[c.rng.IntN(len(steps))]
		if !ok {
			step = c.create
		}
		c.next++
		c.resolve = func(map[uint64]bool) error { return nil }
		switch err := step(n); {
		case errors.Is(err, vfs.ErrCrashed):
			return
		case err != nil && !fail.Is(err, fail.NoSpace):
			c.t.Fatalf("%s: %v", c.doubt, err)
		}
	}
}

func (c *script) create(uint64) error {
	n, content := c.next, segstore.Content(c.rng.IntN(3))
	c.doubt = fmt.Sprintf("create %d with content %d", n, content)
	c.resolve = func(have map[uint64]bool) error {
		if have[n] {
			c.p.segments[n] = map[int64]uint64{}
			for off := int64(0); content == segstore.Zeros && off < segmentSize; off += block {
				c.p.segments[n][off] = 0
			}
		}
		return nil
	}
	err := c.s.Create(n, content)
	if err == nil {
		return c.resolve(map[uint64]bool{n: true})
	}
	return err
}

func (c *script) recycle(n uint64) error {
	old, number := n, c.next
	c.doubt = fmt.Sprintf("recycle %d as %d", old, number)
	c.resolve = func(have map[uint64]bool) error {
		if have[old] == have[number] {
			return fmt.Errorf("segment %d is there: %v; %d: %v", old, have[old], number, have[number])
		}
		if have[number] {
			c.p.segments[number] = c.p.segments[old]
			delete(c.p.segments, old)
		}
		return nil
	}
	err := c.s.Recycle(old, number)
	if err == nil {
		return c.resolve(map[uint64]bool{number: true})
	}
	return err
}

func (c *script) remove(n uint64) error {
	c.doubt = fmt.Sprintf("remove %d", n)
	c.resolve = func(have map[uint64]bool) error {
		if !have[n] {
			delete(c.p.segments, n)
		}
		return nil
	}
	err := c.s.Remove(n)
	if err == nil {
		delete(c.p.segments, n)
	}
	return err
}

func (c *script) write(n uint64) error {
	off := c.rng.Int64N(segmentSize/block) * block
	c.doubt = fmt.Sprintf("write %d at %d", n, off)
	delete(c.p.segments[n], off)
	tag := c.next
	if err := c.s.WriteAt(n, pattern(tag), off); err != nil {
		return err
	}
	err := c.s.Sync(n)
	if err == nil {
		c.p.segments[n][off] = tag
	}
	return err
}

func (c *script) writeDurable(n uint64) error {
	off := c.rng.Int64N(segmentSize/block) * block
	c.doubt = fmt.Sprintf("write %d at %d durably", n, off)
	delete(c.p.segments[n], off)
	tag := c.next
	err := c.s.WriteDurableAt(n, pattern(tag), off)
	if err == nil {
		c.p.segments[n][off] = tag
	}
	return err
}

func (c *script) punch(n uint64) error {
	off := c.rng.Int64N(segmentSize/block) * block
	c.doubt = fmt.Sprintf("punch %d at %d", n, off)
	delete(c.p.segments[n], off)
	return c.s.PunchHole(n, off, block)
}

func (c *script) superblock(uint64) error {
	old, content := c.p.super, fmt.Sprint("super ", c.next)
	c.doubt = content
	c.resolve = func(map[uint64]bool) error {
		b, err := c.s.Superblock()
		if string(b) != old && string(b) != content || err != nil && old != "" {
			return fmt.Errorf("superblock %q, %v; was %q or %q", b, err, old, content)
		}
		c.p.super = string(b)
		return nil
	}
	err := c.s.WriteSuperblock([]byte(content))
	if err == nil {
		c.p.super = content
	}
	return err
}

func (c *script) hint(uint64) error {
	c.doubt = "hint"
	return c.s.SetHint(bytes.Repeat([]byte("hint"), c.rng.IntN(1000)))
}

// verify compares the store that was opened after the crash with the books.
func (c *script) verify() error {
	list, err := c.s.List()
	if err != nil {
		return err
	}
	have := map[uint64]bool{}
	for _, seg := range list {
		have[seg.Number] = true
	}
	if err := c.resolve(have); err != nil {
		return err
	}
	if got, want := len(list), len(c.p.segments); got != want {
		return fmt.Errorf("%d segments, want %d", got, want)
	}
	whole := make([]byte, segmentSize)
	for n, blocks := range c.p.segments {
		if err := c.s.ReadAt(n, whole, 0); err != nil {
			return err
		}
		for off, tag := range blocks {
			if !bytes.Equal(whole[off:][:block], pattern(tag)) {
				return fmt.Errorf("segment %d at %d does not hold %d", n, off, tag)
			}
		}
	}
	if b, err := c.s.Superblock(); string(b) != c.p.super || err != nil && c.p.super != "" {
		return fmt.Errorf("superblock %q, %v, want %q", b, err, c.p.super)
	}
	b, err := c.s.Hint()
	if err != nil && !fail.Is(err, fail.NotFound) || len(bytes.ReplaceAll(b, []byte("hint"), nil)) > 0 {
		return fmt.Errorf("hint %q, %v", b, err)
	}
	return nil
}

func TestCrash(t *testing.T) {
	interrupted := map[string]int{}
	for seed := range uint64(120) {
		rng := rand.New(rand.NewPCG(seed, 0))
		disk := vfs.NewMem(seed)
		check(t, dir.Make(disk, "/pool", segmentSize, capacity))
		check(t, disk.SyncDir("/"))
		c := &script{t: t, rng: rng, p: promised{segments: map[uint64]map[int64]uint64{}}}
		for round := range 4 {
			var err error
			c.s, err = dir.Open(disk, "/pool", dir.Options{Spare: int(seed % 3)})
			check(t, err)
			if round > 0 {
				if err := c.verify(); err != nil {
					t.Fatalf("seed %d, crash %d, in %q: %v", seed, round, c.doubt, err)
				}
			}
			disk.CrashAfter(1 + rng.IntN(150))
			c.run()
			var kind string
			fmt.Sscan(c.doubt, &kind)
			interrupted[kind]++
			disk = disk.Crash(rng)
		}
	}
	t.Log(interrupted)
	for _, kind := range []string{"create", "recycle", "remove", "write", "punch", "super", "hint"} {
		if interrupted[kind] == 0 {
			t.Errorf("no crash in %q", kind)
		}
	}
}

// A crash while a pool is made leaves a pool, or a place where one can be made.
func TestCrashInMake(t *testing.T) {
	whole := vfs.NewMem(1)
	check(t, dir.Make(whole, "/a/b/pool", segmentSize, capacity))
	var made, again int
	for n := 1; n <= whole.Ops(); n++ {
		for seed := range uint64(30) {
			disk := vfs.NewMem(seed)
			disk.CrashAfter(n)
			if err := dir.Make(disk, "/a/b/pool", segmentSize, capacity); !errors.Is(err, vfs.ErrCrashed) {
				t.Fatalf("call %d: %v", n, err)
			}
			disk = disk.Crash(nil)
			s, err := dir.Open(disk, "/a/b/pool", dir.Options{})
			if fail.Is(err, fail.NotFound) {
				again++
				check(t, dir.Make(disk, "/a/b/pool", segmentSize, capacity))
				s, err = dir.Open(disk, "/a/b/pool", dir.Options{})
			} else {
				made++
			}
			if err != nil {
				t.Fatalf("crash in call %d, seed %d: %v", n, seed, err)
			}
			if space, err := s.Space(); err != nil || space != (segstore.Space{Free: capacity, Capacity: capacity}) {
				t.Fatalf("crash in call %d, seed %d: %+v, %v", n, seed, space, err)
			}
		}
	}
	for seed := range uint64(30) { // after it there is always a pool
		_, err := dir.Open(whole.Crash(rand.New(rand.NewPCG(seed, 0))), "/a/b/pool", dir.Options{})
		check(t, err)
	}
	if made == 0 || again == 0 {
		t.Errorf("%d pools made, %d places left", made, again)
	}
}
