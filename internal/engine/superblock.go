package engine

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"varve/internal/bytesize"
	"varve/internal/fail"
	"varve/internal/segment"
	"varve/internal/segstore"
)

// The superblock names the pool; Format writes it, and Reid again.
//
//	0   magic "varve pool\n\0\0\0\0\0"   16 bytes
//	16  format version u32
//	20  CRC32C of the 128 bytes, with this field zero, u32
//	24  compatible features u64           unknown ones: go on
//	32  read-only compatible features u64 unknown ones: only reading is allowed
//	40  incompatible features u64         unknown ones: refused
//	48  pool id 16 bytes
//	64  made at, Unix nanoseconds i64
//	72  segment size u64 (bytes)
//	80  identity 16 bytes: what clients see (disk serials, file handles). The
//	    pool id, which is in every frame, never changes; a copy of a pool that
//	    is served beside its original gets an identity of its own
//	96  zero, to 128
//
// little endian. Magic, version and CRC stay where they are in every version,
// so that a newer pool can be told from a damaged one.
const (
	superblockMagic = "varve pool\n\x00\x00\x00\x00\x00"
	superblockSize  = 128
	formatVersion   = 3
)

// Features this build knows.
const (
	knownCompat   = 0
	knownROCompat = 0
	knownIncompat = 0
)

type superblock struct {
	pool        [16]byte
	made        int64
	segmentSize uint64
	identity    [16]byte
	compat      uint64
	roCompat    uint64
	incompat    uint64
}

func (s *superblock) encode() []byte {
	b := make([]byte, superblockSize)
	le := binary.LittleEndian
	copy(b, superblockMagic)
	le.PutUint32(b[16:], formatVersion)
	le.PutUint64(b[24:], s.compat)
	le.PutUint64(b[32:], s.roCompat)
	le.PutUint64(b[40:], s.incompat)
	copy(b[48:], s.pool[:])
	le.PutUint64(b[64:], uint64(s.made))
	le.PutUint64(b[72:], s.segmentSize)
	copy(b[80:], s.identity[:])
	le.PutUint32(b[20:], segment.Checksum(b))
	return b
}

// parseSuperblock judges what it reads: another version or an unknown feature
// is Unsupported and named. write says whether the pool is to be changed.
func parseSuperblock(b []byte, write bool) (superblock, error) {
	var s superblock
	if len(b) < superblockSize || string(b[:16]) != superblockMagic {
		return s, fail.New(fail.Corrupt, "the superblock is not varve's").WithHint("is this a pool?")
	}
	le := binary.LittleEndian
	sum := le.Uint32(b[20:])
	c := append([]byte(nil), b[:superblockSize]...)
	le.PutUint32(c[20:], 0)
	if segment.Checksum(c) != sum {
		return s, fail.New(fail.Corrupt, "the superblock's checksum does not match")
	}
	if v := le.Uint32(b[16:]); v != formatVersion {
		return s, fail.New(fail.Unsupported, "the pool has format version %d; this varve reads version %d", v, formatVersion).
			WithHint("use the varve that made it, or a newer one")
	}
	s.compat, s.roCompat, s.incompat = le.Uint64(b[24:]), le.Uint64(b[32:]), le.Uint64(b[40:])
	copy(s.pool[:], b[48:])
	s.made, s.segmentSize = int64(le.Uint64(b[64:])), le.Uint64(b[72:])
	copy(s.identity[:], b[80:])
	if x := s.incompat &^ knownIncompat; x != 0 {
		return s, fail.New(fail.Unsupported, "the pool uses incompatible features %#x that this varve does not know", x).WithHint("use a newer varve")
	}
	if x := s.roCompat &^ knownROCompat; x != 0 && write {
		return s, fail.New(fail.Unsupported, "the pool uses features %#x that this varve can only read", x).WithHint("use a newer varve to write")
	}
	return s, nil
}

// name is the identity as people see it.
func (s *superblock) name() string { return PoolName(s.identity) }

// PoolName is how people see the identity of a pool.
func PoolName(p [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", p[:4], p[4:6], p[6:8], p[8:10], p[10:])
}

// MinSegment is the smallest size of a segment: bytes. Frames in it take any
// piece, and one that is full is not mostly headers.
const MinSegment = 512 << 10

// Format makes an empty pool in store, which must have none.
func Format(store segstore.Store, now time.Time, random io.Reader) error {
	if _, err := store.Superblock(); !fail.Is(err, fail.NotFound) {
		if err == nil {
			err = fail.New(fail.Exists, "there is a pool already")
		}
		return err
	}
	if store.SegmentSize() < MinSegment {
		return fail.New(fail.Invalid, "segments of %s are too small; the least is %s", bytesize.Exact(store.SegmentSize()), bytesize.Exact(MinSegment))
	}
	s := superblock{made: now.UnixNano(), segmentSize: uint64(store.SegmentSize())}
	if _, err := io.ReadFull(random, s.pool[:]); err != nil {
		return err
	}
	// Another random number: clients see it, and must not learn the pool id,
	// by which the log knows its own frames from bytes that look like frames.
	if _, err := io.ReadFull(random, s.identity[:]); err != nil {
		return err
	}
	clock := func() time.Time { return now }
	e := newEngine(Options{Store: store, Now: clock, Rand: random})
	defer e.release()
	e.super = s
	log, err := segment.Create(e.segmentOptions())
	if err != nil {
		return err
	}
	e.log = log
	e.pool = e.cache.Open(emptyRef)
	if err := e.writeCheckpoint(e.flip(true)); err != nil {
		log.Abort()
		return err
	}
	if err := log.Close(); err != nil {
		return err
	}
	// Last: a directory without a superblock is no pool.
	return store.WriteSuperblock(s.encode())
}

// Reid gives a pool that nobody serves a new identity: a copy can then be
// served beside its original without clients taking one for the other. It
// returns the new one.
func Reid(store segstore.Store, random io.Reader) (string, error) {
	b, err := store.Superblock()
	if err != nil {
		return "", err
	}
	s, err := parseSuperblock(b, true)
	if err != nil {
		return "", err
	}
	if _, err := io.ReadFull(random, s.identity[:]); err != nil {
		return "", err
	}
	return s.name(), store.WriteSuperblock(s.encode())
}
