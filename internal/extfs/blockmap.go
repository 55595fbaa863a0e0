package extfs

import (
	"context"
	"sort"
	"sync/atomic"

	"varve/internal/dump"
)

// run is a range of a file's blocks that lie together on the disk.
type run struct{ logical, physical, count uint64 }

// window is a part of a file's block map: all runs in the blocks [from, to).
// Immutable.
type window struct {
	from, to uint64
	runs     []run
	seen     uint64 // blocks of data and of the map from the file's beginning on, if it was read in order
}

const windowRuns = 1024 // of one window: 24 KiB

// mapper walks one kind of block map.
type mapper interface {
	// walk appends to b the runs from block b.from on, in order, until b is full or
	// at its end.
	walk(ctx context.Context, b *builder) error
}

// builder gathers a window.
type builder struct {
	fs   *FS
	ino  uint32
	from uint64 // the first block that is asked for
	end  uint64 // the file's blocks
	stop uint64 // what is known, when full; else 0
	runs []run
	seen uint64
}

// full reports whether no more is to be added.
func (b *builder) full() bool { return b.stop != 0 }

// add appends a run and cuts it to what is asked for. The blocks must be inside the
// file system, and not more in all than it has: so that no map leads in circles.
func (b *builder) add(logical, physical, count uint64) error {
	if physical == 0 || physical >= b.fs.super.blocks || count > b.fs.super.blocks-physical {
		return corrupt("inode %d, block %d of it: its map leads to block %d, %d blocks long; the file system has %d", b.ino, logical, physical, count, b.fs.super.blocks)
	}
	if logical+count <= b.from || logical >= b.end {
		return nil
	}
	if logical < b.from {
		physical, count, logical = physical+b.from-logical, count-(b.from-logical), b.from
	}
	count = min(count, b.end-logical)
	if err := b.count(count); err != nil {
		return err
	}
	if n := len(b.runs); n > 0 {
		last := &b.runs[n-1]
		if last.logical+last.count == logical && last.physical+last.count == physical {
			last.count += count
			return nil
		}
		if n >= windowRuns {
			b.stop = logical
			b.seen -= count
			return nil
		}
	}
	b.runs = append(b.runs, run{logical, physical, count})
	return nil
}

// count counts blocks of data or of the map. Some blocks of the map are counted once
// for each window: hence the margin.
func (b *builder) count(n uint64) error {
	if b.seen += n; b.seen > b.fs.super.blocks+b.fs.super.blocks/64+64 {
		return corrupt("the map of inode %d leads to more than the %d blocks of the file system", b.ino, b.fs.super.blocks)
	}
	return nil
}

// blockMap finds the blocks of an inode. Safe for concurrent use.
type blockMap struct {
	fs     *FS
	ino    uint32
	blocks uint64 // the inode's size
	mapper mapper
	last   atomic.Pointer[window]
}

// mapOf returns the block map of an inode that has one.
func (f *FS) mapOf(ino uint32, r rawInode, size uint64) *blockMap {
	m := &blockMap{fs: f, ino: ino, blocks: (size + f.disk.block - 1) / f.disk.block}
	if r.flags()&flagExtents != 0 {
		m.mapper = &extents{fs: f, ino: ino, root: r.blockMap(), seed: f.seedOf(ino, r)}
	} else {
		m.mapper = &indirect{fs: f, root: r.blockMap()}
	}
	return m
}

// at returns the window that holds a block of the file, which must be below
// m.blocks.
func (m *blockMap) at(ctx context.Context, block uint64) (*window, error) {
	w := m.last.Load()
	if w != nil && w.from <= block && block < w.to {
		return w, nil
	}
	b := &builder{fs: m.fs, ino: m.ino, from: block, end: m.blocks}
	if w != nil && w.to == block {
		b.seen = w.seen
	}
	if err := m.mapper.walk(ctx, b); err != nil {
		return nil, err
	}
	w = &window{from: block, to: m.blocks, runs: b.runs, seen: b.seen}
	if b.full() {
		w.to = b.stop
	}
	m.last.Store(w)
	return w, nil
}

// next returns the first run that ends after a block, cut at it, or a run of no
// blocks at the end of the file.
func (m *blockMap) next(ctx context.Context, block uint64) (run, error) {
	for block < m.blocks {
		w, err := m.at(ctx, block)
		if err != nil {
			return run{}, err
		}
		i := sort.Search(len(w.runs), func(i int) bool { return w.runs[i].logical+w.runs[i].count > block })
		if i < len(w.runs) {
			r := w.runs[i]
			if r.logical < block {
				skip := block - r.logical
				r = run{block, r.physical + skip, r.count - skip}
			}
			return r, nil
		}
		block = w.to
	}
	return run{logical: m.blocks}, nil
}

// file is the contents of an inode with a block map.
type file struct {
	*blockMap
	size uint64
}

var _ dump.File = (*file)(nil)

// Next implements dump.File.
func (f *file) Next(ctx context.Context, off uint64) (from, to uint64, err error) {
	if off >= f.size {
		return f.size, f.size, nil
	}
	block := f.fs.disk.block
	r, err := f.next(ctx, off/block)
	if err != nil {
		return 0, 0, err
	}
	from = min(max(r.logical*block, off&^511), f.size)
	return from, min((r.logical+r.count)*block, f.size), nil
}

// Read implements dump.File: one read of the disk for each run.
func (f *file) Read(ctx context.Context, p []byte, off uint64) error {
	block := f.fs.disk.block
	for len(p) > 0 {
		from, to := off, f.size // of the next bytes, if they are a hole up to the end
		var r run
		if off < f.size {
			var err error
			if r, err = f.next(ctx, off/block); err != nil {
				return err
			}
			from, to = max(off, r.logical*block), min((r.logical+r.count)*block, f.size)
		}
		if r.count == 0 || from-off >= uint64(len(p)) {
			clear(p)
			return nil
		}
		clear(p[:from-off])
		p, off = p[from-off:], from
		n := min(uint64(len(p)), to-off)
		skip := off - r.logical*block
		if err := f.fs.disk.readAt(ctx, p[:n], r.physical+skip/block, skip%block); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}
