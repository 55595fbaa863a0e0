package blockmap

import "context"

// Pointers is the map of ext2 and of UFS: pointers to data, and roots of trees of
// pointers that are one, two and three levels deep. A pointer of 0 is a hole.
type Pointers struct {
	Geometry *Geometry
	Map      [direct + roots]uint64
	Unit     uint64 // bytes that a pointer counts in
	Width    uint64 // bytes of a pointer in a block

	// Decode decodes the pointer that p begins with.
	Decode func(p []byte) uint64
}

const (
	direct = 12 // pointers to data
	roots  = 3  // of trees
)

var _ Walker = (*Pointers)(nil)

// Reach returns how many blocks such a map can have, from the bytes of a block and of
// a pointer.
func Reach(block, width uint64) uint64 {
	per, span, all := block/width, uint64(1), uint64(direct)
	for range roots {
		span *= per
		all += span
	}
	return all
}

// Walk implements Walker.
func (x *Pointers) Walk(ctx context.Context, b *Builder) error {
	for i, p := range x.Map[:direct] {
		if err := x.tree(ctx, b, p, 1, 0, uint64(i)); err != nil || b.Full() {
			return err
		}
	}
	at, span := uint64(direct), uint64(1)
	for i, p := range x.Map[direct:] {
		if err := x.tree(ctx, b, p, span, i+1, at); err != nil || b.Full() {
			return err
		}
		span *= x.Geometry.Block / x.Width
		at += span
	}
	return nil
}

// tree walks what a pointer leads to: a block of data at level 0, else a block of
// pointers each of which leads to span blocks. at is the file's block where it begins.
func (x *Pointers) tree(ctx context.Context, b *Builder, pointer, span uint64, level int, at uint64) error {
	g := x.Geometry
	per := g.Block / x.Width
	if pointer == 0 || at >= b.End || level > 0 && at+per*span <= b.From {
		return nil
	}
	if pointer > g.Size/x.Unit {
		return b.m.corrupt("a pointer of its map, for block %d, leads to %d of %d", at, pointer, g.Size/x.Unit)
	}
	if level == 0 {
		return b.Add(Run{at, 1, pointer * x.Unit})
	}
	if err := b.Count(1); err != nil {
		return err
	}
	p := make([]byte, g.Block)
	if pointer*x.Unit > g.Size-min(g.Size, g.Block) {
		return b.m.corrupt("a block of its map, for block %d, is at %d of %d", at, pointer, g.Size/x.Unit)
	}
	if err := g.Read(ctx, p, pointer*x.Unit); err != nil {
		return err
	}
	first := uint64(0)
	if b.From > at {
		first = (b.From - at) / span
	}
	for i := first; i < per && at+i*span < b.End; i++ {
		child := x.Decode(p[i*x.Width:])
		if err := x.tree(ctx, b, child, max(1, span/per), level-1, at+i*span); err != nil || b.Full() {
			return err
		}
	}
	return nil
}
