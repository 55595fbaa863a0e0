package extfs

import (
	"context"
	"encoding/binary"
)

// indirect is the block map of ext2: 15 pointers of 32 bits, of which twelve lead
// to data, the others to blocks of pointers, one, two and three levels deep. A
// pointer of 0 is a hole.
type indirect struct {
	fs   *FS
	root []byte // 60 bytes
}

func (x *indirect) walk(ctx context.Context, b *builder) error {
	pointer := func(i int) uint64 { return uint64(binary.LittleEndian.Uint32(x.root[4*i:])) }
	for i := range 12 {
		if err := x.tree(ctx, b, pointer(i), 0, uint64(i)); err != nil || b.full() {
			return err
		}
	}
	per, at, span := x.fs.disk.block/4, uint64(12), uint64(1)
	for level := 1; level <= 3; level++ {
		span *= per
		if err := x.tree(ctx, b, pointer(11+level), level, at); err != nil || b.full() {
			return err
		}
		at += span
	}
	return nil
}

// tree walks what a pointer leads to: data if level is 0, else a block of pointers
// of the level below. at is the file's block where it begins.
func (x *indirect) tree(ctx context.Context, b *builder, pointer uint64, level int, at uint64) error {
	if pointer == 0 || at >= b.end {
		return nil
	}
	if level == 0 {
		return b.add(at, pointer, 1)
	}
	per, span := x.fs.disk.block/4, uint64(1) // of what each pointer in the block leads to
	for range level - 1 {
		span *= per
	}
	if at+per*span <= b.from {
		return nil
	}
	if err := b.count(1); err != nil {
		return err
	}
	p := make([]byte, x.fs.disk.block)
	if err := x.fs.disk.read(ctx, p, pointer); err != nil {
		return err
	}
	first := uint64(0)
	if b.from > at {
		first = (b.from - at) / span
	}
	for i := first; i < per && at+i*span < b.end; i++ {
		child := uint64(binary.LittleEndian.Uint32(p[4*i:]))
		if err := x.tree(ctx, b, child, level-1, at+i*span); err != nil || b.full() {
			return err
		}
	}
	return nil
}
