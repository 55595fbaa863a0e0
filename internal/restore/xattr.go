package restore

import (
	"encoding/binary"
	"fmt"
	"strings"

	"varve/internal/dump"
)

// Limits of Linux (xattr(7)): bytes.
const (
	maxXattrName  = 255
	maxXattrValue = 64 << 10
)

// Marks of the two forms in which ext file systems keep extended attributes.
const (
	extBlockMagic = 0xea020000 // a block: offsets count from its beginning
	extBodyMagic  = 0xea020001 // within an inode: they count from the first entry
)

// extXattrs reads what an ext file system has of extended attributes, always
// little-endian:
//
//	magic u32 | block: refcount, blocks, hash, checksum, ... up to 32 bytes | entries
//	entry: name length u8, index u8, value offset u16, value inode u32, value size u32, hash u32, name, up to 4
//	an entry of four zero bytes ends them
func extXattrs(b []byte) (list []dump.Xattr, lost []string) {
	if len(b) < 8 {
		return nil, []string{"extended attributes, which are cut off"}
	}
	at, base := 32, 0
	switch magic := binary.LittleEndian.Uint32(b); magic {
	case extBlockMagic:
	case extBodyMagic:
		at, base = 4, 4
	default:
		return nil, []string{fmt.Sprintf("extended attributes, which begin with the unknown magic %#x", magic)}
	}
	for at+16 <= len(b) && binary.LittleEndian.Uint32(b[at:]) != 0 {
		e := b[at:]
		n := int(e[0])
		if 16+n > len(e) {
			return list, append(lost, "extended attributes, of which an entry is cut off")
		}
		name, ok := extName(e[1], string(e[16:16+n]))
		offset, inode, size := int(binary.LittleEndian.Uint16(e[2:])), binary.LittleEndian.Uint32(e[4:]), uint64(binary.LittleEndian.Uint32(e[8:]))
		switch {
		case !ok:
			lost = append(lost, fmt.Sprintf("an extended attribute with the name %.64q of class %d", e[16:16+n], e[1]))
		case inode != 0:
			lost = append(lost, fmt.Sprintf("extended attribute %q, whose value is in inode %d, which is not in the archive", name, inode))
		case uint64(base+offset)+size > uint64(len(b)):
			lost = append(lost, fmt.Sprintf("extended attribute %q, whose value is cut off", name))
		default:
			list, lost = extValue(list, lost, name, b[base+offset:base+offset+int(size)])
		}
		at += (16 + n + 3) &^ 3
	}
	return list, lost
}

// extName makes the name of an attribute of its index and the rest.
func extName(index uint8, rest string) (string, bool) {
	prefix := dump.ExtPrefix(index)
	return prefix + rest, prefix != "" && goodXattrName(prefix+rest)
}

func goodXattrName(name string) bool {
	_, rest, ok := strings.Cut(name, ".")
	return ok && rest != "" && len(name) <= maxXattrName && !strings.Contains(name, "\x00")
}

// extValue appends an attribute, whose value is copied.
func extValue(list []dump.Xattr, lost []string, name string, v []byte) ([]dump.Xattr, []string) {
	if strings.HasPrefix(name, "system.posix_acl_") {
		acl, ok := extACL(v)
		if !ok {
			return list, append(lost, fmt.Sprintf("the ACL %q, which is damaged", name))
		}
		return append(list, dump.Xattr{Name: name, Value: acl}), lost
	}
	return append(list, dump.Xattr{Name: name, Value: append([]byte(nil), v...)}), lost
}

// extACL turns an ACL as ext keeps it into what setxattr(2) takes: version 1 with
// entries {tag u16, permissions u16, id u32 only for named users and groups} into
// version 2, where all have an id.
func extACL(b []byte) ([]byte, bool) {
	if len(b) < 4 {
		return nil, false
	}
	if binary.LittleEndian.Uint32(b) == 2 {
		return append([]byte(nil), b...), (len(b)-4)%8 == 0
	}
	if binary.LittleEndian.Uint32(b) != 1 {
		return nil, false
	}
	out := binary.LittleEndian.AppendUint32(nil, 2)
	for b = b[4:]; len(b) > 0; {
		if len(b) < 4 {
			return nil, false
		}
		id, n := uint32(0xffffffff), 4
		if tag := binary.LittleEndian.Uint16(b); tag == 2 || tag == 8 { // a named user, a named group
			if len(b) < 8 {
				return nil, false
			}
			id, n = binary.LittleEndian.Uint32(b[4:]), 8
		}
		out = append(out, b[:4]...)
		out = binary.LittleEndian.AppendUint32(out, id)
		b = b[n:]
	}
	return out, true
}

// Namespaces of UFS.
const (
	ufsUser   = 1
	ufsSystem = 2
)

// ufsXattrs reads the extended attributes of UFS2:
//
//	length u32 of the whole, namespace u8, padding u8 of the value, name length u8,
//	name, up to 8, value, padding
//
// An attribute of the namespace system whose name begins with "security." or
// "trusted." is one of Linux.
func ufsXattrs(b []byte, o binary.ByteOrder) (list []dump.Xattr, lost []string) {
	for len(b) >= 8 {
		size, space, pad, n := o.Uint32(b), b[4], int(b[5]), int(b[6])
		if size == 0 {
			break
		}
		value := (7 + n + 7) &^ 7
		if uint64(size) > uint64(len(b)) || uint64(size) < uint64(value+pad) {
			return list, append(lost, "extended attributes, of which one has a length that cannot be")
		}
		name := string(b[7 : 7+n])
		switch {
		case space == ufsUser:
			name = "user." + name
		case space == ufsSystem && (strings.HasPrefix(name, "security.") || strings.HasPrefix(name, "trusted.")):
		default:
			name = "system." + name
		}
		if space != ufsUser && space != ufsSystem || !goodXattrName(name) {
			lost = append(lost, fmt.Sprintf("an extended attribute with the name %.64q of namespace %d", b[7:7+n], space))
		} else {
			list = append(list, dump.Xattr{Name: name, Value: append([]byte(nil), b[value:int(size)-pad]...)})
		}
		b = b[size:]
	}
	return list, lost
}
