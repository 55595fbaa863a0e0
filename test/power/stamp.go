package power

import (
	"encoding/binary"
	"fmt"
)

// unitSize is the granule that the test keeps account of, in bytes: smaller
// than the server's block, so that merged edge blocks are checked too.
const unitSize = 512

// opID names one request that changed something. 0 is nobody: zeros. IDs rise
// in the order of sending and are never used twice.
type opID uint64

// stamp fills one unit so that it says which request wrote it and where it
// belongs, and so that no mixture of two stamps passes for either.
func stamp(p []byte, vol int, unit uint64, id opID) {
	binary.LittleEndian.PutUint64(p, uint64(id))
	binary.LittleEndian.PutUint64(p[8:], place(vol, unit))
	x := seed(vol, unit, id)
	for i := 16; i < unitSize; i += 8 {
		x = mix(x)
		binary.LittleEndian.PutUint64(p[i:], x)
	}
}

// identify tells whose stamp a unit bears: 0 for zeros, an error for anything
// that no request wrote there.
func identify(p []byte, vol int, unit uint64) (opID, error) {
	id := opID(binary.LittleEndian.Uint64(p))
	if id == 0 {
		for i := 0; i < unitSize; i += 8 {
			if binary.LittleEndian.Uint64(p[i:]) != 0 {
				return 0, fmt.Errorf("garbage at byte %d of a unit that begins like zeros", i)
			}
		}
		return 0, nil
	}
	if got := binary.LittleEndian.Uint64(p[8:]); got != place(vol, unit) {
		return 0, fmt.Errorf("holds op %d of volume %d unit %d", id, got>>48, got<<16>>16)
	}
	x := seed(vol, unit, id)
	for i := 16; i < unitSize; i += 8 {
		x = mix(x)
		if binary.LittleEndian.Uint64(p[i:]) != x {
			return 0, fmt.Errorf("stamp of op %d is torn at byte %d", id, i)
		}
	}
	return id, nil
}

func place(vol int, unit uint64) uint64 { return uint64(vol)<<48 | unit }

func seed(vol int, unit uint64, id opID) uint64 {
	return place(vol, unit)*0x9e3779b97f4a7c15 + uint64(id)
}

// mix is one step of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
