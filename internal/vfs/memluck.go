package vfs

import (
	"math/bits"
	"math/rand/v2"
)

// luck decides, in one crash, which unsynced sectors survive. Its answers
// depend only on what it is asked, never on the order of questions.
type luck struct {
	seed uint64
	way  way
	odds uint64 // of 1<<32
	cut  uint64 // for inOrder: the write that the power interrupted
}

// way is a manner in which disks lose data.
type way uint8

const (
	keepNone  way = iota
	keepAll       // but without the order that syncs would give
	bySector      // each sector by itself
	byWrite       // some writes whole, some not at all, some torn
	byFile        // everything of a file or nothing
	inOrder       // all before one write, nothing after it
	waysCount int = iota
)

// newLuck draws the luck of a crash whose unsynced writes are numbered first
// to last, with gaps.
func newLuck(rng *rand.Rand, first, last uint64) luck {
	return luck{
		seed: rng.Uint64(),
		way:  way(rng.IntN(waysCount)),
		odds: rng.Uint64() >> 32,
		cut:  first + rng.Uint64N(last-first+1),
	}
}

// sectors returns a bit for each sector of a page that survives of one change
// of a write.
func (l luck) sectors(file, write, change uint64) uint8 {
	switch l.way {
	case keepAll:
		return allSectors
	case bySector:
		return l.torn(file, change)
	case byWrite:
		return l.whole(file, write, l.torn(file, change))
	case byFile:
		if l.hash(file)>>32 < l.odds {
			return allSectors
		}
	case inOrder:
		switch {
		case write < l.cut:
			return allSectors
		case write == l.cut:
			return l.torn(file, change)
		}
	}
	return 0
}

// whole returns all sectors, none, or torn, by the odds for a whole write.
func (l luck) whole(file, write uint64, torn uint8) uint8 {
	switch h := l.hash(file, write); {
	case h&7 == 0:
		return torn
	case h>>32 < l.odds:
		return allSectors
	}
	return 0
}

// torn returns any set of sectors, each by the odds.
func (l luck) torn(file, change uint64) uint8 {
	var set uint8
	for s := range uint64(8) {
		if l.hash(file, change, s+1)>>32 < l.odds {
			set |= 1 << s
		}
	}
	return set
}

// between returns a size from low to high.
func (l luck) between(file uint64, low, high int64) int64 {
	h := l.hash(file, 1<<63)
	switch span := uint64(high - low); {
	case l.way == keepAll || l.way == inOrder || h&3 == 0:
		return high
	case h&3 == 1 || span == 0:
		return low
	default:
		return low + int64(h>>2%(span+1))
	}
}

// hash mixes the seed with what is asked.
func (l luck) hash(parts ...uint64) uint64 {
	h := l.seed
	for _, p := range parts {
		h ^= bits.RotateLeft64(h, 25) + p*0x9e3779b97f4a7c15
		h *= 0xd6e8feb86659fd93
		h ^= h >> 32
	}
	return h
}
