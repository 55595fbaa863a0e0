package inode

import "varve/internal/tree"

// The types of items: the top 4 bits of a key's second half. On disk.
const (
	extentItem = iota
	inodeItem
	entryItem
	xattrItem
	targetItem
	endItem // above all types
)

const itemShift = 60

// For who goes through the items of whole shares: the type of an item is
// the key's second half >> ItemShift.
const (
	ItemShift  = itemShift
	ExtentItem = extentItem
	InodeItem  = inodeItem
	EntryItem  = entryItem
	XattrItem  = xattrItem
	TargetItem = targetItem
)

// lowMask covers the 60 bits of a key below the type.
const lowMask = 1<<itemShift - 1

func itemKey(ino, item, low uint64) tree.Key { return tree.MakeKey(ino, item<<itemShift+low) }

// Key is the key of an inode's own item.
func Key(ino uint64) tree.Key { return itemKey(ino, inodeItem, 0) }

// DataKey is the key of the extent of a file that begins at a block, counted
// in 4096 bytes; the extents of a volume are those of inode 0.
func DataKey(ino, block uint64) tree.Key { return itemKey(ino, extentItem, block) }

// places says where names of a share go: the hash of a name is part of its
// item's key.
type places struct {
	seed uint64
	bits uint // of a name's hash in the key of an entry; that of an xattr has pieceBits less
}

// The 60 bits of keys with names:
//
//	entry  hash, 52 bits                  | slot, 8 bits
//	xattr  hash, 44 bits | slot, 8 bits | piece, 8 bits
//
// Names with the same hash are in different slots. A name stays in the first
// slot that was free when it came, so the key of a name never changes.
const (
	hashBits  = itemShift - slotBits
	slotBits  = 8
	pieceBits = 8
	slots     = 1 << slotBits
)

func placesOf(seed uint64) places { return places{seed, hashBits} }

// entries returns the cookie of the first slot for entries with this name.
func (p places) entries(name string) uint64 {
	return p.hash(entryItem, p.bits, name) << slotBits
}

// xattrs returns the low bits of the key of the first slot for xattrs with
// this name.
func (p places) xattrs(name string) uint64 {
	return p.hash(xattrItem, p.bits-pieceBits, name) << (slotBits + pieceBits)
}

// hash returns the top bits of a name's hash, which are never all 0: the
// lowest cookies are not of names.
func (p places) hash(item uint64, bits uint, name string) uint64 {
	return max(1, sipHash(p.seed, item, name)>>(64-bits))
}
