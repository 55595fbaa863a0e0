package segment

import (
	"encoding/binary"

	"varve/internal/segstore"
)

// The hint of the store names a super root frame that was durable when the
// hint was set. It may be older than the newest; it is never the only witness:
//
//	 0   8  magic "varvhint"
//	 8  16  pool id
//	24  16  incarnation that wrote the frame
//	40  28  its position
//	68   4  CRC32C of all before
type hint struct {
	Position
	incarnation [16]byte
}

const (
	hintMagic = "varvhint"
	hintSize  = 72
)

func setHint(s segstore.Store, pool, incarnation [16]byte, p Position) error {
	b := append(make([]byte, 0, hintSize), hintMagic...)
	b = append(b, pool[:]...)
	b = append(b, incarnation[:]...)
	b = p.Append(b)
	return s.SetHint(binary.LittleEndian.AppendUint32(b, Checksum(b)))
}

// readHint returns the hint if there is one for this pool. A hint that cannot
// be read is no hint.
func readHint(s segstore.Store, pool [16]byte) (hint, bool) {
	b, err := s.Hint()
	if err != nil || len(b) != hintSize || string(b[:8]) != hintMagic || [16]byte(b[8:]) != pool ||
		binary.LittleEndian.Uint32(b[68:]) != Checksum(b[:68]) {
		return hint{}, false
	}
	return hint{Position: ParsePosition(b[40:]), incarnation: [16]byte(b[24:])}, true
}
