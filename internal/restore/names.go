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
named. Per directory 24 bytes of memory; the names themselves are in a spool, and
where an inode is named in sorted numbers, both of which leave memory beyond a bound:

	inode u32 (0: left out) | type u8 | length u8 | name | up to 4

Directories lie one after another in it, in the order in which they came.
*/
type names struct {
	memory int // bound of each part: bytes
	blob   *spool
	dirs   []dirRec // by inode, once indexed
	refs   *sorted  // inode<<32 | place of each name, once indexed
	down   []uint32 // the directories that have a place, parents before children, once connected
	places []uint32 // of links, reused

	// of the last directory: hashes of its names, unless it has very many
	kept map[uint64]struct{}
	many bool
	seed maphash.Seed

	// one piece of the spool, for reading
	buf    []byte
	bufAt  int64
	bufLen int
}

// keptNames is how many names of a directory are compared as they come. Where there are
// more, they are compared when the directory is whole.
const keptNames = 1 << 16

// namesMemory bounds each of the parts of names that grow with the names: bytes.
const namesMemory = 8 << 20

// dirRec is a directory. Places in the spool are in units of 4 bytes.
type dirRec struct {
	ino      uint32
	from, to uint32 // its entries
	up       uint32 // index of its parent, or nowhere; the root's is itself
	at       uint32 // the entry that names it
	dress    uint32 // 1 + where its attributes are in their spool, or 0
}

const (
	nowhere  = ^uint32(0)
	nameUnit = 4
)

// nameHead is what is before a name in the spool, mostEntry the room of the longest one:
// bytes.
const (
	nameHead  = 6
	mostEntry = nameHead + 255 + nameUnit
)

// entrySize is the room of a name of n bytes in the spool, in whole units: bytes.
func entrySize(n int) int { return (nameHead + n + nameUnit - 1) &^ (nameUnit - 1) }

// maxDepth is how many levels of directories are followed.
const maxDepth = 4096

func namesWithin(memory int) *names {
	return &names{
		memory: memory, blob: &spool{limit: memory}, kept: make(map[uint64]struct{}), seed: maphash.MakeSeed(),
		buf: make([]byte, 16<<10), bufAt: -1,
	}
}

func (n *names) close() {
	n.blob.close()
	n.refs.close()
}

func (n *names) sorter() *sorter { return &sorter{limit: max(n.memory/16, 2)} }

// beginDir begins a directory; add adds to the last one, and endDir ends it.
func (n *names) beginDir(ino uint32) {
	at := uint32(n.blob.size() / nameUnit)
	n.dirs = append(n.dirs, dirRec{ino: ino, from: at, to: at, up: nowhere})
	if n.many || len(n.kept) > keptNames/16 {
		n.kept = make(map[uint64]struct{}) // to clear a large one takes as long as it is large
	}
	clear(n.kept)
	n.many = false
}

// add adds a name to the last directory. false: it has that name already.
func (n *names) add(e entry) (bool, error) {
	if !n.many {
		h := maphash.String(n.seed, e.name)
		if _, twice := n.kept[h]; twice {
			return false, nil
		}
		n.kept[h] = struct{}{}
		n.many = len(n.kept) >= min(keptNames, max(n.memory/64, 2))
	}
	var b [mostEntry]byte
	binary.LittleEndian.PutUint32(b[:], e.ino)
	b[4], b[5] = e.kind, uint8(len(e.name))
	size := entrySize(copy(b[nameHead:], e.name))
	at := n.blob.size() / nameUnit
	if at+int64(size) >= int64(nowhere) {
		return false, fail.New(fail.TooBig, "the archive has more than 16 GiB of names")
	}
	if err := n.blob.append(b[:size]); err != nil {
		return false, err
	}
	n.dirs[len(n.dirs)-1].to = uint32(n.blob.size() / nameUnit)
	return true, nil
}

// endDir ends the last directory. Names that it has twice are left out but for the
// first, and told.
func (n *names) endDir(twice func(name string)) error {
	if !n.many {
		return nil
	}
	x, err := n.indexDir(len(n.dirs) - 1)
	if err != nil {
		return err
	}
	defer x.close()
	var again []uint32
	var seen map[string]struct{} // names of one hash, of which there are more
	var last, lastAt uint32
	first := true
	each := func(hash, at uint32) error {
		if first || hash != last {
			first, last, lastAt, seen = false, hash, at, nil
			return nil
		}
		if seen == nil {
			e, _, err := n.entry(lastAt)
			if err != nil {
				return err
			}
			seen = map[string]struct{}{e.name: {}}
		}
		e, _, err := n.entry(at)
		if err != nil {
			return err
		}
		if _, there := seen[e.name]; there {
			again = append(again, at)
			twice(e.name)
		}
		seen[e.name] = struct{}{}
		return nil
	}
	if err := x.each(each); err != nil {
		return err
	}
	for _, at := range again {
		if err := n.blob.overwrite(make([]byte, 4), int64(at)*nameUnit); err != nil {
			return err
		}
	}
	n.bufAt = -1
	return nil
}

// index makes everything findable. After it nothing is added.
func (n *names) index() error {
	n.kept = nil
	s := n.sorter()
	defer s.close()
	for i := range n.dirs {
		err := n.each(i, func(at uint32, e entry) error { return s.add(uint64(e.ino)<<32 | uint64(at)) })
		if err != nil {
			return err
		}
	}
	slices.SortFunc(n.dirs, func(a, b dirRec) int { return cmp.Compare(a.ino, b.ino) })
	var err error
	n.refs, err = s.sorted()
	return err
}

// dir returns the index of a directory.
func (n *names) dir(ino uint32) (int, bool) {
	return slices.BinarySearchFunc(n.dirs, ino, func(d dirRec, ino uint32) int { return cmp.Compare(d.ino, ino) })
}

// links returns the places of the names of an inode: valid until the next call.
func (n *names) links(ino uint32) ([]uint32, error) {
	n.places = n.places[:0]
	err := n.refs.from(uint64(ino)<<32, func(v uint64) bool {
		if uint32(v>>32) != ino {
			return false
		}
		n.places = append(n.places, uint32(v))
		return true
	})
	return n.places, err
}

// entry reads the name at a place, and returns where the next one is.
func (n *names) entry(at uint32) (e entry, next uint32, err error) {
	return n.entryAhead(at, mostEntry)
}

// entryAhead is entry; it reads so many bytes ahead, if it has to read.
func (n *names) entryAhead(at uint32, ahead int) (e entry, next uint32, err error) {
	off := int64(at) * nameUnit
	i := off - n.bufAt
	if n.bufAt < 0 || i < 0 || i+mostEntry > int64(n.bufLen) {
		if n.bufLen, err = n.blob.read(n.buf[:ahead], off); err != nil {
			n.bufAt = -1
			return e, 0, err
		}
		n.bufAt, i = off, 0
	}
	b := n.buf[i:n.bufLen]
	if len(b) < nameHead || len(b) < nameHead+int(b[5]) {
		n.bufAt = -1
		return e, 0, fail.New(fail.Corrupt, "the table of names ends within a name")
	}
	e = entry{binary.LittleEndian.Uint32(b), b[4], string(b[nameHead : nameHead+int(b[5])])}
	return e, at + uint32(entrySize(len(e.name)))/nameUnit, nil
}

// each visits the names of a directory.
func (n *names) each(dir int, fn func(at uint32, e entry) error) error {
	for at := n.dirs[dir].from; at < n.dirs[dir].to; {
		left := int64(n.dirs[dir].to-at)*nameUnit + mostEntry
		e, next, err := n.entryAhead(at, int(min(left, int64(len(n.buf)))))
		if err == nil && e.ino != 0 {
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
