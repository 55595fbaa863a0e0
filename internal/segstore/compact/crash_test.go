package compact_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"varve/internal/fail"
	"varve/internal/segstore"
	"varve/internal/segstore/compact"
	"varve/internal/segstore/dir"
	"varve/internal/vfs"
)

// script runs random changes, and keeps the books: which blocks of which
// segments are alive. What it has given up it tells a store again that was
// opened anew, as the engine does.
type script struct {
	rng   *rand.Rand
	s     *compact.Store
	live  map[uint64]map[int]bool
	next  uint64
	doubt string
	gone  uint64 // the segment that is being removed or created
	moved int    // blocks that were moved
}

func newScript(rng *rand.Rand) *script {
	return &script{rng: rng, live: map[uint64]map[int]bool{}}
}

func (c *script) pick() uint64 {
	numbers := slices.Sorted(maps.Keys(c.live))
	if len(numbers) == 0 {
		return 0
	}
	return numbers[c.rng.IntN(len(numbers))]
}

// step makes one change. An error is that of the store.
func (c *script) step() error {
	n := c.pick()
	c.gone = 0
	if n == 0 || len(c.live) < 30 && c.rng.IntN(4) == 0 {
		return c.create()
	}
	switch c.rng.IntN(8) {
	case 0:
		return c.remove(n)
	case 1, 2, 3, 4:
		return c.punch(n)
	case 5:
		c.doubt = "finish"
		return c.s.Finish()
	}
	return c.compact()
}

func (c *script) create() error {
	c.next++
	n := c.next
	c.doubt, c.gone = "create", n
	if err := c.s.Create(n, segstore.Zeros); err != nil {
		return err
	}
	if err := writeAll(c.s, n); err != nil {
		return err
	}
	c.live[n] = map[int]bool{}
	for b := range segBlocks {
		c.live[n][b] = true
	}
	return nil
}

func (c *script) remove(n uint64) error {
	c.doubt, c.gone = "remove", n
	delete(c.live, n)
	return c.s.Remove(n)
}

func (c *script) punch(n uint64) error {
	c.doubt = "punch"
	from := c.rng.IntN(segBlocks)
	blocks := 1 + c.rng.IntN(segBlocks-from)
	for b := from; b < from+blocks; b++ {
		delete(c.live[n], b)
	}
	return c.s.PunchHole(n, int64(from)*block, int64(blocks)*block)
}

func (c *script) compact() error {
	c.doubt = "compact"
	var victims []compact.Victim
	for _, n := range slices.Sorted(maps.Keys(c.live)) {
		if live := rangesOf(c.live[n]); len(live) > 0 && c.rng.IntN(3) > 0 {
			victims = append(victims, compact.Victim{Segment: n, Live: live})
		}
	}
	c.rng.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	r, err := c.s.Compact(victims, genuine)
	c.moved += r.Blocks
	if len(r.Damaged) > 0 && err == nil {
		return fmt.Errorf("damaged: %+v", r.Damaged)
	}
	return err
}

// rangesOf makes ranges of a set of blocks.
func rangesOf(blocks map[int]bool) (live ranges) {
	for b := range segBlocks {
		switch last := len(live) - 1; {
		case !blocks[b]:
		case last >= 0 && live[last].Block+live[last].Blocks == b:
			live[last].Blocks++
		default:
			live = append(live, compact.Range{Block: b, Blocks: 1})
		}
	}
	return live
}

// verify compares the store with the books.
func (c *script) verify() error {
	have := map[uint64]bool{}
	list, err := c.s.List()
	if err != nil {
		return err
	}
	for _, seg := range list {
		have[seg.Number] = true
	}
	relocated := c.s.Relocated()
	for _, n := range relocated {
		if have[n] {
			return fmt.Errorf("segment %d is relocated, and listed", n)
		}
		have[n] = true
	}
	for n, blocks := range c.live {
		if !have[n] && len(blocks) == 0 { // nothing of it was alive, and its slot has gone
			delete(c.live, n)
			continue
		}
		if !have[n] {
			return fmt.Errorf("segment %d is lost", n)
		}
		if err := holds(c.s, n, rangesOf(blocks)); err != nil {
			return err
		}
	}
	for n := range have {
		if c.live[n] == nil && n != c.gone {
			return fmt.Errorf("segment %d is there again", n)
		}
	}
	return nil
}

// tell repeats to a store what is dead, and then checks that it counts right.
func (c *script) tell() error {
	list, err := c.s.List()
	if err != nil {
		return err
	}
	numbers := c.s.Relocated()
	for _, seg := range list {
		numbers = append(numbers, seg.Number)
	}
	for _, n := range numbers {
		if c.live[n] == nil {
			if err := c.s.Remove(n); err != nil {
				return err
			}
			continue
		}
		dead := map[int]bool{}
		for b := range segBlocks {
			dead[b] = !c.live[n][b]
		}
		for _, r := range rangesOf(dead) {
			if err := c.s.PunchHole(n, int64(r.Block)*block, int64(r.Blocks)*block); err != nil {
				return err
			}
		}
	}
	c.gone = 0
	return c.count()
}

// count compares the accounts of the store with the books.
func (c *script) count() error {
	infos, err := c.s.Slots()
	if err != nil {
		return err
	}
	got, want := 0, 0
	for _, info := range infos {
		got += info.Live
	}
	for _, n := range append(c.s.Relocated(), c.s.Pending()...) {
		_, held := c.s.Held(n)
		if live := rangesOf(c.live[n]); !slices.Equal(held, live) {
			return fmt.Errorf("segment %d has %v, and %v is alive", n, held, live)
		}
		want += len(c.live[n])
	}
	if got != want {
		return fmt.Errorf("%d blocks alive in slots, want %d: %+v", got, want, infos)
	}
	return nil
}

// Random changes with crashes at any point: in a change, in the opening after a
// crash, and while what is dead is told again.
func TestCrashInChanges(t *testing.T) {
	interrupted := map[string]int{}
	pending, moved := 0, 0
	for seed := range uint64(100) {
		rng := newRand(seed)
		disk := newDisk(t, seed)
		c := newScript(rng)
		for round := range 6 {
			base, err := dir.Open(disk, "/pool", dir.Options{})
			check(t, err)
			disk.CrashAfter(1 + rng.IntN([]int{6, 60, 200}[rng.IntN(3)]))
			c.s, err = compact.Open(base)
			if err == nil {
				pending += len(c.s.Pending())
				if err = c.again(); err != nil && !errors.Is(err, vfs.ErrCrashed) {
					t.Fatalf("seed %d, crash %d, in %q: %v", seed, round, c.doubt, err)
				}
				if n := len(c.s.Pending()); err == nil && n > 0 && rng.IntN(3) > 0 {
					c.doubt = "finish"
					disk.CrashAfter(1 + rng.IntN(3*n))
					err = c.s.Finish()
				}
			} else {
				c.doubt = "open"
			}
			for err == nil {
				if err = c.step(); fail.Is(err, fail.NoSpace) {
					err = nil
				}
			}
			if !errors.Is(err, vfs.ErrCrashed) {
				t.Fatalf("seed %d, crash %d, %s: %v", seed, round, c.doubt, err)
			}
			interrupted[c.doubt]++
			disk = disk.Crash(rng)
		}
		c.s = openDir(t, disk)
		check(t, c.again())
		check(t, c.s.Finish())
		wantSegments(t, "pending", c.s.Pending())
		check(t, c.verify())
		moved += c.moved
	}
	t.Log(interrupted, "pending", pending, "moved", moved)
	for _, kind := range []string{"create", "remove", "punch", "compact", "finish", "open", "tell"} {
		if interrupted[kind] == 0 {
			t.Errorf("no crash in %q", kind)
		}
	}
	if pending == 0 || moved == 0 {
		t.Errorf("%d segments pending, %d blocks moved", pending, moved)
	}
}

// again is what follows an opening: everything must be there, and what is dead
// is told again.
func (c *script) again() error {
	// What was removed may come back with its slot, until that is told again.
	known := c.gone
	relocated := c.s.Relocated()
	for _, n := range relocated {
		if c.live[n] == nil && n != known {
			if err := c.s.Remove(n); err != nil {
				c.doubt = "tell"
				return err
			}
		}
	}
	if err := c.verify(); err != nil {
		return err
	}
	err := c.tell()
	if err != nil {
		c.doubt = "tell"
	}
	return err
}

// setting is a store in which segments of each kind are about to be compacted:
// ordinary ones, and one whose slot also holds another.
func setting(t *testing.T, seed uint64) (*vfs.Mem, *compact.Store, []compact.Victim) {
	disk := newDisk(t, seed)
	s := openDir(t, disk)
	for n := uint64(1); n <= 5; n++ {
		make1(t, s, n)
	}
	must(t, s, compact.Victim{Segment: 1, Live: ranges{{0, 20}, {30, 1}}}, compact.Victim{Segment: 2, Live: ranges{{7, 3}}})
	must(t, s, compact.Victim{Segment: 3, Live: ranges{{60, 4}}})
	return disk, s, []compact.Victim{
		{Segment: 1, Live: ranges{{0, 19}, {30, 1}}},
		{Segment: 3, Live: ranges{{60, 3}}},
		{Segment: 4, Live: ranges{{0, 1}, {2, 1}, {40, 5}}},
		{Segment: 5, Live: ranges{{1, 2}}},
	}
}

// whole reports whether everything of the setting is there that must be.
func whole(s *compact.Store, victims []compact.Victim) error {
	if err := holds(s, 2, ranges{{7, 3}}); err != nil {
		return err
	}
	for _, v := range victims {
		if err := holds(s, v.Segment, v.Live); err != nil {
			return err
		}
	}
	return nil
}

// A crash at every step of Compact, and then at every step of what follows.
func TestCrashInCompact(t *testing.T) {
	disk, s, victims := setting(t, 1)
	before := disk.Ops()
	must(t, s, victims...)
	steps := disk.Ops() - before
	var done, undone, halfway int
	for n := 1; n <= steps; n++ {
		for seed := range uint64(15) {
			disk, s, victims := setting(t, seed)
			disk.CrashAfter(n)
			if _, err := s.Compact(victims, genuine); !errors.Is(err, vfs.ErrCrashed) {
				t.Fatalf("step %d: %v", n, err)
			}
			disk = disk.Crash(nil)
			for again := 1; ; again++ { // crashes in Open and Finish, until they come through
				disk.CrashAfter(again)
				err := reopen(disk, victims)
				disk.CrashAfter(0)
				if err == nil {
					break
				}
				if !errors.Is(err, vfs.ErrCrashed) {
					t.Fatalf("step %d, seed %d, again %d: %v", n, seed, again, err)
				}
				disk = disk.Crash(nil)
			}
			base, err := dir.Open(disk.Kill(), "/pool", dir.Options{})
			check(t, err)
			s = open(t, base)
			check(t, whole(s, victims))
			wantSegments(t, "pending", s.Pending())
			segments, slots := below(t, base)
			switch {
			case segments == 0 && slots == 2:
				done++
			case segments == 2 && slots == 2:
				undone++
			default:
				t.Fatalf("step %d, seed %d: %d segments and %d slots", n, seed, segments, slots)
			}
			if len(s.Relocated()) < 5 {
				halfway++
			}
		}
	}
	t.Logf("%d steps: done %d times, undone %d", steps, done, undone)
	if done == 0 || undone == 0 || halfway != undone {
		t.Errorf("done %d times, undone %d, %d", done, undone, halfway)
	}
}

func reopen(disk *vfs.Mem, victims []compact.Victim) error {
	base, err := dir.Open(disk, "/pool", dir.Options{})
	if err != nil {
		return err
	}
	s, err := compact.Open(base)
	if err != nil {
		return err
	}
	if err := whole(s, victims); err != nil {
		return err
	}
	if err := s.Finish(); err != nil {
		return err
	}
	if err := whole(s, victims); err != nil {
		return err
	}
	return s.Close()
}
