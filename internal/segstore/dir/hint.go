package dir

import (
	"encoding/binary"
	"hash/crc32"
	"path/filepath"

	"varve/internal/fail"
	"varve/internal/segstore"
)

// The hint is overwritten in place, in one small write, because a rename for
// each checkpoint would cost more than all hints save. A power failure may
// tear it; then the checksum makes it no hint at all. Little endian:
//
//	0  u32  CRC32C of the rest
//	4  u32  length of the hint
//	8       the hint; what follows it is left from a longer one
const hintHeader = 8

// Hint implements segstore.Store.
func (s *Store) Hint() ([]byte, error) {
	s.metaMu.Lock()
	defer s.metaMu.Unlock()
	b, err := readAll(s.fsys, s.dir, hintName, hintHeader+segstore.MaxHint)
	if err != nil {
		return nil, err
	}
	return decodeHint(b)
}

// SetHint implements segstore.Store.
func (s *Store) SetHint(b []byte) error {
	if err := segstore.CheckHint(b); err != nil {
		return err
	}
	s.metaMu.Lock()
	defer s.metaMu.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	if s.hint == nil {
		f, err := s.fsys.Open(filepath.Join(s.dir, hintName), readWrite|create, 0o600)
		if err != nil {
			return err
		}
		s.hint = f
	}
	_, err := s.hint.WriteAt(encodeHint(b), 0)
	return err
}

func encodeHint(b []byte) []byte {
	out := make([]byte, hintHeader, hintHeader+len(b))
	binary.LittleEndian.PutUint32(out[4:], uint32(len(b)))
	out = append(out, b...)
	binary.LittleEndian.PutUint32(out, crc32.Checksum(out[4:], castagnoli))
	return out
}

func decodeHint(b []byte) ([]byte, error) {
	if len(b) >= hintHeader {
		n := binary.LittleEndian.Uint32(b[4:])
		if uint64(n) <= uint64(len(b)-hintHeader) {
			end := hintHeader + int(n)
			if crc32.Checksum(b[4:end], castagnoli) == binary.LittleEndian.Uint32(b) {
				return b[hintHeader:end], nil
			}
		}
	}
	return nil, fail.New(fail.NotFound, "the hint was torn by a power failure")
}
