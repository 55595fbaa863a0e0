package segment

import (
	"context"

	"varve/internal/segstore"
)

// Prefetch has what Read needs of a segment read soon: headers and summaries of its
// frames. It believes what looks like a header, so it is good for nothing else.
func Prefetch(ctx context.Context, s segstore.Store, pool [16]byte, seg uint64) {
	b := make([]byte, BlockSize)
	segBlocks := int(s.SegmentSize() / BlockSize)
	for block := 0; block < segBlocks && ctx.Err() == nil; {
		a := MakeAddr(seg, uint32(block))
		if s.ReadAt(seg, b, a.offset()) != nil {
			return
		}
		h, err := decodeHeader(b)
		if err != nil || h.pool != pool || h.addr != a {
			return
		}
		if n := summaryBlocks(h.summary); n > 0 {
			s.Prefetch(seg, (a + 1 + Addr(h.payload)).offset(), int64(n)*BlockSize)
		}
		block += h.blocks()
	}
}
