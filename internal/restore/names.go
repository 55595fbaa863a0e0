package restore

import (
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"

	"varve/internal/dump"
	"varve/internal/fail"
)

/*
names are the directories of a tree: what names they hold, and where each inode is
named. Per name 8 bytes of memory and per directory 28; the names themselves are in
a spool, which leaves memory beyond 64 MiB:

	inode u32 | type u8 | length u8 | name | up to 4

Directories lie one after another in it, in the order in which they came.
*/
type names struct {
	blob *spool
	dirs []dirRec  // by inode, once indexed
	refs []nameRef // by inode, once indexed
	down []uint32  // the directories that have a place, parents before children, once connected
	kept map[uint64]struct{}
	seed maphash.Seed

	// one piece of the spool, for reading
	buf    []byte
	bufAt  int64
	bufLen int
}

// dirRec is a directory. Places in the spool are in units of 4 bytes.
type dirRec struct {
	ino      uint32
	from, to uint32 // its entries
	up       uint32 // index of its parent, or nowhere; the root's is itself
	at       uint32 // the entry that names it
	dress    uint32 // 1 + where its attributes are in their spool, or 0
}

// nameRef is a name of an inode.
type nameRef struct{ ino, at uint32 }

const (
	nowhere  = ^uint32(0)
	nameUnit = 4
)

// maxDepth is how many levels of directories are followed.
const maxDepth = 4096

func newNames() *names {
	return &names{blob: new(spool), kept: make(map[uint64]struct{}), seed: maphash.MakeSeed(), buf: make([]byte, 16<<10), bufAt: -1}
}

func (n *names) close() { n.blob.close() }

// beginDir begins a directory; add adds to the last one.
func (n *names) beginDir(ino uint32) {
	at := uint32(n.blob.size() / nameUnit)
	n.dirs = append(n.dirs, dirRec{ino: ino, from: at, to: at, up: nowhere})
	if len(n.kept) > 1<<16 {
		n.kept = make(map[uint64]struct{})
	}
	clear(n.kept)
}

// add adds a name to the last directory. false: it has that name already.
func (n *names) add(e entry) (bool, error) {
	h := maphash.String(n.seed, e.name)
	if _, twice := n.kept[h]; twice {
		return false, nil
	}
	n.kept[h] = struct{}{}
	var b [6 + 255 + nameUnit]byte
	binary.LittleEndian.PutUint32(b[:], e.ino)
	b[4], b[5] = e.kind, uint8(len(e.name))
	size := (6 + copy(b[6:], e.name) + nameUnit - 1) &^ (nameUnit - 1)
	at := n.blob.size() / nameUnit
	if at+int64(size) >= int64(nowhere) {
		return false, fail.New(fail.TooBig, "the archive has more than 16 GiB of names")
	}
	if err := n.blob.append(b[:size]); err != nil {
		return false, err
	}
	n.refs = append(n.refs, nameRef{e.ino, uint32(at)})
	n.dirs[len(n.dirs)-1].to = uint32(n.blob.size() / nameUnit)
	return true, nil
}

// index makes everything findable. After it nothing is added.
func (n *names) index() {
	n.kept = nil
	slices.SortFunc(n.dirs, func(a, b dirRec) int { return cmp.Compare(a.ino, b.ino) })
	slices.SortFunc(n.refs, func(a, b nameRef) int {
		return cmp.Or(cmp.Compare(a.ino, b.ino), cmp.Compare(a.at, b.at))
	})
}

// dir returns the index of a directory.
func (n *names) dir(ino uint32) (int, bool) {
	return slices.BinarySearchFunc(n.dirs, ino, func(d dirRec, ino uint32) int { return cmp.Compare(d.ino, ino) })
}

// links returns the names of an inode.
func (n *names) links(ino uint32) []nameRef {
	from, _ := slices.BinarySearchFunc(n.refs, ino, func(r nameRef, ino uint32) int { return cmp.Compare(r.ino, ino) })
	to := from
	for to < len(n.refs) && n.refs[to].ino == ino {
		to++
	}
	return n.refs[from:to]
}

// entry reads the name at a place, and returns where the next one is.
func (n *names) entry(at uint32) (e entry, next uint32, err error) {
	const most = 6 + 255 + nameUnit
	off := int64(at) * nameUnit
	i := off - n.bufAt
	if n.bufAt < 0 || i < 0 || i+most > int64(n.bufLen) {
		if n.bufLen, err = n.blob.read(n.buf, off); err != nil {
			n.bufAt = -1
			return e, 0, err
		}
		n.bufAt, i = off, 0
	}
	b := n.buf[i:n.bufLen]
	if len(b) < 6 || len(b) < 6+int(b[5]) {
		n.bufAt = -1
		return e, 0, fail.New(fail.Corrupt, "the table of names ends within a name")
	}
	e = entry{binary.LittleEndian.Uint32(b), b[4], string(b[6 : 6+int(b[5])])}
	return e, at + uint32(6+len(e.name)+nameUnit-1)/nameUnit, nil
}

// each visits the names of a directory.
func (n *names) each(dir int, fn func(at uint32, e entry) error) error {
	for at := n.dirs[dir].from; at < n.dirs[dir].to; {
		e, next, err := n.entry(at)
		if err == nil {
			err = fn(at, e)
		}
		if err != nil {
			return err
		}
		at = next
	}
	return nil
}

// connect gives each directory that is reached from the root its place. bad is told of what cannot be part of a tree.
func (n *names) connect(bad func(ino uint32, what string)) error {
	root, ok := n.dir(dump.RootIno)
	if !ok {
		return fail.New(fail.Corrupt, "the root directory is not in the archive")
	}
	n.dirs[root].up = uint32(root)
	level := []uint32{uint32(root)}
	for depth := 0; len(level) > 0; depth++ {
		n.down = append(n.down, level...)
		var below []uint32
		for _, d := range level {
			err := n.each(int(d), func(at uint32, e entry) error {
				i, ok := n.dir(e.ino)
				switch {
				case !ok:
				case n.dirs[i].up != nowhere:
					bad(e.ino, "a directory with a second name, "+quote(e.name)+" in "+n.path(int(d), "")+", which is left out")
				case depth >= maxDepth:
					bad(e.ino, "a directory more than "+strconv.Itoa(maxDepth)+" levels deep, which is left out")
				default:
					n.dirs[i].up, n.dirs[i].at = d, at
					below = append(below, uint32(i))
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		level = below
	}
	return nil
}

// placed reports whether a directory has a place in the tree.
func (n *names) placed(dir int) bool { return n.dirs[dir].up != nowhere }

// holder returns the directory that a place is in.
func (n *names) holder(at uint32, byPlace []uint32) int {
	i, _ := slices.BinarySearchFunc(byPlace, at, func(d, at uint32) int {
		switch {
		case n.dirs[d].to <= at:
			return -1
		case n.dirs[d].from > at:
			return 1
		}
		return 0
	})
	return int(byPlace[i])
}

// byPlace returns the directories that hold names, in the order of their places.
func (n *names) byPlace() []uint32 {
	var list []uint32
	for i, d := range n.dirs {
		if d.from < d.to {
			list = append(list, uint32(i))
		}
	}
	slices.SortFunc(list, func(a, b uint32) int { return cmp.Compare(n.dirs[a].from, n.dirs[b].from) })
	return list
}

// path returns the path of a directory that has a place, or of a name in it,
// relative to the root.
func (n *names) path(dir int, name string) string {
	var up []string
	if name != "" {
		up = append(up, name)
	}
	for range maxDepth + 1 {
		d := n.dirs[dir]
		if d.up == uint32(dir) || d.up == nowhere {
			break
		}
		e, _, err := n.entry(d.at)
		if err != nil {
			break
		}
		up = append(up, e.name)
		dir = int(d.up)
	}
	slices.Reverse(up)
	if len(up) == 0 {
		return "."
	}
	return "./" + strings.Join(up, "/")
}

// quote shows a name that may be anything.
func quote(s string) string {
	if len(s) > 300 {
		s = s[:300]
	}
	return strconv.Quote(s)
}
