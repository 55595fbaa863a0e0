package inode

import (
	"context"
	"slices"

	"varve/internal/fail"
	"varve/internal/tree"
)

// Totals is what Check counted.
type Totals struct {
	Inodes uint64
	Bytes  uint64 // of blocks with payload
}

// Check verifies a share: that every name leads to an inode and every inode is
// led to by as many names as it says, that directories are a tree and count
// what is in them, that names and attributes are where Lookup finds them, that
// nothing is left over of what is gone, and that extents lie within their
// files, which count them right. extent tells how many blocks an extent has.
//
// report is called with each contradiction, of kind Corrupt. The error is that
// of reading or of ctx. r waits for the disk: tree.Version.Blocking.
//
// It goes through the tree once. Meanwhile it takes 35 to 60 bytes of memory
// for every inode, 50 to 85 more for every directory, and some for what it
// reports at the end.
func Check(ctx context.Context, r Reader, seed uint64, extent func(v []byte) (blocks uint64, err error), report func(error)) (Totals, error) {
	return placesOf(seed).check(ctx, r, extent, report)
}

func (p places) check(ctx context.Context, r Reader, extent func([]byte) (uint64, error), report func(error)) (Totals, error) {
	c := &checker{
		places: p, extent: extent,
		nodes: map[uint64]node{}, dirs: map[uint64]directory{},
	}
	if err := c.items(ctx, r, report); err != nil {
		return c.totals, err
	}
	c.tree()
	c.tell(report)
	return c.totals, nil
}

// A checker goes through the items of a share in the order of keys, one object
// after the other. What it knows of an object in the end is a node, and a
// directory.
type checker struct {
	places
	extent func(v []byte) (blocks uint64, err error)
	nodes  map[uint64]node
	dirs   map[uint64]directory
	object object // the present one
	found  []error
	totals Totals
}

// A node is what its item and the names that lead to it say of an inode.
type node struct {
	links uint32
	names uint32 // at most 1<<32 - 1
	kind  uint8  // its type; 0: there is none, damaged: nobody knows
	types uint16 // set of types that its names say it has
}

const damaged = 0xff

// A directory is where it says it is, and where its first name is.
type directory struct {
	parent, in uint64
	known      reach
}

// reach says whether the root leads to a directory.
type reach uint8

const (
	unknown reach = iota
	onTheWay
	inside
	outside
)

func (c *checker) bad(format string, args ...any) {
	c.found = append(c.found, fail.New(fail.Corrupt, format, args...))
}

func (c *checker) tell(report func(error)) {
	for _, err := range c.found {
		report(err)
	}
	c.found = c.found[:0]
}

// items goes through all items. It reports, and looks at ctx, between scans:
// none lasts long.
func (c *checker) items(ctx context.Context, r Reader, report func(error)) error {
	const atOnce = 4096
	lo, more := tree.Key{}, true
	for more {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := 0
		err := r.Scan(lo, tree.MaxKey, func(k tree.Key, v []byte) bool {
			c.item(k, v)
			lo = k.Next()
			n++
			return n < atOnce
		})
		c.tell(report)
		if err != nil {
			return err
		}
		more = n == atOnce
	}
	c.finish()
	return nil
}

// tree judges what the names of all directories together say.
func (c *checker) tree() {
	if root := c.nodes[Root]; root.kind != ModeDir>>typeShift && root.kind != damaged {
		c.bad("there is no root directory")
	}
	var wrong []uint64
	for ino, n := range c.nodes {
		if n.kind != damaged && !c.fits(ino, n) {
			wrong = append(wrong, ino)
		}
	}
	slices.Sort(wrong)
	for _, ino := range wrong {
		c.explain(ino, c.nodes[ino])
	}
	var lost []uint64
	for ino, d := range c.dirs {
		if d.in != 0 && c.nodes[ino].kind == ModeDir>>typeShift && c.reach(ino) == outside {
			lost = append(lost, ino)
		}
	}
	slices.Sort(lost)
	for _, ino := range lost {
		c.bad("directory %d cannot be reached from the root, but is in directory %d", ino, c.dirs[ino].in)
	}
}

// fits reports whether an inode is as its names say.
func (c *checker) fits(ino uint64, n node) bool {
	d, dir := c.dirs[ino], n.kind == ModeDir>>typeShift
	if ino == Root {
		return n.names == 0 && dir && d.parent == Root
	}
	return n.kind != 0 && n.types == 1<<n.kind && (!dir && n.names == n.links || dir && n.names == 1 && d.parent == d.in)
}

// explain says why an inode does not fit.
func (c *checker) explain(ino uint64, n node) {
	d, dir := c.dirs[ino], n.kind == ModeDir>>typeShift
	switch {
	case n.kind == 0:
		c.bad("%d names lead to inode %d, which is not there", n.names, ino)
		return
	case ino == Root && n.names > 0:
		c.bad("%d names lead to the root directory", n.names)
	case ino != Root && n.names == 0:
		c.bad("no name leads to inode %d", ino)
		return
	case dir && ino != Root && n.names > 1:
		c.bad("directory %d has %d names", ino, n.names)
	case !dir && n.names != n.links:
		c.bad("inode %d has %d links, but %d names", ino, n.links, n.names)
	}
	if n.types&^(1<<n.kind) != 0 {
		c.bad("inode %d has type %d, but a name that says otherwise", ino, n.kind)
	}
	if ino == Root {
		d.in = Root
	}
	if dir && d.in != 0 && d.parent != d.in {
		c.bad("directory %d has parent %d, but is in directory %d", ino, d.parent, d.in)
	}
}

// reach finds whether the root leads to a directory, and remembers it of all
// directories on the way up.
func (c *checker) reach(ino uint64) reach {
	var way []uint64
	end := outside
	for at := ino; ; {
		d, ok := c.dirs[at]
		if at == Root {
			end = inside
		} else if ok && d.known == unknown && d.in != 0 {
			d.known = onTheWay
			c.dirs[at] = d
			way = append(way, at)
			at = d.in
			continue
		} else if ok && d.known == inside {
			end = inside
		}
		break
	}
	for _, at := range way {
		d := c.dirs[at]
		d.known = end
		c.dirs[at] = d
	}
	return end
}
