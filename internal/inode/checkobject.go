package inode

import (
	"slices"

	"varve/internal/tree"
)

// An object is what the items say that a checker has seen of one inode: they
// come in the order extents, inode, entries, xattrs, target.
type object struct {
	ino   uint64
	inode Inode
	has   bool // an inode item
	lame  bool // which could not be read

	extents, blocks, end uint64 // blocks: with payload; end: behind the last extent
	entries, subdirs     uint64
	xattrs               piecer
	pieces, target       uint64 // of the target: items, bytes

	slot  uint64   // of the last name: its key without slot and piece
	names []string // with that key
}

// item takes the next item of the tree.
func (c *checker) item(k tree.Key, v []byte) {
	ino, lo := k.Split()
	if o := &c.object; ino != o.ino {
		c.finish()
		*o = object{ino: ino, xattrs: piecer{ino: ino}, names: o.names[:0]}
	}
	switch lo >> itemShift {
	case extentItem:
		c.extentOf(lo, v)
	case inodeItem:
		c.inodeOf(k, v)
	case entryItem:
		c.entryOf(k, v)
	case xattrItem:
		c.xattrOf(k, v)
	case targetItem:
		o := &c.object
		if lo&lowMask != o.pieces || len(v) == 0 || o.target != o.pieces*pieceSize {
			c.bad("the target of inode %d has a piece at %v that does not belong there", ino, k)
		}
		o.pieces++
		o.target += uint64(len(v))
	default:
		c.bad("inode %d has an item of no known type at %v", ino, k)
	}
}

func (c *checker) extentOf(block uint64, v []byte) {
	o := &c.object
	n, err := c.extent(v)
	if err != nil || n == 0 || n > lowMask {
		c.bad("the extent at block %d of inode %d cannot be read: %v", block, o.ino, err)
		n = 1
	}
	if block < o.end {
		c.bad("block %d of inode %d is mapped twice", block, o.ino)
	}
	o.extents++
	o.blocks += n
	o.end = max(o.end, block+n)
}

func (c *checker) inodeOf(k tree.Key, v []byte) {
	o := &c.object
	if k != Key(o.ino) {
		c.bad("inode %d has another inode item at %v", o.ino, k)
		return
	}
	var err error
	if o.inode, err = Parse(v); err != nil {
		c.bad("inode %d: %v", o.ino, err)
		o.lame = true
	}
	o.has = true
}

func (c *checker) entryOf(k tree.Key, v []byte) {
	o := &c.object
	o.entries++
	e, name, err := parseEntry(o.ino, k, v)
	if err != nil {
		c.found = append(c.found, err)
		return
	}
	e.Name = string(name)
	if !validName(e.Name) {
		c.bad("directory %d has the name %q, which cannot be", o.ino, e.Name)
	}
	c.place("entry", k, slotBits, c.places.entries(e.Name), e.Name)
	n := c.nodes[e.Ino]
	n.names += min(1, ^n.names)
	n.types |= 1 << e.Type
	c.nodes[e.Ino] = n
	if e.Type == ModeDir>>typeShift {
		o.subdirs++
		if d := c.dirs[e.Ino]; d.in == 0 {
			d.in = o.ino
			c.dirs[e.Ino] = d
		}
	}
}

func (c *checker) xattrOf(k tree.Key, v []byte) {
	o := &c.object
	first, err := o.xattrs.step(k, v)
	if err != nil {
		c.found = append(c.found, err)
		o.xattrs = piecer{ino: o.ino, key: k}
		return
	}
	if first {
		name := string(o.xattrs.name)
		c.place("extended attribute", k, slotBits+pieceBits, c.places.xattrs(name), name)
	}
}

// place verifies that a name is where a lookup finds it, and only there. All
// with the same hash come one after the other.
func (c *checker) place(what string, k tree.Key, bits uint, first uint64, name string) {
	o := &c.object
	_, lo := k.Split()
	if lo&lowMask>>bits != first>>bits {
		c.bad("the %s %q of inode %d is at %v, where it cannot be found", what, name, o.ino, k)
	}
	if slot := lo >> bits; slot != o.slot {
		o.slot, o.names = slot, o.names[:0]
	}
	if slices.Contains(o.names, name) {
		c.bad("inode %d has the %s %q twice", o.ino, what, name)
	}
	o.names = append(o.names, name)
}

// finish judges the present object, all of whose items have been seen.
func (c *checker) finish() {
	o := &c.object
	if err := o.xattrs.end(); err != nil {
		c.found = append(c.found, err)
	}
	c.totals.Bytes += o.blocks * blockSize
	n := c.nodes[o.ino]
	switch {
	case !o.has:
		if o.extents+o.entries+o.pieces > 0 || o.xattrs.key != (tree.Key{}) {
			c.bad("there is no inode %d, but there are %d extents, %d entries and %d bytes of a target of it, or extended attributes", o.ino, o.extents, o.entries, o.target)
		}
		return
	case o.lame:
		n.kind = damaged
	default:
		n.kind, n.links = o.inode.Type(), o.inode.Nlink
		c.agree()
	}
	c.totals.Inodes++
	c.nodes[o.ino] = n
	if o.inode.IsDir() {
		d := c.dirs[o.ino]
		d.parent = o.inode.Parent
		c.dirs[o.ino] = d
	}
}

// agree judges whether the items of the present object are as its inode says.
func (c *checker) agree() {
	o := &c.object
	i := &o.inode
	kind := i.Mode & ModeType
	if kind != ModeFile && (o.extents > 0 || i.Blocks > 0) {
		c.bad("inode %d with mode %#o has %d extents and counts %d blocks", o.ino, i.Mode, o.extents, i.Blocks)
	}
	if kind == ModeFile {
		if o.end > blocksOf(i.Size) {
			c.bad("inode %d has a block %d beyond its size of %d bytes", o.ino, o.end-1, i.Size)
		}
		if i.Blocks < o.blocks || i.Blocks > o.blocks && !i.Rough {
			c.bad("inode %d counts %d blocks, but has %d", o.ino, i.Blocks, o.blocks)
		}
	}
	switch {
	case kind != ModeDir && o.entries > 0:
		c.bad("inode %d is no directory, but has %d entries", o.ino, o.entries)
	case kind == ModeDir && i.Entries != o.entries:
		c.bad("directory %d counts %d entries, but has %d", o.ino, i.Entries, o.entries)
	}
	if kind == ModeDir && uint64(i.Nlink) != 2+o.subdirs {
		c.bad("directory %d has %d links, but %d subdirectories", o.ino, i.Nlink, o.subdirs)
	}
	if kind != ModeLink && o.pieces > 0 || kind == ModeLink && i.Size != o.target {
		c.bad("inode %d with mode %#o and size %d has a target of %d bytes", o.ino, i.Mode, i.Size, o.target)
	}
}
