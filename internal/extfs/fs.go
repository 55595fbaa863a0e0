// Package extfs reads ext2, ext3 and ext4 from an image or a device that nobody has
// mounted, as a dump.Source. It writes nothing: what the journal holds is replayed in
// memory. See docs/foreign.md.
//
// Layout of the files: super, features and groups say where things are; disk reads
// blocks as they are after recovery (journal); inode and scan decode inodes; maps and
// extents find a file's blocks; dir, inline, xattr and acl read the rest.
package extfs

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"varve/internal/blockmap"
	"varve/internal/dump"
	"varve/internal/fail"
)

// FS is an open file system. Safe for concurrent use.
type FS struct {
	disk   *disk
	super  *super
	groups []group

	geometry blockmap.Geometry

	warnings []string // of Open; nothing after it adds to them
}

var _ dump.Source = (*FS)(nil)

// Probe reports whether there is a superblock of ext2, ext3 or ext4, sound or not.
func Probe(r io.ReaderAt) bool {
	var b [2]byte
	_, err := r.ReadAt(b[:], superOffset+56)
	return err == nil && binary.LittleEndian.Uint16(b[:]) == magic
}

// Open opens the file system in an image of size bytes and replays its journal in
// memory. Errors: NotFound if there is none, Unsupported names the features that
// cannot be read, Corrupt the structure that is damaged.
func Open(ctx context.Context, r io.ReaderAt, size int64) (*FS, error) {
	if size < superOffset+superSize {
		return nil, fail.New(fail.NotFound, "%d bytes are too few for an ext2, ext3 or ext4 file system", size)
	}
	f := &FS{disk: &disk{r: r, block: superSize, blocks: superOffset/superSize + 1}}
	if err := f.readSuper(ctx, uint64(size)); err != nil {
		return nil, err
	}
	if f.super.incompat&incompatRecover != 0 {
		if err := f.recover(ctx); err != nil {
			return nil, err
		}
		if err := f.readSuper(ctx, uint64(size)); err != nil {
			return nil, err
		}
	}
	if err := f.loadGroups(ctx); err != nil {
		return nil, err
	}
	f.warnState()
	return f, nil
}

// readSuper reads the superblock, as the journal left it if that is replayed.
func (f *FS) readSuper(ctx context.Context, size uint64) error {
	b := make([]byte, superSize)
	if err := f.disk.readAt(ctx, b, superOffset); err != nil {
		return err
	}
	s, err := parseSuper(b, size)
	if err != nil {
		return err
	}
	if f.super != nil && s.blockSize != f.super.blockSize {
		return corrupt("the superblock in the journal says %d bytes for a block, that before it %d", s.blockSize, f.super.blockSize)
	}
	f.super, f.disk.block, f.disk.blocks = s, uint64(s.blockSize), s.blocks
	f.geometry = blockmap.Geometry{Block: f.disk.block, Size: s.blocks * f.disk.block, Hint: hint, Read: f.disk.readAt}
	return nil
}

// warnState warns of what the file system says about itself.
func (f *FS) warnState() {
	s := f.super
	if s.state&stateClean == 0 && s.compat&compatHasJournal == 0 {
		f.warn("the file system was not unmounted and has no journal: check it with e2fsck, names and contents may be those of different moments")
	}
	if s.state&stateErrors != 0 {
		f.warn("the file system is marked as damaged: check it with e2fsck")
	}
}

func (f *FS) warn(format string, args ...any) {
	f.warnings = append(f.warnings, fmt.Sprintf(format, args...))
}

// Warnings implements dump.Source.
func (f *FS) Warnings() []string { return slices.Clone(f.warnings) }

// Info implements dump.Source.
func (f *FS) Info() dump.Info {
	info := dump.Info{
		Kind: f.super.kind(), Label: f.super.label, MaxIno: f.super.inodes,
		BlockSize: f.super.blockSize,
	}
	for _, g := range f.groups {
		info.Inodes += uint64(f.super.inodesPerGroup - min(g.free, f.super.inodesPerGroup))
	}
	info.Used = f.super.used * uint64(f.super.blockSize)
	return info
}

// filetypes reports whether directory entries name types.
func (f *FS) filetypes() bool { return f.super.incompat&incompatFiletype != 0 }

// rawOf returns the inode that i was decoded from.
func (f *FS) rawOf(ctx context.Context, i *dump.Inode) (rawInode, error) {
	if len(i.Raw) == int(f.super.inodeSize) {
		return i.Raw, nil
	}
	return f.inode(ctx, i.Ino)
}
