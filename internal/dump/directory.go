package dump

import (
	"context"
	"encoding/binary"

	"varve/internal/fail"
)

// dirBlock is what no entry of a directory in an archive crosses: bytes.
const dirBlock = 512

// maxDirectory bounds the directory that is made in memory: bytes. It has room for
// some ten million names.
const maxDirectory = 1 << 29

/*
directory builds a directory as an archive has it:

	ino u32 | length of the entry u16 | type u8 | length of the name u8 | name | 0

An entry is a multiple of 4 bytes. The last one in a block reaches to its end.
*/
type directory struct {
	buf  []byte
	last int // where the last entry begins
}

func (d *directory) add(e Entry) error {
	n := (8 + len(e.Name) + 1 + 3) &^ 3
	at := len(d.buf)
	if at%dirBlock == 0 || at%dirBlock+n > dirBlock {
		d.stretch()
		at = len(d.buf)
	}
	if at+n > maxDirectory {
		return fail.New(fail.TooBig, "a directory has more than %d bytes of names", maxDirectory)
	}
	d.last = at
	d.buf = append(d.buf, make([]byte, n)...)
	b := d.buf[at:]
	binary.LittleEndian.PutUint32(b, e.Ino)
	binary.LittleEndian.PutUint16(b[4:], uint16(n))
	b[6], b[7] = e.Type, byte(len(e.Name))
	copy(b[8:], e.Name)
	return nil
}

// stretch lets the last entry reach to the end of its block.
func (d *directory) stretch() {
	rest := -len(d.buf) & (dirBlock - 1)
	if rest == 0 {
		return
	}
	d.buf = append(d.buf, make([]byte, rest)...)
	binary.LittleEndian.PutUint16(d.buf[d.last+4:], uint16(len(d.buf)-d.last))
}

// dirType is a directory's type in an entry.
const dirType = ModeDir >> 12

// read fills d with the names of a directory that are of inodes in use; others, of
// which a damaged file system may have some, are counted.
func (d *directory) read(ctx context.Context, s Source, dir *Inode, used *Map) (lost int, err error) {
	d.buf = d.buf[:0]
	parent, err := s.Parent(ctx, dir)
	if err != nil {
		return 0, err
	}
	for _, e := range [...]Entry{{dir.Ino, dirType, "."}, {parent, dirType, ".."}} {
		if err := d.add(e); err != nil {
			return 0, err
		}
	}
	err = s.Entries(ctx, dir, func(e Entry) error {
		if !used.Has(e.Ino) {
			lost++
			return nil
		}
		return d.add(e)
	})
	d.stretch()
	return lost, err
}
