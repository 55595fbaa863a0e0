package engine

import (
	"context"
	"errors"

	"varve/internal/fail"
	"varve/internal/tree"
	"varve/internal/when"
)

// Change is a range of a volume that differs between two moments: bytes.
type Change struct {
	Off  uint64 `json:"off"`
	Len  uint64 `json:"len"`
	Hole bool   `json:"hole"` // at the later moment it is a hole
}

// Diff visits, in order, the ranges in which a volume differs between two
// moments of its line or its ancestors'. What costs time is what changed, not
// the volume's size: parts of the trees that both moments share are left out.
func (e *Engine) Diff(ctx context.Context, dataset string, from, to when.Spec, fn func(Change) error) (a, b Moment, err error) {
	i, err := e.Dataset(dataset)
	if err == nil && i.Kind != volumeKind.String() {
		err = fail.New(fail.Invalid, "%s is a share; its files differ, by path", dataset)
	}
	if err != nil {
		return a, b, err
	}
	if a, err = e.Resolve(dataset, from); err != nil {
		return a, b, err
	}
	if b, err = e.Resolve(dataset, to); err != nil {
		return a, b, err
	}
	va, err := e.OpenView(a)
	if err != nil {
		return a, b, err
	}
	defer va.Close()
	vb, err := e.OpenView(b)
	if err != nil {
		return a, b, err
	}
	defer vb.Close()
	return a, b, va.diff(ctx, vb, fn)
}

// diff visits the ranges in which w differs from v. Neighbours are joined.
func (v *View) diff(ctx context.Context, w *View, fn func(Change) error) error {
	ranges, err := unsharedBlocks(v.vers, w.vers)
	if err != nil {
		return err
	}
	j := joiner{fn: fn, size: max(v.size, w.size)}
	add := func(block, n uint64, hole bool) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return j.add(block, n, hole)
	}
	for _, r := range ranges {
		if err := diffRange(v.vers, w.vers, r[0], r[1], add); err != nil {
			return err
		}
	}
	return j.flush()
}

// joiner joins changed ranges that touch.
type joiner struct {
	fn   func(Change) error
	last Change
	size uint64
}

func (j *joiner) add(block, n uint64, hole bool) error {
	c := Change{Off: block * BlockSize, Len: n * BlockSize, Hole: hole}
	c.Len = min(c.Len, j.size-min(j.size, c.Off))
	if j.last.Off+j.last.Len == c.Off && j.last.Hole == hole && j.last.Len > 0 {
		j.last.Len += c.Len
		return nil
	}
	err := j.flush()
	j.last = c
	return err
}

func (j *joiner) flush() error {
	if j.last.Len == 0 {
		return nil
	}
	return j.fn(j.last)
}

// unsharedBlocks returns the ranges of blocks, widened to whole chunks, that lie in
// leaves which the versions do not have in common.
func unsharedBlocks(a, b *tree.Version) ([][2]uint64, error) {
	ranges, err := unshared(a, b)
	if err != nil {
		return nil, err
	}
	var out [][2]uint64
	for _, r := range ranges {
		lo, hi := chunkStart(keyBlock(r.From)), uint64(noBlock)
		if keyIno(r.To) == 0 {
			hi = chunkEnd(keyBlock(r.To))
		}
		if n := len(out); n > 0 && lo <= out[n-1][1] {
			out[n-1][1] = max(out[n-1][1], hi)
			continue
		}
		out = append(out, [2]uint64{lo, hi})
	}
	return out, nil
}

// diffWindow is how many blocks are compared at a time.
const diffWindow = 4096

// diffRange compares where a and b have the payload of the blocks [lo, hi).
func diffRange(a, b *tree.Version, lo, hi uint64, add func(block, n uint64, hole bool) error) error {
	var wa, wb [diffWindow]uint64
	for lo < hi {
		na, err := nextChunk(a, lo, hi)
		if err != nil {
			return err
		}
		nb, err := nextChunk(b, lo, hi)
		if err != nil {
			return err
		}
		if lo = min(na, nb); lo >= hi {
			return nil
		}
		end := min(lo+diffWindow, hi)
		if err := window(a, lo, end, wa[:]); err != nil {
			return err
		}
		if err := window(b, lo, end, wb[:]); err != nil {
			return err
		}
		for i := uint64(0); i < end-lo; i++ {
			if wa[i] != wb[i] {
				if err := add(lo+i, 1, wb[i] == 0); err != nil {
					return err
				}
			}
		}
		lo = end
	}
	return nil
}

// nextChunk returns the first chunk at or after lo that holds an extent.
func nextChunk(v *tree.Version, lo, hi uint64) (uint64, error) {
	next := hi
	err := v.Blocking().Scan(blockKey(0, lo), blockKey(0, hi), func(k tree.Key, _ []byte) bool {
		next = chunkStart(keyBlock(k))
		return false
	})
	return max(next, lo), err
}

// window fills w with the address of each block of [lo, end), 0 for holes.
func window(v *tree.Version, lo, end uint64, w []uint64) error {
	clear(w[:end-lo])
	var bad error
	err := v.Blocking().Scan(blockKey(0, lo), blockKey(0, end), func(k tree.Key, val []byte) bool {
		x, err := parseExtent(k, val)
		if err != nil {
			bad = err
			return false
		}
		for i := x.block; i < min(x.end(), end); i++ {
			w[i-lo] = x.addr + i - x.block
		}
		return true
	})
	return errors.Join(err, bad)
}
