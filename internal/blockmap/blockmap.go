// Package blockmap finds the bytes of a file from the map of its blocks in a file
// system: extents, or trees of pointers. It is what the readers of foreign file
// systems share.
//
// A map is read in windows of some thousand runs, so that memory stays small for a
// file of a million pieces, and every step is counted against the size of the file
// system, so that no map leads in circles.
package blockmap

import (
	"context"
	"sort"
	"sync/atomic"

	"varve/internal/dump"
	"varve/internal/fail"
)

// Run is a range of a file's blocks that lie together. At is the byte of the image
// where the first begins.
type Run struct{ Block, Count, At uint64 }

// Geometry is what all the maps of a file system have in common.
type Geometry struct {
	Block uint64 // bytes of one of a file's blocks
	Size  uint64 // bytes of the file system: no run may lie beyond
	Hint  string // what to do about damage

	// Read fills p from a byte of the file system. Safe for concurrent use.
	Read func(ctx context.Context, p []byte, at uint64) error
}

// A Walker reads one kind of map.
type Walker interface {
	// Walk calls b.Add for the runs that reach beyond b.From, in order, until
	// b.Full or the map's end. Safe for concurrent use.
	Walk(ctx context.Context, b *Builder) error
}

// windowRuns are the runs of one window: 24 KiB.
const windowRuns = 1024

// window is a part of a map: all runs in the blocks [from, to). Immutable.
type window struct {
	from, to uint64
	runs     []Run
	seen     uint64
}

// Builder gathers the runs of a window.
type Builder struct {
	From uint64 // the first block that is asked for
	End  uint64 // the file's size in blocks

	m    *Map
	stop uint64 // where the window ends if it is full, else 0
	runs []Run
	seen uint64 // blocks of data and of the map since the file's beginning, if it was read in order
}

// Full reports whether the walk may end.
func (b *Builder) Full() bool { return b.stop != 0 }

// Add appends a run; what is not asked for is cut off.
func (b *Builder) Add(r Run) error {
	g := b.m.g
	if r.Block+r.Count <= b.From || r.Block >= b.End {
		return nil
	}
	r.Count = min(r.Count, b.End-r.Block)
	bytes := r.Count * g.Block
	if r.Block+r.Count == b.End { // the last block need not be whole
		bytes -= b.End*g.Block - b.m.size
	}
	if r.At == 0 || r.At >= g.Size || bytes > g.Size-r.At {
		return b.m.corrupt("its block %d is at byte %d, %d bytes long, of a file system of %d", r.Block, r.At, bytes, g.Size)
	}
	if r.Block < b.From {
		skip := b.From - r.Block
		r = Run{b.From, r.Count - skip, r.At + skip*g.Block}
	}
	if n := len(b.runs); n > 0 {
		last := &b.runs[n-1]
		if last.Block+last.Count == r.Block && last.At+last.Count*g.Block == r.At {
			last.Count += r.Count
			return b.Count(r.Count)
		}
		if n >= windowRuns {
			b.stop = r.Block
			return nil
		}
	}
	b.runs = append(b.runs, r)
	return b.Count(r.Count)
}

// Count counts n blocks of data or of the map: in all there are not more than the
// file system has. Some of the map are counted once for each window; hence the margin.
func (b *Builder) Count(n uint64) error {
	limit := b.m.g.Size / b.m.g.Block
	if b.seen += n; b.seen > limit+limit/64+64 {
		return b.m.corrupt("its map leads to more than the %d blocks of the file system", limit)
	}
	return nil
}

// Map is a file by its map. It implements dump.File.
type Map struct {
	g    *Geometry
	ino  uint32
	size uint64 // bytes
	walk Walker
	last atomic.Pointer[window]
}

var _ dump.File = (*Map)(nil)

// New returns the file of size bytes that walk knows the blocks of. ino is for
// messages.
func New(g *Geometry, ino uint32, size uint64, walk Walker) *Map {
	return &Map{g: g, ino: ino, size: size, walk: walk}
}

// Blocks returns the file's size in blocks.
func (m *Map) Blocks() uint64 { return (m.size + m.g.Block - 1) / m.g.Block }

func (m *Map) corrupt(format string, args ...any) error {
	return fail.Wrap(fail.Corrupt, fail.New(fail.Corrupt, format, args...).WithHint("%s", m.g.Hint), "inode %d", m.ino)
}

// at returns the window that holds a block below m.Blocks.
func (m *Map) at(ctx context.Context, block uint64) (*window, error) {
	w := m.last.Load()
	if w != nil && w.from <= block && block < w.to {
		return w, nil
	}
	b := &Builder{m: m, From: block, End: m.Blocks()}
	if w != nil && w.to == block {
		b.seen = w.seen
	}
	if err := m.walk.Walk(ctx, b); err != nil {
		return nil, err
	}
	w = &window{from: block, to: b.End, runs: b.runs, seen: b.seen}
	if b.Full() {
		w.to = b.stop
	}
	m.last.Store(w)
	return w, nil
}

// NextRun returns the first run that ends after a block, cut at it; at the file's
// end one of no blocks.
func (m *Map) NextRun(ctx context.Context, block uint64) (Run, error) {
	for block < m.Blocks() {
		w, err := m.at(ctx, block)
		if err != nil {
			return Run{}, err
		}
		i := sort.Search(len(w.runs), func(i int) bool { return w.runs[i].Block+w.runs[i].Count > block })
		if i < len(w.runs) {
			r := w.runs[i]
			if r.Block < block {
				skip := block - r.Block
				r = Run{block, r.Count - skip, r.At + skip*m.g.Block}
			}
			return r, nil
		}
		block = w.to
	}
	return Run{Block: m.Blocks()}, nil
}

// Next implements dump.File.
func (m *Map) Next(ctx context.Context, off uint64) (from, to uint64, err error) {
	if off >= m.size {
		return m.size, m.size, nil
	}
	r, err := m.NextRun(ctx, off/m.g.Block)
	if err != nil {
		return 0, 0, err
	}
	if r.Count == 0 {
		return m.size, m.size, nil
	}
	return max(r.Block*m.g.Block, off&^511), min((r.Block+r.Count)*m.g.Block, m.size), nil
}

// Read implements dump.File: one read for each run.
func (m *Map) Read(ctx context.Context, p []byte, off uint64) error {
	for len(p) > 0 && off < m.size {
		r, err := m.NextRun(ctx, off/m.g.Block)
		if err != nil {
			return err
		}
		from, to := max(off, r.Block*m.g.Block), min((r.Block+r.Count)*m.g.Block, m.size)
		if r.Count == 0 || from-off >= uint64(len(p)) {
			break
		}
		clear(p[:from-off])
		p = p[from-off:]
		n := min(uint64(len(p)), to-from)
		if err := m.g.Read(ctx, p[:n], r.At+from-r.Block*m.g.Block); err != nil {
			return err
		}
		p, off = p[n:], from+n
	}
	clear(p)
	return nil
}
