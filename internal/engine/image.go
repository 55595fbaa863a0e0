package engine

import (
	"varve/internal/fail"
	"varve/internal/inode"
	"varve/internal/oplog"
	"varve/internal/segment"
	"varve/internal/tree"
)

// figures is what a state of a dataset is besides its tree.
type figures struct {
	size   uint64 // of a volume: bytes
	mapped int64  // blocks with payload; what a dying list still holds counts until it is drained
	own    int64  // of mapped: blocks written since the dataset was made, and so not its origin's
	rough  bool   // mapped is too high, until somebody counts
	inodes int64  // of a share
	floor  int64  // of a share: the least ctime to show, Unix nanoseconds: the last rollback's
}

// image is what operations on a dataset's line change: its tree and figures.
// The head of a dataset is an image; so is what an overlay replays into. The
// one Apply of data works on it, whoever calls. Callers serialise.
type image struct {
	figures
	tree  *tree.Tree
	since uint64 // births from it on are the dataset's own
	seed  uint64 // of a share: what its names are hashed with
	led   *ledger
	found []extent // scratch of cut
	crc   []byte   // the memory of found's checksums
	value []byte   // scratch for values
}

// overlay is a past state of a dataset: the tree of a root at hand, and what was
// replayed over it.
type overlay struct {
	image
	spills bool             // a view's, and all its pages in memory are its own
	pos    segment.Position // the operations after its moment are in frames after it
	from   uint64           // the moment of the root that its nodes on disk are from
	aside  bool             // replayed: it has nodes that were never the head's
	past   *root            // the root aside that it was made from, or nil
	hold   *hold            // keeps the moment and the root, while this is not closed
}

// close frees what only the overlay has.
func (im *overlay) close() {
	im.tree.Close()
	im.hold.release()
}

// largeTrim is the length, in blocks, above which a trim moves the range to a
// dying list instead of visiting each extent (16 MiB). It decides what Replay
// does, so it is part of the format.
const largeTrim = 4096

// span is a range of the blocks of one file.
type span struct{ ino, from, to uint64 }

func (s span) empty() bool { return s.from >= s.to }

// dies returns the whole chunks that an operation sends to a dying list
// instead of visiting them: of a trim or truncation of more than largeTrim
// blocks, or of a file that goes. *tree.Miss.
func (im *image) dies(op *oplog.Op) (span, error) {
	if op.Kind == oplog.Trim {
		b, e := blocks(op)
		if e-b < largeTrim {
			return span{}, nil
		}
		return wholeChunks(span{0, b, e}), nil
	}
	if !op.Kind.OnFile() || op.Kind == oplog.WriteFile {
		return span{}, nil
	}
	effect, err := inode.Plan(im.tree, im.seed, op)
	if err != nil || !effect.Large {
		return span{}, err
	}
	return wholeChunks(cutOf(effect)), nil
}

// cutOf is the range that an operation on a file leaves to be cut.
func cutOf(x inode.Effect) span { return span{x.Ino, x.From, noBlock} }

func wholeChunks(s span) span { return span{s.ino, chunkEnd(s.from), chunkStart(s.to)} }

// prepare makes the tree ready for apply: afterwards that cannot fail. It
// returns *tree.Miss if a node must be loaded first.
func (im *image) prepare(op *oplog.Op) error {
	dead, err := im.dies(op)
	if err != nil {
		return err
	}
	if !op.Kind.OnFile() {
		b, e := blocks(op)
		return im.prepareCut(span{0, b, e}, dead)
	}
	if err := inode.Prepare(im.tree, im.seed, op); err != nil {
		return err
	}
	if op.Kind == oplog.WriteFile {
		b, e := blocks(op)
		return im.prepareCut(span{op.Ino, b, e}, dead)
	}
	if len(op.Extents) > 0 {
		b := op.Attr.Size / BlockSize
		if err := im.prepareCut(span{op.Ino, b, b + 1}, span{}); err != nil {
			return err
		}
	}
	effect, err := inode.Plan(im.tree, im.seed, op)
	if err != nil || !effect.Cut {
		return err
	}
	return im.prepareCut(cutOf(effect), dead)
}

// prepareCut makes the tree ready for a cut of s, of which dead goes whole.
func (im *image) prepareCut(s, dead span) error {
	key := func(b uint64) tree.Key { return blockKey(s.ino, b) }
	if dead.empty() {
		return im.tree.Prepare(key(chunkStart(s.from)), key(chunkEnd(s.to)))
	}
	if err := im.tree.Prepare(key(chunkStart(s.from)), key(dead.from)); err != nil {
		return err
	}
	if err := im.tree.Prepare(key(dead.to), key(chunkEnd(s.to))); err != nil {
		return err
	}
	return im.tree.PrepareRange(key(dead.from), key(dead.to))
}

// blocks returns the range of blocks that a data operation covers.
func blocks(op *oplog.Op) (b, e uint64) {
	return op.Off / BlockSize, (op.Off + op.Len + BlockSize - 1) / BlockSize
}

// apply changes the image by one data operation. It is memory only; an error
// means that the operation contradicts the tree: corruption. It reports the
// range that goes to a dying list.
func (im *image) apply(op *oplog.Op) (dead span, err error) {
	if op.Kind.OnFile() {
		return im.applyFile(op)
	}
	b, e := blocks(op)
	if e*BlockSize > (im.size+BlockSize-1)/BlockSize*BlockSize {
		return dead, fail.New(fail.Corrupt, "%v reaches beyond the volume's %d bytes", op, im.size)
	}
	switch op.Kind {
	case oplog.Write:
		if err := im.cut(span{0, b, e}, op.LSN, len(op.Extents) > 0); err != nil {
			return dead, err
		}
		return dead, im.put(0, b, op)
	case oplog.Trim:
		if dead, err = im.dies(op); err != nil {
			return dead, err
		}
		return dead, im.cutLarge(span{0, b, e}, dead, op.LSN)
	}
	return dead, fail.New(fail.Corrupt, "%v is no data operation", op)
}

// applyFile is apply for an operation on the files of a share.
func (im *image) applyFile(op *oplog.Op) (dead span, err error) {
	effect, err := inode.Apply(im.tree, im.seed, op)
	if err != nil {
		return dead, err
	}
	if effect.Large {
		dead = wholeChunks(cutOf(effect))
	}
	im.inodes += int64(effect.Inodes)
	mapped := im.mapped
	if len(op.Extents) > 0 {
		b, e := blocks(op)
		if op.Kind == oplog.Setattr { // the last block, anew
			b = op.Attr.Size / BlockSize
			e = b + 1
		}
		if err := im.cut(span{op.Ino, b, e}, op.LSN, true); err != nil {
			return dead, err
		}
		if err := im.put(op.Ino, b, op); err != nil {
			return dead, err
		}
	}
	if effect.Cut {
		if err := im.cutLarge(cutOf(effect), dead, op.LSN); err != nil {
			return dead, err
		}
	}
	if gone := effect.Inodes < 0; !gone && (effect.Cut || im.mapped != mapped) {
		return dead, inode.AddBlocks(im.tree, op.Ino, im.mapped-mapped)
	}
	return dead, nil
}

// cutLarge is cut, but for the part that goes to a dying list whole.
func (im *image) cutLarge(s, dead span, lsn uint64) error {
	if dead.empty() {
		return im.cut(s, lsn, false)
	}
	if err := im.cut(span{s.ino, s.from, dead.from}, lsn, false); err != nil {
		return err
	}
	if err := im.cut(span{s.ino, dead.to, s.to}, lsn, false); err != nil {
		return err
	}
	im.tree.DeleteRange(blockKey(s.ino, dead.from), blockKey(s.ino, dead.to))
	return nil
}

// put inserts the extents of a write to file ino, from block b on.
func (im *image) put(ino, b uint64, op *oplog.Op) error {
	for _, ox := range op.Extents {
		n := uint64(len(ox.CRC))
		if b%chunkBlocks+n > chunkBlocks {
			return fail.New(fail.Corrupt, "%v: an extent crosses a border of %d blocks", op, chunkBlocks)
		}
		im.crc = im.crc[:0]
		for _, c := range ox.CRC {
			im.crc = append(im.crc, byte(c), byte(c>>8), byte(c>>16), byte(c>>24))
		}
		x := extent{ino: ino, block: b, addr: ox.Addr, birth: op.LSN, count: n, crc: im.crc}
		im.insert(x)
		im.mapped += int64(n)
		im.own += int64(n)
		b += n
	}
	return nil
}

func (im *image) insert(x extent) {
	im.value = x.appendValue(im.value[:0])
	im.tree.Put(x.key(), im.value)
}

// cut removes the blocks of s from the tree and notes the deaths; extents that
// overlap an end keep their other part. Where put follows at once, an extent that
// begins where s does and ends in it is left for it to replace: entries of one size
// that take each other's places cost the leaf no room, and never a rebuild.
func (im *image) cut(s span, lsn uint64, putFollows bool) error {
	if s.empty() {
		return nil
	}
	if err := im.collect(s); err != nil {
		return err
	}
	for _, x := range im.found {
		from, to := max(x.block, s.from), min(x.end(), s.to)
		there := true
		switch {
		case x.block < from:
			im.insert(x.part(x.block, from))
			if to < x.end() {
				im.insert(x.part(to, x.end()))
			}
		case to < x.end():
			rest := x.part(to, x.end())
			im.value = rest.appendValue(im.value[:0])
			there = im.tree.Move(x.key(), rest.key(), im.value)
		case !putFollows || x.block > s.from:
			there = im.tree.Delete(x.key())
		}
		if !there {
			return fail.New(fail.Corrupt, "block %d vanished from its tree", x.block)
		}
		im.mapped -= int64(to - from)
		if x.birth >= im.since {
			im.own -= int64(to - from)
		}
		if im.led != nil {
			im.led.drop(x.part(from, to), lsn)
		}
	}
	return nil
}

// collect copies the extents that overlap s into im.found.
func (im *image) collect(s span) error {
	im.found, im.crc = im.found[:0], im.crc[:0]
	var bad error
	err := im.tree.ScanOver(blockKey(s.ino, chunkStart(s.from)), blockKey(s.ino, s.from), blockKey(s.ino, s.to), func(k tree.Key, v []byte) bool {
		x, err := parseExtent(k, v)
		if err != nil {
			bad = err
			return false
		}
		if x.end() <= s.from {
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
