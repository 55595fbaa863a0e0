package nbd

const (
	dataHead = chunkSize + 8  // of a chunk of data: its offset
	holeSize = chunkSize + 12 // a chunk for a hole: its offset and length

	// minHole is the shortest hole that gets a chunk of its own. packRead needs
	// it to be at least holeSize + dataHead.
	minHole = 512
)

// putError encodes a failed structured reply into p and returns its length, at
// most maxErrorSize.
//
//	chunk head 20 | error 4 | message length 2 | message
func putError(p []byte, cookie uint64, err error) int {
	msg := clip(err.Error(), maxMessage)
	putChunk(p, chunkDone, chunkError, cookie, uint32(6+len(msg)))
	be.PutUint32(p[chunkSize:], errno(err))
	be.PutUint16(p[chunkSize+4:], uint16(len(msg)))
	return errorSize + copy(p[errorSize:], msg)
}

// packRead turns the result of a read into chunks, in place. p is dataHead
// bytes of room and then what was read at off; spans is its map. The length of
// the chunks is returned; they never need more than p:
//
//	before  | room 28 | data .......... | zeros ............... | data ...... |
//	after   | head 28 | data .......... | hole 32 | head 28 | data ...... |
//
// A hole is longer than what takes its place, so a piece only moves down, and
// nothing is overwritten that is still to be moved. A map that does not fit
// the read counts as none.
func packRead(p []byte, cookie, off uint64, spans []Span) int {
	n := uint64(len(p) - dataHead)
	if !covers(spans, n) {
		spans = nil
	}
	var pos uint64 // in what was read
	out, last := 0, 0
	for pos < n {
		run, hole := nextRun(&spans, n-pos)
		last = out
		if hole {
			putChunk(p[out:], 0, chunkHole, cookie, 12)
			be.PutUint64(p[out+chunkSize:], off+pos)
			be.PutUint32(p[out+chunkSize+8:], uint32(run))
			out += holeSize
		} else {
			copy(p[out+dataHead:], p[dataHead+pos:dataHead+pos+run])
			putChunk(p[out:], 0, chunkData, cookie, uint32(8+run))
			be.PutUint64(p[out+chunkSize:], off+pos)
			out += dataHead + int(run)
		}
		pos += run
	}
	be.PutUint16(p[last+4:], chunkDone)
	return out
}

// covers reports whether the lengths of spans add up to n.
func covers(spans []Span, n uint64) bool {
	for _, s := range spans {
		if s.Len > n {
			return false
		}
		n -= s.Len
	}
	return n == 0
}

// nextRun takes the next piece for a chunk off spans: a hole, or data together
// with the holes in it that are not worth a chunk. Without spans, the rest is
// data.
func nextRun(spans *[]Span, rest uint64) (n uint64, hole bool) {
	if len(*spans) == 0 {
		return rest, false
	}
	for i, s := range *spans {
		long := s.Hole && s.Len >= minHole
		switch {
		case long && n == 0:
			*spans = (*spans)[i+1:]
			return s.Len, true
		case long:
			*spans = (*spans)[i:]
			return n, false
		}
		n += s.Len
	}
	*spans = nil
	return n, false
}
