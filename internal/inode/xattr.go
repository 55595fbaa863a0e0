package inode

import (
	"encoding/binary"

	"varve/internal/fail"
	"varve/internal/tree"
)

// An extended attribute is this, cut into pieces of 900 bytes, one item each:
//
//	length of the name u8 | name | length of the value u | value
//
// A head, all but the value, is in the first piece whole.

func xattrKey(ino, low uint64) tree.Key { return itemKey(ino, xattrItem, low) }

// appendHead appends all of an xattr but its value of size bytes.
func appendHead(dst []byte, name string, size int) []byte {
	dst = append(append(dst, byte(len(name))), name...)
	return binary.AppendUvarint(dst, uint64(size))
}

// A piecer reads xattrs from their items in the order of keys.
type piecer struct {
	ino  uint64
	key  tree.Key // of the last piece
	left int      // bytes that the pieces to come must have

	// Of the xattr of the last piece.
	first tree.Key // its first piece
	name  []byte   // valid while the first piece is
	size  int      // of its value
	data  []byte   // of its value, in the last piece
}

// step takes the next item and reports whether it is the first piece of an
// xattr. It fails with Corrupt on an item that does not belong there.
func (p *piecer) step(k tree.Key, v []byte) (first bool, err error) {
	if p.left > 0 {
		if k != p.key.Next() || len(v) != min(pieceSize, p.left) {
			return false, p.torn()
		}
		p.key, p.data = k, v
		p.left -= len(v)
		return false, nil
	}
	_, lo := k.Split()
	n := len(v)
	if lo&(1<<pieceBits-1) != 0 || n < 3 || v[0] == 0 || int(v[0]) > n-2 {
		return false, p.malformed(k)
	}
	name, rest := v[1:1+int(v[0])], v[1+int(v[0]):]
	size, u := binary.Uvarint(rest)
	if u <= 0 || size > MaxXattr {
		return false, p.malformed(k)
	}
	p.key, p.first, p.name, p.size, p.data = k, k, name, int(size), rest[u:]
	whole := n - len(p.data) + p.size
	if n != min(pieceSize, whole) {
		return false, p.malformed(k)
	}
	p.left = whole - n
	return true, nil
}

// end fails with Corrupt if pieces are still to come.
func (p *piecer) end() error {
	if p.left > 0 {
		return p.torn()
	}
	return nil
}

func (p *piecer) torn() error {
	return fail.New(fail.Corrupt, "an extended attribute of inode %d lacks %d bytes", p.ino, p.left)
}

func (p *piecer) malformed(k tree.Key) error {
	return fail.New(fail.Corrupt, "the item %v of an extended attribute of inode %d is malformed", k, p.ino)
}

// pieces calls fn after each step over the items from lo to below hi, until it
// returns false.
func (p *piecer) pieces(r Reader, lo, hi tree.Key, fn func(first bool) bool) error {
	var bad error
	stopped := false
	err := r.Scan(lo, hi, func(k tree.Key, v []byte) bool {
		var first bool
		if first, bad = p.step(k, v); bad != nil {
			return false
		}
		stopped = !fn(first)
		return !stopped
	})
	switch {
	case err != nil:
		return err
	case bad != nil || stopped:
		return bad
	}
	return p.end()
}

// Xattr reads the value of an extended attribute; ok is false if there is
// none of that name.
func Xattr(r Reader, seed, ino uint64, name string) (value []byte, ok bool, err error) {
	return placesOf(seed).xattr(r, ino, name)
}

func (p places) xattr(r Reader, ino uint64, name string) (value []byte, ok bool, err error) {
	x, err := p.findXattr(r, ino, name)
	if err != nil || !x.found {
		return nil, false, err
	}
	return x.value, true, nil
}

// An xattrSpot is where an xattr is, or may go.
type xattrSpot struct {
	low    uint64 // low bits of the key of its first piece; if it is not found, of the first free slot
	pieces uint64
	value  []byte
	found  bool
}

func (s *xattrSpot) full(first uint64) bool {
	return !s.found && s.low >= first+slots<<pieceBits
}

func (p places) findXattr(r Reader, ino uint64, name string) (*xattrSpot, error) {
	low := p.xattrs(name)
	s := &xattrSpot{low: low}
	pc := piecer{ino: ino}
	err := pc.pieces(r, xattrKey(ino, low), xattrKey(ino, low+slots<<pieceBits), func(first bool) bool {
		if first {
			at := cookieOf(pc.key)
			switch {
			case string(pc.name) == name:
				s.low, s.found = at, true
				s.value = make([]byte, 0, pc.size)
			case at == s.low:
				s.low += 1 << pieceBits
			}
		}
		if s.found {
			s.pieces++
			s.value = append(s.value, pc.data...)
		}
		return !s.found || pc.left > 0
	})
	return s, err
}

// Xattrs calls fn for every extended attribute of an inode, with the length of
// its value in bytes, in the order of their hashes, until it returns false. fn
// must be brief and must not change the tree; after a *tree.Miss it is called
// for all again.
func Xattrs(r Reader, ino uint64, fn func(name string, size int) bool) error {
	pc := piecer{ino: ino}
	return pc.pieces(r, xattrKey(ino, 0), itemKey(ino, xattrItem+1, 0), func(first bool) bool {
		return !first || fn(string(pc.name), pc.size)
	})
}
