package engine

import (
	"errors"

	"varve/internal/tree"
)

// NextData returns the first run of blocks with payload of file ino that ends after
// byte off: bytes, from not before off. It is cut at end and after about 1 MiB.
// from = to = end if there is none. It costs what it returns, whatever lies before
// and however large the hole.
func (v *View) NextData(ino, off, end uint64) (from, to uint64, err error) {
	const most = 1 << 20
	from, to = end, end
	found := false
	var bad error
	err = v.vers.Blocking().Scan(blockKey(ino, chunkStart(off/BlockSize)), blockKey(ino, (end+BlockSize-1)/BlockSize), func(k tree.Key, val []byte) bool {
		x, err := parseExtent(k, val)
		if err != nil {
			bad = err
			return false
		}
		lo, hi := max(x.block*BlockSize, off), min(x.end()*BlockSize, end)
		switch {
		case lo >= hi:
			return true
		case !found:
			from, to, found = lo, hi, true
		case lo != to:
			return false
		default:
			to = hi
		}
		return to-from < most
	})
	if err := errors.Join(err, bad); err != nil {
		return 0, 0, err
	}
	return from, to, nil
}
