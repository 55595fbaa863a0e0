package extfs

import (
	"context"
	"encoding/binary"
)

// transaction is what was found of one before its commit.
type transaction struct {
	tags    []journalTag
	revokes []position
	sum     uint32 // of the first kind of checksums
	suspect bool   // a block of it has a wrong checksum: stale, if it is older than the last commit
}

// moment is when a transaction was committed.
type moment struct {
	sec  uint64
	nsec uint32
}

func (a moment) before(b moment) bool { return a.sec < b.sec || a.sec == b.sec && a.nsec < b.nsec }

// scan walks the log once, from its start, and keeps what whole transactions hold.
func (j *journal) scan(ctx context.Context) error {
	p := make([]byte, j.fs.super.blockSize)
	t := transaction{sum: ^uint32(0)}
	var last moment // of the last commit
	at, left := j.start, int(j.length-j.first)
	for left > 0 {
		if err := j.read(ctx, p, at); err != nil {
			return err
		}
		be := binary.BigEndian
		if be.Uint32(p) != journalMagic || be.Uint32(p[8:]) != j.sequence {
			return nil // the end of the log
		}
		step := 1
		switch be.Uint32(p[4:]) {
		case kindDescriptor:
			t.suspect = t.suspect || !j.ownSum(p)
			n, err := j.descriptor(ctx, p, at, &t, left-1)
			if err != nil {
				return err
			}
			step += n
		case kindRevoke:
			t.suspect = t.suspect || !j.ownSum(p)
			t.revokes = append(t.revokes, position{at, j.sequence})
		case kindCommit:
			more, err := j.commit(p, &t, &last, at)
			if err != nil || !more {
				return err
			}
			t = transaction{sum: ^uint32(0)}
		default:
			return nil // as Linux takes it
		}
		at, left = j.after(at, step), left-step
	}
	return nil // the ring is full, or a transaction without an end is longer than it
}

// descriptor gathers the tags of a descriptor and returns how many blocks follow it.
func (j *journal) descriptor(ctx context.Context, p []byte, at uint32, t *transaction, left int) (int, error) {
	be := binary.BigEndian
	size, end := j.tagSize(), j.room(p)
	if j.compat&journalCompatSumV1 != 0 {
		t.sum = crc32be(t.sum, p)
	}
	n := 0
	for o := 12; o+size <= end; o += size {
		flags := be.Uint16(p[o+6:]) // in the third form, which has 32 bits, these are the lower
		n++
		tag := journalTag{
			block: uint64(be.Uint32(p[o:])), from: position{j.after(at, n), j.sequence},
			sum: uint32(be.Uint16(p[o+4:])), escaped: flags&tagEscaped != 0,
		}
		if j.feature&journal64bit != 0 {
			tag.block |= uint64(be.Uint32(p[o+8:])) << 32
		}
		if j.feature&journalSumV3 != 0 {
			tag.sum = be.Uint32(p[o+12:])
		}
		if n > left {
			t.suspect = true // longer than the ring: no commit of it can follow
			return n, nil
		}
		t.tags = append(t.tags, tag)
		if flags&tagSameUUID == 0 {
			o += 16
		}
		if flags&tagLast != 0 {
			break
		}
	}
	if j.compat&journalCompatSumV1 != 0 {
		return n, j.sumBlocks(ctx, t, n)
	}
	return n, nil
}

// sumBlocks takes the last n blocks of t into its checksum.
func (j *journal) sumBlocks(ctx context.Context, t *transaction, n int) error {
	p := make([]byte, j.fs.super.blockSize)
	for _, tag := range t.tags[len(t.tags)-n:] {
		if err := j.read(ctx, p, tag.from.at); err != nil {
			return err
		}
		t.sum = crc32be(t.sum, p)
	}
	return nil
}

// commit judges a transaction at its commit block, and reports whether the log may
// go on after it. A commit with a wrong checksum that is older than the one before it
// is what a former round of the ring left; with asynchronous commits it may also have
// been written before its blocks, which ends the log as well. Everything else is
// damage.
func (j *journal) commit(p []byte, t *transaction, last *moment, at uint32) (more bool, err error) {
	be := binary.BigEndian
	when := moment{be.Uint64(p[48:]), be.Uint32(p[56:])}
	switch {
	case !t.suspect && j.commitSum(p, t):
	case when.before(*last):
		return false, nil
	case !t.suspect && j.feature&journalAsync != 0:
		return false, nil
	default:
		return false, corrupt("the journal's transaction %d, which ends in its block %d, has a wrong checksum", j.sequence, at)
	}
	for _, tag := range t.tags {
		if tag.block >= j.fs.super.blocks {
			return false, corrupt("the journal's transaction %d writes block %d of %d", j.sequence, tag.block, j.fs.super.blocks)
		}
	}
	j.tags, j.revokes = append(j.tags, t.tags...), append(j.revokes, t.revokes...)
	j.commits++
	j.sequence++
	*last = when
	return true, nil
}

// commitSum verifies the checksum of a commit block.
func (j *journal) commitSum(p []byte, t *transaction) bool {
	found := binary.BigEndian.Uint32(p[16:])
	switch {
	case j.sums():
		sum := crc32c(j.seed, p[:16])
		return crc32c(crc32cLE(sum, 0), p[20:]) == found
	case j.compat&journalCompatSumV1 != 0:
		none := p[12] == 0 && p[13] == 0 && found == 0
		return none || p[12] == commitSumCRC32 && p[13] == 4 && found == t.sum
	}
	return true
}

// ownSum verifies the checksum at the end of a descriptor or revoke block.
func (j *journal) ownSum(p []byte) bool {
	if !j.sums() {
		return true
	}
	end := len(p) - 4
	return crc32cLE(crc32c(j.seed, p[:end]), 0) == binary.BigEndian.Uint32(p[end:])
}

// room returns where the tags or numbers of a block must end.
func (j *journal) room(p []byte) int {
	if j.sums() {
		return len(p) - 4
	}
	return len(p)
}

// tagSize returns the length of a tag: block u32, checksum u16, flags u16, then, with
// 64 bits, the block's high half. The third form is block u32, flags u32, high u32,
// checksum u32. The second form's two bytes more than that hold nothing.
func (j *journal) tagSize() int {
	size := 8
	if j.feature&journalSumV3 != 0 {
		return 16
	}
	if j.feature&journal64bit != 0 {
		size += 4
	}
	if j.feature&journalSumV2 != 0 {
		size += 2
	}
	return size
}
