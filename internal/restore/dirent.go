package restore

import (
	"encoding/binary"
	"strings"
)

// dirBlock is the unit of a directory's data: no entry crosses its border. Bytes.
const dirBlock = 512

// direntHead is what an entry has before its name: bytes.
const direntHead = 8

// entry is one name in a directory of an archive.
type entry struct {
	ino  uint32
	kind uint8 // Mode>>12 of what it names, or 0
	name string
}

// dirents reads directories, whose data come in pieces of whole blocks:
//
//	inode u32 | length of the entry u16 | type u8 | length of the name u8 | name, NUL
//
// Inode 0 is an entry that is free.
type dirents struct {
	order binary.ByteOrder
	fn    func(entry) error
	bad   func(what string)
}

func (d *dirents) read(p []byte) error {
	for len(p) > 0 {
		n := min(dirBlock, len(p))
		if err := d.block(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

func (d *dirents) block(p []byte) error {
	for len(p) >= direntHead {
		ino, size, kind, n := d.order.Uint32(p), int(d.order.Uint16(p[4:])), p[6], int(p[7])
		if size < direntHead || size > len(p) || size%4 != 0 || direntHead+n > size {
			d.bad("a part of a directory that makes no sense")
			return nil
		}
		name := string(p[direntHead : direntHead+n])
		p = p[size:]
		if ino == 0 || name == "." || name == ".." {
			continue
		}
		if !goodName(name) {
			d.bad("the name " + quote(name) + ", which cannot be one")
			continue
		}
		if err := d.fn(entry{ino, kind, name}); err != nil {
			return err
		}
	}
	return nil
}

// goodName reports whether a name is one that a directory can hold.
func goodName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= 255 && !strings.ContainsAny(name, "/\x00")
}
