package inode

import (
	"encoding/binary"
	"sync"

	"varve/internal/fail"
	"varve/internal/tree"
)

// An Entry is a name in a directory.
//
//	inode u | type u8 | name
type Entry struct {
	Ino    uint64
	Type   uint8 // Mode>>12 of the inode, which never changes
	Name   string
	Cookie uint64 // the 60 bits of its key: where it is in the directory, for good; 256 at least
}

// maxCookie is the highest that an entry may have.
const maxCookie = lowMask

func entryKey(dir, cookie uint64) tree.Key { return itemKey(dir, entryItem, cookie) }

func cookieOf(k tree.Key) uint64 {
	_, lo := k.Split()
	return lo & lowMask
}

func (e *Entry) append(dst []byte) []byte {
	dst = append(binary.AppendUvarint(dst, e.Ino), e.Type)
	return append(dst, e.Name...)
}

// parseEntry reads an entry's item; name shares the memory of v.
func parseEntry(dir uint64, k tree.Key, v []byte) (e Entry, name []byte, err error) {
	ino, n := binary.Uvarint(v)
	if n <= 0 || ino == 0 || len(v) < n+2 || len(v)-n-1 > MaxName || !knownType(v[n]) {
		return e, nil, fail.New(fail.Corrupt, "the entry at cookie %#x of directory %d is malformed", cookieOf(k), dir)
	}
	return Entry{Ino: ino, Type: v[n], Cookie: cookieOf(k)}, v[n+1:], nil
}

// Lookup finds a name in a directory. ok is false if it is not there; nor is
// it in what is no directory.
func Lookup(r Reader, seed, dir uint64, name string) (e Entry, ok bool, err error) {
	return placesOf(seed).lookup(r, dir, name)
}

func (p places) lookup(r Reader, dir uint64, name string) (Entry, bool, error) {
	s, err := p.find(r, dir, name)
	if err != nil || !s.found {
		return Entry{}, false, err
	}
	return s.entry, true, nil
}

// A spot is where a name is, or may go.
type spot struct {
	entry Entry // Cookie: of the name; if it is not found, of the first free slot
	found bool
}

// full reports whether s is beyond the slots of the hash at first.
func (s *spot) full(first uint64) bool { return !s.found && s.entry.Cookie >= first+slots }

func (p places) find(r Reader, dir uint64, name string) (spot, error) {
	first := p.entries(name)
	f := finders.Get().(*finder)
	defer finders.Put(f)
	f.dir, f.name, f.spot, f.err = dir, name, spot{entry: Entry{Cookie: first}}, nil
	err := r.Scan(entryKey(dir, first), entryKey(dir, first+slots), f.visit)
	if err == nil {
		err = f.err
	}
	s := f.spot
	f.name, f.spot = "", spot{} // the name is the caller's
	return s, err
}

// A finder looks for one name among the entries with its hash. They are used
// again, and see is bound once, because a spot and a closure per name would be
// garbage per name.
type finder struct {
	spot
	dir   uint64
	name  string
	err   error
	visit func(tree.Key, []byte) bool // see
}

var finders = sync.Pool{New: func() any {
	f := new(finder)
	f.visit = f.see
	return f
}}

// see looks at one entry; false: no further one is of interest.
func (f *finder) see(k tree.Key, v []byte) bool {
	e, have, err := parseEntry(f.dir, k, v)
	switch {
	case err != nil:
		f.err = err
	case string(have) == f.name:
		f.entry, f.found = e, true
		f.entry.Name = f.name
	case e.Cookie == f.entry.Cookie:
		f.entry.Cookie++
	}
	return f.err == nil && !f.found
}

// List calls fn for the entries of a directory whose cookies are above after,
// in the order of cookies, until it returns false; without "." and "..". fn
// must be brief and must not change the tree. After a *tree.Miss the caller
// may go on after the last cookie that fn saw.
func List(r Reader, dir, after uint64, fn func(Entry) bool) error {
	if after >= maxCookie {
		return nil
	}
	var bad error
	err := r.Scan(entryKey(dir, after+1), itemKey(dir, entryItem+1, 0), func(k tree.Key, v []byte) bool {
		e, name, err := parseEntry(dir, k, v)
		if err != nil {
			bad = err
			return false
		}
		e.Name = string(name)
		return fn(e)
	})
	if err == nil {
		err = bad
	}
	return err
}
