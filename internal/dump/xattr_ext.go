package dump

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
)

/*
Linux has the extended attributes of an inode in an inode of their own that follows
it: same number and mode, FlagXattrs, Xattr = 3, and as data a block of attributes
as ext has it. Little endian:

	 0 magic 0xEA020000 u32, references u32 (1), blocks u32 (1), hash u32, 16 bytes
	32 entries: length of the name u8 | its prefix u8 | offset of the value u16 |
	            inode u32 | length of the value u32 | hash u32 | rest of the name, up to a multiple of 4
	   4 zero bytes
	   values, up to a multiple of 4, the first one at the end

No attributes on directories: Debian's restore does not expect them there.
*/
const (
	extMagic = 0xEA020000
	extHead  = 32
	maxExt   = 64 << 10 // what Debian's restore has room for; offsets have 16 bits
)

type extEntry struct {
	index byte
	name  string
	value []byte
}

func (e *extEntry) bytes() int { return (16+len(e.name)+3)&^3 + (len(e.value)+3)&^3 }

// extEntries turns attributes into entries in the order of ext, and counts those
// that have no place in one block, or no name there.
func extEntries(xs []Xattr) (list []extEntry, bytes, lost int) {
	bytes = extHead + 4
	for _, x := range xs {
		e, ok := extEntryOf(x)
		if !ok || bytes+e.bytes() > maxExt {
			lost++
			continue
		}
		bytes += e.bytes()
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b extEntry) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(len(a.name), len(b.name)), strings.Compare(a.name, b.name))
	})
	return list, bytes, lost
}

func extEntryOf(x Xattr) (extEntry, bool) {
	for _, index := range [...]byte{ExtACL, ExtDefaultACL, 1, 4, 6, 7} {
		name, ok := strings.CutPrefix(x.Name, extPrefixes[index])
		isACL := index == ExtACL || index == ExtDefaultACL
		if !ok || isACL != (name == "") || len(name) > 255 {
			continue
		}
		value := x.Value
		if isACL {
			if value, ok = extACL(value); !ok {
				return extEntry{}, false
			}
		}
		return extEntry{index, name, value}, true
	}
	return extEntry{}, false
}

// extACL turns an ACL as getxattr(2) returns it into that of an ext block, in which
// entries without an id are shorter.
func extACL(v []byte) ([]byte, bool) {
	const user, group = 2, 8
	if len(v) < 4 || len(v)%8 != 4 || binary.LittleEndian.Uint32(v) != 2 {
		return nil, false
	}
	out := binary.LittleEndian.AppendUint32(nil, 1)
	for v = v[4:]; len(v) > 0; v = v[8:] {
		out = append(out, v[:4]...)
		if tag := binary.LittleEndian.Uint16(v); tag == user || tag == group {
			out = append(out, v[4:8]...)
		}
	}
	return out, true
}

// extBlock makes the block of entries, of so many bytes up to a multiple of a
// record.
func extBlock(list []extEntry, size int) []byte {
	le := binary.LittleEndian
	b := make([]byte, (size+RecordSize-1)/RecordSize*RecordSize)
	le.PutUint32(b, extMagic)
	le.PutUint32(b[4:], 1)
	le.PutUint32(b[8:], 1)
	at, value := extHead, len(b)
	for _, e := range list {
		value -= (len(e.value) + 3) &^ 3
		copy(b[value:], e.value)
		b[at], b[at+1] = byte(len(e.name)), e.index
		if len(e.value) > 0 {
			le.PutUint16(b[at+2:], uint16(value))
		}
		le.PutUint32(b[at+8:], uint32(len(e.value)))
		le.PutUint32(b[at+12:], e.hash())
		copy(b[at+16:], e.name)
		at += (16 + len(e.name) + 3) &^ 3
	}
	return b
}

// hash is ext's hash of an entry.
func (e *extEntry) hash() uint32 {
	var h uint32
	for i := range len(e.name) {
		h = h<<5 ^ h>>27 ^ uint32(e.name[i])
	}
	padded := append(bytes.Clone(e.value), 0, 0, 0)
	for v := padded[:(len(e.value)+3)&^3]; len(v) > 0; v = v[4:] {
		h = h<<16 ^ h>>16 ^ binary.LittleEndian.Uint32(v)
	}
	return h
}

// linuxXattrs adds the extended attributes of an inode as Linux has them.
func (p *packer) linuxXattrs(b *batch, h *Header, i *Inode) error {
	xs, err := p.s.Xattrs(p.ctx, i)
	if err != nil {
		return err
	}
	if i.IsDir() {
		b.xattrs += len(xs)
		return nil
	}
	list, size, lost := extEntries(xs)
	b.xattrs += lost
	if len(list) == 0 {
		return nil
	}
	block := extBlock(list, size)
	h.Type, h.Size, h.Flags, h.Xattr = TypeInode, uint64(len(block)), h.Flags|FlagXattrs, XattrsExt
	h.Special &^= TailHole
	p.bytes(b, h, block, nil)
	return nil
}

// linuxXattrRecords is how many records linuxXattrs adds.
func linuxXattrRecords(i *Inode, xs []Xattr) uint64 {
	list, size, _ := extEntries(xs)
	if i.IsDir() || len(list) == 0 {
		return 0
	}
	return 1 + records(uint64(size))
}
