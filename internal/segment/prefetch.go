package segment

import (
	"context"

	"varve/internal/segstore"
)

// Prefetch has what Read needs of a segment read soon: headers and summaries of its
// frames. It believes what looks like a header, so it is good for nothing else.
func Prefetch(ctx context.Context, s segstore.Store, pool [16]byte, seg uint64) {
	c := chainIn(s, pool, []uint64{seg})
	c.ahead = 1
	for a := MakeAddr(seg, 0); ctx.Err() == nil; {
		h, err := c.header(a)
		if err != nil {
			return // behind the last block, too
		}
		if n := summaryBlocks(h.summary); n > 0 {
			s.Prefetch(seg, (a + 1 + Addr(h.payload)).offset(), int64(n)*BlockSize)
		}
		a += Addr(h.blocks())
	}
}
