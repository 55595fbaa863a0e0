package compact_test

import (
	"fmt"
	"syscall"
	"testing"

	"varve/internal/fail"
	"varve/internal/segstore/compact"
	"varve/internal/segstore/dir"
	"varve/internal/vfs"
)

// faultySetting is setting over a disk that obeys rules.
func faultySetting(t *testing.T) (*vfs.Faulty, *vfs.Mem, *compact.Store, []compact.Victim) {
	disk, s, victims := setting(t, 1)
	check(t, s.Close())
	faulty := vfs.NewFaulty(disk)
	return faulty, disk, openDir(t, faulty), victims
}

// Whatever call fails in the middle, once or for good, nothing is lost: every
// block reads back before and after reopening, and what was half made goes.
func TestFaultsInCompact(t *testing.T) {
	failed := map[string]int{}
	for _, op := range []vfs.Op{vfs.OpAllocate, vfs.OpWrite, vfs.OpSync, vfs.OpSyncDir, vfs.OpRename, vfs.OpRemove, vfs.OpPunch, vfs.OpZero, vfs.OpRead, vfs.OpOpen, vfs.OpSpace} {
		for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EIO} {
			for _, count := range []int{0, 1} {
				for after := 0; ; after++ {
					name := fmt.Sprintf("%s %v, call %d, %d times", op, errno, after, count)
					if !faultInCompact(t, name, vfs.Rule{Op: op, Err: errno, Short: true, After: after, Count: count}) {
						break
					}
					failed[string(op)]++
				}
			}
		}
	}
	t.Log(failed)
	for _, op := range []string{"allocate", "write", "sync", "syncdir", "rename", "remove", "punch", "read", "open", "space"} {
		if failed[op] == 0 {
			t.Errorf("nothing failed in %q", op)
		}
	}
}

func faultInCompact(t *testing.T, name string, rule vfs.Rule) (hit bool) {
	t.Helper()
	faulty, disk, s, victims := faultySetting(t)
	fault := faulty.Add(rule)
	r, err := s.Compact(victims, genuine)
	faulty.End(fault)
	if fault.Hits() == 0 {
		return false
	}
	if err == nil && r.Slot == 0 && len(r.Damaged) != len(victims) {
		t.Fatalf("%s: %+v without an error", name, r)
	}
	for _, d := range r.Damaged {
		if rule.Op != vfs.OpRead && rule.Op != vfs.OpOpen || fail.Is(d.Err, fail.Corrupt) {
			t.Fatalf("%s: %+v", name, d)
		}
	}
	if e := whole(s, victims); e != nil {
		t.Fatalf("%s: %v", name, e)
	}
	// After a crash at this moment too.
	crashed := disk.Crash(nil)
	if e := reopen(crashed, victims); e != nil {
		t.Fatalf("%s: after a crash: %v", name, e)
	}
	if e := s.Finish(); e != nil {
		t.Fatalf("%s: %v", name, e)
	}
	wantSegments(t, name+": pending", s.Pending())
	base, e := dir.Open(disk.Kill(), "/pool", dir.Options{})
	check(t, e)
	segments, slots := below(t, base)
	if want := len(s.Relocated()) + segments; slots != len(slotsOf(t, s)) || want != 5 {
		t.Fatalf("%s: %d slots below, %+v", name, slots, slotsOf(t, s))
	}
	// And it works the next time.
	if r.Slot == 0 {
		must(t, s, victims...)
	}
	check(t, whole(s, victims))
	check(t, s.Close())
	check(t, reopen(disk, victims))
	return true
}

// A half-made slot that cannot be removed keeps every segment in place: with
// one of them gone, it would seem, after a crash, to have been complete.
func TestHalfMadeSlotHoldsRemoval(t *testing.T) {
	faulty, disk, s, victims := faultySetting(t)
	write := faulty.Add(vfs.Rule{Op: vfs.OpWrite, After: 3, Err: syscall.EIO}) // the header
	remove := faulty.Add(vfs.Rule{Op: vfs.OpRemove, Err: syscall.EIO})
	r, err := s.Compact(victims, genuine)
	if wantKind(t, err, fail.IO); r.Slot != 0 || write.Hits() == 0 || remove.Hits() == 0 {
		t.Fatalf("%+v, %d writes and %d removals failed", r, write.Hits(), remove.Hits())
	}
	faulty.End(write)
	wantKind(t, s.Remove(4), fail.IO)
	wantKind(t, s.Recycle(4, 100), fail.IO)
	_, err = s.Compact(victims, genuine)
	wantKind(t, err, fail.IO)
	check(t, whole(s, victims))
	faulty.End(remove)
	check(t, s.Remove(4))
	check(t, s.Close())
	s = openDir(t, disk)
	wantSegments(t, "relocated", s.Relocated(), 1, 2, 3)
	if infos := slotsOf(t, s); len(infos) != 2 {
		t.Errorf("slots %+v", infos)
	}
}

// While a source has not gone its file is what is read, and Finish takes it away
// only if the slot is whole.
func TestPending(t *testing.T) {
	faulty, disk, s, victims := faultySetting(t)
	remove := faulty.Add(vfs.Rule{Op: vfs.OpRemove, Path: "0000000000000000000?.seg", Err: syscall.EIO})
	r, err := s.Compact(victims, genuine)
	if wantKind(t, err, fail.IO); r.Slot == 0 || r.Blocks != 32 {
		t.Fatalf("%+v", r)
	}
	wantSegments(t, "pending", s.Pending(), 4, 5)
	wantKind(t, s.Finish(), fail.IO)
	faulty.End(remove)
	check(t, s.Close())
	s = openDir(t, disk)
	wantSegments(t, "pending", s.Pending(), 4, 5)
	wantSegments(t, "relocated", s.Relocated(), 1, 2, 3)
	check(t, whole(s, victims))
	check(t, holds(s, 4, ranges{{0, 64}}))
	wantKind(t, s.WriteAt(4, p1(), 0), fail.Invalid)
	check(t, s.PunchHole(4, 41*block, block))
	victims[2].Live = ranges{{0, 1}, {2, 1}, {40, 1}, {42, 3}}
	if _, held := s.Held(4); len(held) != 4 {
		t.Errorf("segment 4 has %v", held)
	}
	check(t, s.Close())

	// The block of segment 5 goes bad in the slot: its file is the last copy.
	base, err := dir.Open(disk, "/pool", dir.Options{})
	check(t, err)
	check(t, base.WriteDurableAt(r.Slot, make([]byte, block), (2+31)*block))
	s = open(t, base)
	if err := s.Finish(); !fail.Is(err, fail.Corrupt) {
		t.Fatalf("finished: %v", err)
	}
	wantSegments(t, "pending", s.Pending(), 5)
	check(t, whole(s, victims))
	must(t, s, victims[3])
	wantSegments(t, "pending", s.Pending())
	check(t, whole(s, victims))
}
