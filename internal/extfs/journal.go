package extfs

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	"varve/internal/blockmap"
	"varve/internal/fail"
)

// The journal (JBD2) is a ring of blocks in an inode; big-endian throughout. Its
// first block is its superblock, the ring is the blocks [first, length):
//
//	header      0 magic  4 kind  8 sequence                 (every block of the journal's own)
//	superblock 12 block size  16 length  20 first  24 sequence  28 start (0: empty)  32 error
//	           40 incompatible features  48 uuid[16]  80 checksum type u8  252 checksum
//	descriptor 12 tags: each says where a block goes that follows in the ring, in order
//	revoke     12 bytes in use  16 block numbers: older versions of them are not replayed
//	commit     12 checksum type u8, size u8  16 checksum  48 seconds u64  56 nanoseconds
//
// A transaction is descriptors with their blocks and revokes, then a commit, all with
// its sequence. The log ends at the first block that does not go on with the sequence.
const (
	journalMagic = 0xc03b3998

	kindDescriptor = 1
	kindCommit     = 2
	kindSuperV1    = 3
	kindSuperV2    = 4
	kindRevoke     = 5

	journalRevoke      = 0x1
	journal64bit       = 0x2
	journalAsync       = 0x4
	journalSumV2       = 0x8
	journalSumV3       = 0x10
	journalFastCommit  = 0x20
	journalCompatSumV1 = 0x1

	tagEscaped  = 1
	tagSameUUID = 2
	tagLast     = 8

	commitSumCRC32 = 1
)

// journal is a journal that is being replayed.
type journal struct {
	fs              *FS
	place           *blockmap.Map // of its inode
	compat, feature uint32
	first, length   uint32 // of the ring, in blocks of the journal
	start, sequence uint32
	seed            uint32

	tags    []journalTag // of the transactions that count
	revokes []position
	commits int
}

// position is a block of the journal and the sequence of its transaction.
type position struct{ at, sequence uint32 }

// journalTag says which block of the file system the journal's block `from` holds.
type journalTag struct {
	block   uint64
	from    position
	sum     uint32
	escaped bool
}

// recover replays the journal in memory: what is read from here on are the blocks as
// a mount would leave them.
func (f *FS) recover(ctx context.Context) error {
	if f.super.journalIno == 0 || f.super.compat&compatHasJournal == 0 {
		return fail.New(fail.Unsupported, "the file system was not unmounted, and its journal is on another device").
			WithHint("replay it with e2fsck -E journal_only on a copy of both")
	}
	j := &journal{fs: f}
	if err := j.open(ctx); err != nil {
		return err
	}
	if j.start != 0 {
		if err := j.scan(ctx); err != nil {
			return err
		}
		if err := j.replay(ctx); err != nil {
			return err
		}
	}
	f.warn("the file system was not unmounted: %d transactions of its journal were replayed in memory", j.commits)
	return nil
}

// open finds the journal and reads its superblock. What leads there is read as it
// lies on the disk; its checksums may be older than what the journal holds.
func (j *journal) open(ctx context.Context) error {
	r, err := j.fs.journalInode(ctx)
	if err != nil {
		return err
	}
	size := min(j.fs.sizeOf(r), j.fs.geometry.Size)
	j.place = j.fs.mapOf(j.fs.super.journalIno, r, size)
	b := make([]byte, j.fs.super.blockSize)
	if err := j.read(ctx, b, 0); err != nil {
		return err
	}
	be := binary.BigEndian
	kind := be.Uint32(b[4:])
	if be.Uint32(b) != journalMagic || kind != kindSuperV1 && kind != kindSuperV2 {
		return corrupt("the journal, inode %d, has no superblock", j.fs.super.journalIno)
	}
	j.length, j.first, j.sequence, j.start = be.Uint32(b[16:]), be.Uint32(b[20:]), be.Uint32(b[24:]), be.Uint32(b[28:])
	if be.Uint32(b[12:]) != j.fs.super.blockSize || uint64(j.length) > j.place.Blocks() || j.first == 0 || j.first >= j.length ||
		j.start != 0 && (j.start < j.first || j.start >= j.length) {
		return corrupt("the journal says that it has %d blocks of %d bytes, begins at %d and was used from %d: its inode has %d blocks", j.length, be.Uint32(b[12:]), j.first, j.start, j.place.Blocks())
	}
	if e := int32(be.Uint32(b[32:])); e != 0 {
		j.fs.warn("the journal says that the file system failed with error %d: check it with e2fsck", e)
	}
	if kind == kindSuperV2 {
		j.compat, j.feature = be.Uint32(b[36:]), be.Uint32(b[40:])
		return j.checkFeatures(b)
	}
	return nil
}

func (j *journal) checkFeatures(super []byte) error {
	const known = journalRevoke | journal64bit | journalAsync | journalSumV2 | journalSumV3
	var names []string
	if j.feature&journalFastCommit != 0 {
		names = append(names, "fast_commit")
	}
	if x := j.feature &^ (known | journalFastCommit); x != 0 {
		names = append(names, fmt.Sprintf("unknown incompatible bits %#x", x))
	}
	if len(names) > 0 {
		return fail.New(fail.Unsupported, "the file system was not unmounted, and its journal uses %s", strings.Join(names, ", ")).
			WithHint("mount and unmount a copy of the image, or replay it with e2fsck -E journal_only")
	}
	if !j.sums() {
		return nil
	}
	be := binary.BigEndian
	j.seed = crc32c(^uint32(0), super[48:64])
	sum := crc32c(crc32cLE(crc32c(^uint32(0), super[:252]), 0), super[256:1024])
	if want := be.Uint32(super[252:]); super[80] != 4 || sum != want {
		return corrupt("the journal's superblock has checksum %#x of type %d, not %#x", want, super[80], sum)
	}
	return nil
}

// sums reports whether the journal's blocks have checksums.
func (j *journal) sums() bool { return j.feature&(journalSumV2|journalSumV3) != 0 }

// journalInode reads the journal's inode without judging checksums.
func (f *FS) journalInode(ctx context.Context) (rawInode, error) {
	s := f.super
	n := uint64((s.journalIno - 1) / s.inodesPerGroup)
	if s.journalIno > s.inodes {
		return nil, corrupt("the superblock says that the journal is inode %d of %d", s.journalIno, s.inodes)
	}
	per := uint64(s.blockSize / s.descSize)
	desc := make([]byte, s.descSize)
	if err := f.disk.readAt(ctx, desc, f.descriptorBlock(n/per)*f.disk.block+n%per*uint64(s.descSize)); err != nil {
		return nil, err
	}
	table := uint64(binary.LittleEndian.Uint32(desc[8:]))
	if s.descSize >= 64 {
		table |= uint64(binary.LittleEndian.Uint32(desc[40:])) << 32
	}
	if table >= s.blocks {
		return nil, corrupt("group %d has its inodes from block %d on: the file system has %d blocks", n, table, s.blocks)
	}
	r := make(rawInode, s.inodeSize)
	at := uint64((s.journalIno-1)%s.inodesPerGroup) * uint64(s.inodeSize)
	if err := f.disk.readAt(ctx, r, table*f.disk.block+at); err != nil {
		return nil, err
	}
	if r.flags()&flagInlineData != 0 || r.links() == 0 {
		return nil, corrupt("inode %d is no journal", s.journalIno)
	}
	// Only the tree's own nodes may have checksums of a newer seed: they never change
	// while the journal is in use.
	return r, nil
}

// read reads a block of the journal.
func (j *journal) read(ctx context.Context, p []byte, n uint32) error {
	at, err := j.physical(ctx, n)
	if err != nil {
		return err
	}
	return j.fs.disk.read(ctx, p, at)
}

// physical returns the image's block that a block of the journal lies in.
func (j *journal) physical(ctx context.Context, n uint32) (uint64, error) {
	run, err := j.place.NextRun(ctx, uint64(n))
	if err == nil && (run.Count == 0 || run.Block != uint64(n)) {
		err = corrupt("the journal has no block %d", n)
	}
	return run.At / j.fs.disk.block, err
}

// after returns the block n blocks further in the ring.
func (j *journal) after(at uint32, n int) uint32 {
	ring := uint64(j.length - j.first)
	return j.first + uint32((uint64(at-j.first)+uint64(n))%ring)
}

// replay makes the newest version of each block that no later revoke names what
// disk.read finds.
func (j *journal) replay(ctx context.Context) error {
	revoked, err := j.revoked(ctx)
	if err != nil {
		return err
	}
	replayed := make(map[uint64]logged, len(j.tags))
	p := make([]byte, j.fs.super.blockSize)
	for _, t := range j.tags {
		if sequence, ok := revoked[t.block]; ok && !later(t.from.sequence, sequence) {
			continue
		}
		at, err := j.physical(ctx, t.from.at)
		if err != nil {
			return err
		}
		if j.sums() {
			if err := j.fs.disk.read(ctx, p, at); err != nil {
				return err
			}
			if err := j.checkData(t, p); err != nil {
				return err
			}
		}
		replayed[t.block] = logged{at: at, escaped: t.escaped}
	}
	j.fs.disk.replayed = replayed
	return nil
}

// checkData verifies a logged block as it lies in the journal.
func (j *journal) checkData(t journalTag, p []byte) error {
	var sequence [4]byte
	binary.BigEndian.PutUint32(sequence[:], t.from.sequence)
	sum := crc32c(crc32c(j.seed, sequence[:]), p)
	if j.feature&journalSumV3 == 0 {
		sum &= 0xffff
	}
	if sum != t.sum {
		return corrupt("the journal's block %d, of transaction %d, has checksum %#x, not %#x", t.from.at, t.from.sequence, sum, t.sum)
	}
	return nil
}

// revoked returns the blocks that the journal holds and that it revokes, and the
// last transaction that does.
func (j *journal) revoked(ctx context.Context) (map[uint64]uint32, error) {
	held := make(map[uint64]struct{}, len(j.tags))
	for _, t := range j.tags {
		held[t.block] = struct{}{}
	}
	be, revoked := binary.BigEndian, map[uint64]uint32{}
	p := make([]byte, j.fs.super.blockSize)
	size := 4
	if j.feature&journal64bit != 0 {
		size = 8
	}
	for _, r := range j.revokes {
		if err := j.read(ctx, p, r.at); err != nil {
			return nil, err
		}
		used := int(be.Uint32(p[12:]))
		if !j.ownSum(p) || used < 16 || used > j.room(p) {
			return nil, corrupt("the journal's block %d, which revokes others, is damaged", r.at)
		}
		for at := 16; at+size <= used; at += size {
			block := uint64(be.Uint32(p[at:]))
			if size == 8 {
				block = be.Uint64(p[at:])
			}
			if _, ok := held[block]; !ok {
				continue
			}
			if old, ok := revoked[block]; !ok || later(r.sequence, old) {
				revoked[block] = r.sequence
			}
		}
	}
	return revoked, nil
}

// later reports whether sequence a comes after b; sequences wrap.
func later(a, b uint32) bool { return int32(a-b) > 0 }
