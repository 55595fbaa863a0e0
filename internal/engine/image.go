package engine

import (
	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/segment"
	"varve/internal/tree"
)

// image is what operations on a dataset's line change: its tree and size. The
// head of a dataset is an image; so is the scratch overlay of a view. The one
// Apply of data works on it, whoever calls. Callers serialise.
type image struct {
	tree   *tree.Tree
	size   uint64           // bytes
	mapped int64            // blocks with payload; what a dying list still holds counts until it is drained
	spills bool             // a view's, and all its pages in memory are its own
	pos    segment.Position // of a scratch image: the operations after its moment are in frames after it
	rough  bool             // mapped is too high, until somebody counts
	from   uint64           // the moment of the root that its nodes on disk are from
	aside  bool             // replayed: it has nodes that were never the head's
	led    *ledger
	found  []extent // scratch of cut
	crc    []byte   // the memory of found's checksums
	value  []byte   // scratch for values
}

// largeTrim is the length, in blocks, above which a trim moves the range to a
// dying list instead of visiting each extent (16 MiB). It decides what Replay
// does, so it is part of the format.
const largeTrim = 4096

// split divides a trim of [b, e) into the parts visited at once and the whole
// chunks [mid, midEnd) that go to a dying list (empty for a small trim).
func split(b, e uint64) (mid, midEnd uint64) {
	if e-b < largeTrim {
		return e, e
	}
	return chunkEnd(b), chunkStart(e)
}

// prepare makes the tree ready for apply of an op over the blocks [b, e):
// afterwards apply can not fail. It returns *tree.Miss if a node must be
// loaded first.
func (im *image) prepare(kind oplog.Kind, b, e uint64) error {
	if kind == oplog.Trim {
		if mid, midEnd := split(b, e); mid < midEnd {
			if err := im.tree.Prepare(blockKey(chunkStart(b)), blockKey(mid)); err != nil {
				return err
			}
			if err := im.tree.Prepare(blockKey(midEnd), blockKey(chunkEnd(e))); err != nil {
				return err
			}
			return im.tree.PrepareRange(blockKey(mid), blockKey(midEnd))
		}
	}
	return im.tree.Prepare(blockKey(chunkStart(b)), blockKey(chunkEnd(e)))
}

// blocks returns the range of blocks that a data operation covers.
func blocks(op *oplog.Op) (b, e uint64) {
	return op.Off / BlockSize, (op.Off + op.Len + BlockSize - 1) / BlockSize
}

// apply changes the image by one data operation. It is memory only; an error
// means that the operation contradicts the tree: corruption. It reports the
// chunk range that a large trim sends to a dying list.
func (im *image) apply(op *oplog.Op) (dying [2]uint64, err error) {
	b, e := blocks(op)
	if e*BlockSize > (im.size+BlockSize-1)/BlockSize*BlockSize {
		return dying, fail.New(fail.Corrupt, "%v reaches beyond the volume's %d bytes", op, im.size)
	}
	switch op.Kind {
	case oplog.Write:
		if err := im.cut(b, e, op.LSN); err != nil {
			return dying, err
		}
		return dying, im.put(b, op)
	case oplog.Trim:
		mid, midEnd := split(b, e)
		if mid >= midEnd {
			return dying, im.cut(b, e, op.LSN)
		}
		if err := im.cut(b, mid, op.LSN); err != nil {
			return dying, err
		}
		if err := im.cut(midEnd, e, op.LSN); err != nil {
			return dying, err
		}
		im.tree.DeleteRange(blockKey(mid), blockKey(midEnd))
		return [2]uint64{mid, midEnd}, nil
	}
	return dying, fail.New(fail.Corrupt, "%v is no data operation", op)
}

// put inserts the extents of a write.
func (im *image) put(b uint64, op *oplog.Op) error {
	for _, ox := range op.Extents {
		n := uint64(len(ox.CRC))
		if b%chunkBlocks+n > chunkBlocks {
			return fail.New(fail.Corrupt, "%v: an extent crosses a border of %d blocks", op, chunkBlocks)
		}
		im.crc = im.crc[:0]
		for _, c := range ox.CRC {
			im.crc = append(im.crc, byte(c), byte(c>>8), byte(c>>16), byte(c>>24))
		}
		x := extent{block: b, addr: ox.Addr, birth: op.LSN, count: n, crc: im.crc}
		im.insert(x)
		im.mapped += int64(n)
		b += n
	}
	return nil
}

func (im *image) insert(x extent) {
	im.value = x.appendValue(im.value[:0])
	im.tree.Put(blockKey(x.block), im.value)
}

// cut removes the blocks [b, e) from the tree and notes the deaths; extents
// that overlap an end keep their other part.
func (im *image) cut(b, e, lsn uint64) error {
	if b >= e {
		return nil
	}
	if err := im.collect(b, e); err != nil {
		return err
	}
	for _, x := range im.found {
		from, to := max(x.block, b), min(x.end(), e)
		if x.block >= b && !im.tree.Delete(blockKey(x.block)) {
			return fail.New(fail.Corrupt, "block %d vanished from its tree", x.block)
		}
		if x.block < from {
			im.insert(x.part(x.block, from))
		}
		if to < x.end() {
			im.insert(x.part(to, x.end()))
		}
		im.mapped -= int64(to - from)
		if im.led != nil {
			im.led.drop(x.part(from, to), lsn)
		}
	}
	return nil
}

// collect copies the extents that overlap [b, e) into im.found.
func (im *image) collect(b, e uint64) error {
	im.found, im.crc = im.found[:0], im.crc[:0]
	var bad error
	err := im.tree.Scan(blockKey(chunkStart(b)), blockKey(e), func(k tree.Key, v []byte) bool {
		x, err := parseExtent(k, v)
		if err != nil {
			bad = err
			return false
		}
		if x.end() <= b {
			return true
		}
		start := len(im.crc)
		im.crc = append(im.crc, x.crc...)
		x.crc = im.crc[start:len(im.crc):len(im.crc)]
		im.found = append(im.found, x)
		return true
	})
	if err != nil {
		return err
	}
	return bad
}

func trimIsLarge(b, e uint64) bool {
	mid, midEnd := split(b, e)
	return mid < midEnd
}
