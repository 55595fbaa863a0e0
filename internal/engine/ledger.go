package engine

import (
	"encoding/binary"

	"varve/internal/fail"
	"varve/internal/tree"
)

// deathKind says what died.
type deathKind uint8

const (
	dataDeath deathKind = 1 // payload blocks of a file or volume
	nodeDeath deathKind = 2 // one tree node
	asideNode deathKind = 3 // one tree node that only a root aside has: it lives at that moment alone
)

// death records that the blocks at addr, which lived on a line since birth,
// are out of its tree from operation death on. Where the birth is not after
// the moment that the line forked at, they belong to an ancestor.
type death struct {
	kind  deathKind
	count uint16 // blocks
	addr  uint64
	birth uint64
	death uint64
}

// sane tells what can be a death from what cannot.
func (d death) sane() bool {
	return d.addr != 0 && d.count != 0 && d.birth <= d.death && d.kind >= dataDeath && d.kind <= asideNode
}

// ledger collects the deaths of one line since its last checkpoint, in the
// order they happen; the next one files them: see estate.
type ledger struct {
	fork   uint64 // births up to it are an ancestor's
	deaths []death
	blocks int64 // own data among them
}

func (l *ledger) drop(x extent, lsn uint64) {
	l.add(death{kind: dataDeath, count: uint16(x.count), addr: x.addr, birth: x.birth, death: lsn})
}

func (l *ledger) add(x death) {
	if x.birth > l.fork {
		l.blocks += int64(x.count)
	}
	l.deaths = append(l.deaths, x)
}

func (l *ledger) dropNode(d tree.Drop) {
	l.deaths = append(l.deaths, death{kind: nodeDeath, count: 1, addr: d.Addr, birth: d.Birth, death: d.Death})
}

// A death page is one block of payload kind Deaths:
//
//	0   magic "vDTH"
//	4   count u16 | zero u16
//	8   dataset id u64
//	16  count * death, 28 bytes each:
//	    0  addr u64
//	    8  birth u64
//	    16 death u64
//	    24 blocks u16 | kind u8 | zero u8
//
// little endian, the rest zero.
const (
	deathMagic    = 0x48544476
	deathHeader   = 16
	deathSize     = 28
	deathsPerPage = (BlockSize - deathHeader) / deathSize
)

// encodeDeaths fills one page and returns how many deaths it took.
func encodeDeaths(page []byte, dataset uint64, ds []death) int {
	n := min(len(ds), deathsPerPage)
	clear(page)
	binary.LittleEndian.PutUint32(page, deathMagic)
	binary.LittleEndian.PutUint16(page[4:], uint16(n))
	binary.LittleEndian.PutUint64(page[8:], dataset)
	for i, d := range ds[:n] {
		p := page[deathHeader+i*deathSize:]
		binary.LittleEndian.PutUint64(p, d.addr)
		binary.LittleEndian.PutUint64(p[8:], d.birth)
		binary.LittleEndian.PutUint64(p[16:], d.death)
		binary.LittleEndian.PutUint16(p[24:], d.count)
		p[26] = byte(d.kind)
	}
	return n
}

// decodeDeaths appends the deaths of one page to dst. The page names the dataset
// that wrote it; its run may be another's meanwhile, which absorbed that one, and
// has the page's checksum.
func decodeDeaths(dst []death, page []byte) ([]death, error) {
	if len(page) != BlockSize || binary.LittleEndian.Uint32(page) != deathMagic {
		return dst, fail.New(fail.Corrupt, "not a death page")
	}
	n := int(binary.LittleEndian.Uint16(page[4:]))
	if n == 0 || n > deathsPerPage {
		return dst, fail.New(fail.Corrupt, "death page of %d entries", n)
	}
	for i := range n {
		p := page[deathHeader+i*deathSize:]
		d := death{
			addr: binary.LittleEndian.Uint64(p), birth: binary.LittleEndian.Uint64(p[8:]),
			death: binary.LittleEndian.Uint64(p[16:]), count: binary.LittleEndian.Uint16(p[24:]),
			kind: deathKind(p[26]),
		}
		if !d.sane() || p[27] != 0 {
			return dst, fail.New(fail.Corrupt, "death page entry %d makes no sense", i)
		}
		dst = append(dst, d)
	}
	return dst, nil
}
