package nbd

import (
	"time"

	"varve/internal/fail"
)

const (
	statusHead = chunkSize + 4 // of a chunk of pieces: the context
	pieceSize  = 8             // length and flags

	// maxStatus bounds the reply to a BLOCK_STATUS, in bytes: 65,533 pieces of
	// one context. It may cover less than what was asked for.
	maxStatus = 512 << 10
)

// blockStatus serves a BLOCK_STATUS by a worker: any map may have to wait.
func (c *conn) blockStatus(r request, start time.Time) error {
	size := len(c.contexts) * (statusHead + pieceSize*c.maxPieces(r))
	b, err := c.take(max(size, maxErrorSize))
	if err != nil {
		return err
	}
	c.delegate(r, start, b)
	return nil
}

// maxPieces returns how many pieces of each context the reply to r may hold. A
// disk that stores whole blocks has no more than that in a short range.
func (c *conn) maxPieces(r request) int {
	if r.flags&flagReqOne != 0 {
		return 1
	}
	return min(int(r.n/idealBlock)+2, (maxStatus/len(c.contexts)-statusHead)/pieceSize)
}

// putStatus encodes the reply to a BLOCK_STATUS into p and returns its length.
// Either every context has its chunk, or there is an error and no reply.
//
//	chunk head 20 | context 4 | length 4 | flags 4 | length 4 | flags 4 ...
func (c *conn) putStatus(p []byte, r request) (int, error) {
	out := 0
	for i, m := range c.contexts {
		l := pieces{p: p[out+statusHead:], max: c.maxPieces(r), rest: uint64(r.n)}
		if err := m.Status(r.off, uint64(r.n), l.add); err != nil {
			return 0, err
		}
		if l.n == 0 {
			return 0, fail.New(fail.Other, "%s says nothing of %d bytes at %d", m.name, r.n, r.off)
		}
		var flags uint16
		if i == len(c.contexts)-1 {
			flags = chunkDone
		}
		putChunk(p[out:], flags, chunkStatus, r.cookie, uint32(4+l.n*pieceSize))
		be.PutUint32(p[out+chunkSize:], m.id)
		out += statusHead + l.n*pieceSize
	}
	return out, nil
}

// pieces collects the map of a range; neighbours with equal flags become one.
type pieces struct {
	p      []byte
	n, max int
	rest   uint64 // of the range, not yet covered
}

// add is the visitor of a map. It returns false when no more is wanted.
func (l *pieces) add(n uint64, flags uint32) bool {
	if n = min(n, l.rest); n == 0 {
		return l.rest > 0
	}
	if l.n > 0 {
		last := l.p[(l.n-1)*pieceSize:]
		if be.Uint32(last[4:]) == flags {
			be.PutUint32(last, be.Uint32(last)+uint32(n))
			l.rest -= n
			return l.rest > 0
		}
	}
	if l.n == l.max {
		return false
	}
	be.PutUint32(l.p[l.n*pieceSize:], uint32(n))
	be.PutUint32(l.p[l.n*pieceSize+4:], flags)
	l.n++
	l.rest -= n
	return l.rest > 0
}
