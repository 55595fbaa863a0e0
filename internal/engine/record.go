package engine

import (
	"encoding/binary"
	"time"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/segment"
	"varve/internal/tree"
	"varve/internal/varint"
)

// Items of the pool tree. The key is  tag u8 | dataset 7 bytes | number u64,
// big endian; u below is an unsigned varint, s a string (length u | bytes).
//
//	D dataset  0          kind u8 | name s | created lsn u, time u | parent u | fork u |
//	                      absorbed u8 | destroyed lsn u, time u | gone u8 |
//	                      horizon lsn u, time u | changed u | seed u64 | next inode u | figures |
//	                      death runs u | tree ref 20
//	P dataset  set by     (or 2^63 + i, of the i-th that a clone was made with) key s | value s
//	T dataset  piece      up to 768 bytes of what a front end keeps
//	S dataset  id         name s | moment u | time u | of the moment u | guard u8 | kept u8 | expires u | holds u | each s
//	R dataset  moment     figures | base u8 | plain u8 | aside u8 | position 28 | tree ref 20
//	                      of one aside also: from u | its tree ref 20
//	X dataset  run        list u8 | line u | first pin u | last pin u | deaths u | data u | nodes u (blocks) |
//	                      first u | last u | pages u | addr u | pages * CRC32C u32
//	                      or, with 0 pages, each: kind u8 | blocks u | addr u | birth u | death-birth u
//	Y dataset  id         root moment u | next key 16 | end key 16 | born u | counts u8
//	L dataset  at         root moment u | born u | next key 16
//	N dataset  id         goes on u8 | from aside u8 | parent's dataset u | parent's id u | fork u | fork from u |
//	                      stretches u | each: from u | to u | gaps u | each: from u | to u: the first 20 of each
//	O dataset  i          line's id u | gaps u8 | stretches, or gaps, u | each: from u | to u: the next ones
//	W dataset  id         from u: the operations from that one on, before id, were given up
//	C 0        number     cut u | time u | age u | base u8 | position 28
//	M 0        segment<<8|piece  the blocks that are free: a bit each, low bits first, of 4096
//	G 0        segment    data u | nodes u | deaths u | records u (bytes) | first lsn u | last lsn u |
//	                      first time u | last time u
//	K 0        0          how far the machine's clock is behind, as was confirmed: varint (nanoseconds)
//	V 0        0          write verifier u64 | clean u8
//
// figures: size u | mapped u | own u | rough u8 | inodes u | floor u
const (
	tagProperty   = 'P'
	tagState      = 'T'
	tagVerifier   = 'V'
	tagDataset    = 'D'
	tagSnapshot   = 'S'
	tagRoot       = 'R'
	tagDeaths     = 'X'
	tagDying      = 'Y'
	tagLine       = 'N'
	tagStretches  = 'O' // behind those of the lines
	tagCheckpoint = 'C'
	tagSegment    = 'G'
	tagFree       = 'M'
	tagLeft       = 'L'
	tagClock      = 'K'
	tagLoss       = 'W'
)

func itemKey(tag byte, dataset, number uint64) tree.Key {
	return tree.MakeKey(uint64(tag)<<56|dataset, number)
}

func splitKey(k tree.Key) (tag byte, dataset, number uint64) {
	hi := binary.BigEndian.Uint64(k[:8])
	return byte(hi >> 56), hi & (1<<56 - 1), binary.BigEndian.Uint64(k[8:])
}

// checkpointRecord is a moment of the whole pool that was written out.
type checkpointRecord struct {
	number uint64
	cut    uint64
	time   int64
	age    time.Duration // of the pool, in time that it was served: what history is measured by
	base   bool          // its roots are bases
	pos    segment.Position
}

func putUvarints(dst []byte, vs ...uint64) []byte {
	for _, v := range vs {
		dst = binary.AppendUvarint(dst, v)
	}
	return dst
}

func putBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// datasetFields is what a cut takes of a dataset for its record.
type datasetFields struct {
	figures
	kind               datasetKind
	name               string
	created, destroyed stamp
	parent             uint64
	fork               uint64
	gone, absorbed     bool
	horizon            stamp
	changed            uint64
	seed, nextIno      uint64
}

// fields copies d's fields. d.mu and the gate are held.
func (d *dataset) fields() datasetFields {
	return datasetFields{
		figures: d.head.figures, kind: d.kind, name: d.name, created: d.created, destroyed: d.destroyed,
		parent: d.parent, fork: d.fork, gone: d.gone, absorbed: d.absorbed, horizon: d.horizon,
		changed: d.changed, seed: d.head.seed, nextIno: d.nextIno,
	}
}

func (f datasetFields) record(deathSeq uint64, ref tree.Ref) []byte {
	b := varint.AppendString([]byte{byte(f.kind)}, f.name)
	b = putUvarints(b, f.created.lsn, uint64(f.created.time), f.parent, f.fork)
	b = putUvarints(putBool(b, f.absorbed), f.destroyed.lsn, uint64(f.destroyed.time))
	b = putUvarints(putBool(b, f.gone), f.horizon.lsn, uint64(f.horizon.time), f.changed)
	b = binary.LittleEndian.AppendUint64(b, f.seed)
	b = f.figures.append(putUvarints(b, f.nextIno))
	b = putUvarints(b, deathSeq)
	return ref.Append(b)
}

func (f figures) append(b []byte) []byte {
	b = putBool(putUvarints(b, f.size, uint64(f.mapped), uint64(f.own)), f.rough)
	return putUvarints(b, uint64(f.inodes), uint64(f.floor))
}

func readFigures(r *varint.Reader) figures {
	return figures{
		size: r.Uvarint(), mapped: int64(r.Uvarint()), own: int64(r.Uvarint()), rough: r.Byte() != 0,
		inodes: int64(r.Uvarint()), floor: int64(r.Uvarint()),
	}
}

func parseDataset(id uint64, v []byte) (*dataset, tree.Ref, error) {
	r := varint.Reader{B: v}
	d := &dataset{id: id, kind: datasetKind(r.Byte()), name: r.String(oplog.MaxName)}
	r.Bad = r.Bad || d.kind > shareKind
	d.created = stamp{r.Uvarint(), int64(r.Uvarint())}
	d.parent, d.fork, d.absorbed = r.Uvarint(), r.Uvarint(), r.Byte() != 0
	d.destroyed = stamp{r.Uvarint(), int64(r.Uvarint())}
	d.gone, d.horizon, d.changed = r.Byte() != 0, stamp{r.Uvarint(), int64(r.Uvarint())}, r.Uvarint()
	d.head.seed = uint64(r.Uint32())
	d.head.seed |= uint64(r.Uint32()) << 32
	d.nextIno = r.Uvarint()
	d.head.figures, d.deathSeq = readFigures(&r), r.Uvarint()
	ref := readRef(&r)
	return d, ref, recordEnd(&r, "dataset", id)
}

func snapshotRecord(s *snapshot) []byte {
	b := varint.AppendString(nil, s.name)
	b = putBool(putUvarints(b, s.lsn, uint64(s.time), uint64(s.at)), s.guard)
	b = putUvarints(putBool(b, s.kept), uint64(s.expires), uint64(len(s.holds)))
	for _, h := range s.holds {
		b = varint.AppendString(b, h)
	}
	return b
}

func parseSnapshot(id uint64, v []byte) (*snapshot, error) {
	r := varint.Reader{B: v}
	s := &snapshot{id: id, name: r.String(oplog.MaxName), lsn: r.Uvarint(), time: int64(r.Uvarint()), at: int64(r.Uvarint()), guard: r.Byte() != 0, kept: r.Byte() != 0, expires: int64(r.Uvarint())}
	for n := r.Uvarint(); n > 0 && !r.Bad; n-- {
		s.holds = append(s.holds, r.String(oplog.MaxName))
	}
	return s, recordEnd(&r, "snapshot", id)
}

func rootRecord(rt *root) []byte {
	b := putBool(putBool(putBool(rt.figures.append(nil), rt.base), rt.plain), rt.aside)
	if b = rt.ref.Append(rt.pos.Append(b)); rt.aside {
		b = rt.from.ref.Append(putUvarints(b, rt.from.lsn))
	}
	return b
}

func parseRoot(lsn uint64, v []byte) (*root, error) {
	r := varint.Reader{B: v}
	rt := &root{lsn: lsn, figures: readFigures(&r), base: r.Byte() != 0, plain: r.Byte() != 0, aside: r.Byte() != 0}
	if rt.pos, rt.ref = readPosition(&r), readRef(&r); rt.aside {
		rt.from = &root{lsn: r.Uvarint(), ref: readRef(&r)}
	}
	return rt, recordEnd(&r, "root", lsn)
}

func dyingRecord(y *dying) []byte {
	b := append(append(putUvarints(nil, y.root.lsn), y.next[:]...), y.end[:]...)
	return putBool(putUvarints(b, y.born), y.counts)
}

func parseDying(id uint64, v []byte) (*dying, error) {
	r := varint.Reader{B: v}
	y := &dying{id: id, root: &root{lsn: r.Uvarint()}}
	copy(y.next[:], r.Bytes(len(y.next)))
	copy(y.end[:], r.Bytes(len(y.end)))
	y.born, y.counts = r.Uvarint(), r.Byte() != 0
	return y, recordEnd(&r, "dying list", id)
}

func lineRecord(l *line) []byte {
	var dataset, parent uint64
	if l.parent != nil {
		dataset, parent = l.parent.d.id, l.parent.id
	}
	b := putUvarints(putBool(putBool(nil, l.goesOn), l.fromAside), dataset, parent, l.fork, l.forkFrom)
	b = putStretches(b, l.spans[:min(len(l.spans), stretchesInLine)])
	return putStretches(b, l.gaps[:min(len(l.gaps), stretchesInLine)])
}

// parseLine returns a line and where its parent is.
func parseLine(d *dataset, id uint64, v []byte) (l *line, dataset, parent uint64, err error) {
	r := varint.Reader{B: v}
	l = &line{d: d, id: id, goesOn: r.Byte() != 0, fromAside: r.Byte() != 0}
	dataset, parent, l.fork, l.forkFrom = r.Uvarint(), r.Uvarint(), r.Uvarint(), r.Uvarint()
	l.spans, l.gaps = readStretches(&r), readStretches(&r)
	r.Bad = r.Bad || len(l.spans) == 0
	l.led.fork = l.fork
	l.estate.init()
	return l, dataset, parent, recordEnd(&r, "line", id)
}

func leftRecord(l *leftHead) []byte {
	return append(putUvarints(nil, l.root.lsn, l.born), l.next[:]...)
}

func parseLeft(at uint64, v []byte) (*leftHead, error) {
	r := varint.Reader{B: v}
	l := &leftHead{at: at, root: &root{lsn: r.Uvarint()}, born: r.Uvarint()}
	copy(l.next[:], r.Bytes(len(l.next)))
	return l, recordEnd(&r, "left head", at)
}

func checkpointValue(c checkpointRecord) []byte {
	return c.pos.Append(putBool(putUvarints(nil, c.cut, uint64(c.time), uint64(c.age)), c.base))
}

func parseCheckpoint(number uint64, v []byte) (checkpointRecord, error) {
	r := varint.Reader{B: v}
	c := checkpointRecord{number: number, cut: r.Uvarint(), time: int64(r.Uvarint()), age: time.Duration(r.Uvarint()), base: r.Byte() != 0, pos: readPosition(&r)}
	return c, recordEnd(&r, "checkpoint", number)
}

func usageRecord(u segment.Usage) []byte {
	return putUvarints(nil, uint64(u.Data), uint64(u.Node), uint64(u.Deaths), uint64(u.Record+u.Super),
		u.FirstLSN, u.LastLSN, uint64(u.FirstTime), uint64(u.LastTime))
}

func parseUsage(seg uint64, v []byte) (segment.Usage, error) {
	r := varint.Reader{B: v}
	u := segment.Usage{Segment: seg}
	u.Data, u.Node, u.Deaths, u.Record = int64(r.Uvarint()), int64(r.Uvarint()), int64(r.Uvarint()), int64(r.Uvarint())
	u.FirstLSN, u.LastLSN = r.Uvarint(), r.Uvarint()
	u.FirstTime, u.LastTime = int64(r.Uvarint()), int64(r.Uvarint())
	return u, recordEnd(&r, "segment", seg)
}

func readRef(r *varint.Reader) tree.Ref {
	b := r.Bytes(tree.RefSize)
	if b == nil {
		return tree.Ref{}
	}
	ref, err := tree.ParseRef(b)
	r.Bad = r.Bad || err != nil
	return ref
}

func readPosition(r *varint.Reader) segment.Position {
	b := r.Bytes(segment.PositionSize)
	if b == nil {
		return segment.Position{}
	}
	return segment.ParsePosition(b)
}

func recordEnd(r *varint.Reader, what string, id uint64) error {
	if r.Bad || len(r.B) != 0 {
		return fail.New(fail.Corrupt, "the pool tree's record of %s %d makes no sense", what, id)
	}
	return nil
}

// superRoot is the payload of a super root frame:
//
//	0   magic "vSUP" | version u32
//	8   checkpoint number u64
//	16  cut u64 (LSN)
//	24  time i64 (Unix nanoseconds)
//	32  next dataset id u64
//	40  position to roll forward from, 28 bytes
//	68  pool tree ref, 20 bytes
//	88  age i64 (nanoseconds): how long the pool was served
//	96  time of the last operation before the cut i64 (Unix nanoseconds), 0 if none
//	104 pool tree nodes that died with this checkpoint: count u32 |
//	    each: addr u64 | birth u64. The pool tree counts time in checkpoints
//
// little endian.
type superRoot struct {
	number, cut uint64
	time        int64
	age         time.Duration
	lastTime    int64
	nextDataset uint64
	pos         segment.Position
	pool        tree.Ref
	drops       []tree.Drop
}

const (
	superMagic   = 0x50555376
	superVersion = 3
)

func (s *superRoot) encode() []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, superMagic)
	b = le.AppendUint32(b, superVersion)
	b = le.AppendUint64(b, s.number)
	b = le.AppendUint64(b, s.cut)
	b = le.AppendUint64(b, uint64(s.time))
	b = le.AppendUint64(b, s.nextDataset)
	b = s.pool.Append(s.pos.Append(b))
	b = le.AppendUint64(b, uint64(s.age))
	b = le.AppendUint64(b, uint64(s.lastTime))
	b = le.AppendUint32(b, uint32(len(s.drops)))
	for _, d := range s.drops {
		b = le.AppendUint64(le.AppendUint64(b, d.Addr), d.Birth)
	}
	return b
}

func parseSuperRoot(b []byte) (*superRoot, error) {
	le := binary.LittleEndian
	const fixed = 40 + segment.PositionSize + tree.RefSize + 20
	if len(b) < fixed || le.Uint32(b) != superMagic {
		return nil, fail.New(fail.Corrupt, "super root: not one")
	}
	if v := le.Uint32(b[4:]); v != superVersion {
		return nil, fail.New(fail.Unsupported, "super root of version %d; this varve reads version %d", v, superVersion)
	}
	s := &superRoot{number: le.Uint64(b[8:]), cut: le.Uint64(b[16:]), time: int64(le.Uint64(b[24:])), nextDataset: le.Uint64(b[32:])}
	s.pos = segment.ParsePosition(b[40:])
	var err error
	if s.pool, err = tree.ParseRef(b[40+segment.PositionSize:]); err != nil {
		return nil, err
	}
	s.age, s.lastTime = time.Duration(le.Uint64(b[fixed-20:])), int64(le.Uint64(b[fixed-12:]))
	n := int(le.Uint32(b[fixed-4:]))
	if n > (len(b)-fixed)/16 {
		return nil, fail.New(fail.Corrupt, "super root %d claims %d dropped nodes in %d bytes", s.number, n, len(b))
	}
	for i := range n {
		p := b[fixed+16*i:]
		s.drops = append(s.drops, tree.Drop{Addr: le.Uint64(p), Birth: le.Uint64(p[8:]), Death: s.number})
	}
	return s, nil
}
