package ufs

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"

	"varve/internal/dump"
)

// The xattrs of UFS2 lie in up to two blocks of their own, one after the other: 0
// length u32 of all of it, 4 namespace u8, 5 padding after the value u8, 6 length of the
// name u8, 7 name; the value begins at the next multiple of 8.
const (
	xattrHeader = 7
	spaceUser   = 1
	spaceSystem = 2
)

// Xattrs implements dump.Source.
func (f *FS) Xattrs(ctx context.Context, i *dump.Inode) ([]dump.Xattr, error) {
	r, err := f.rawOf(ctx, i)
	if err != nil || r.xattrSize() == 0 {
		return nil, err
	}
	p, err := f.xattrArea(ctx, i.Ino, r)
	if err != nil {
		return nil, err
	}
	var list []dump.Xattr
	for at := 0; at < len(p); {
		if at+8 > len(p) {
			return nil, corrupt("inode %d has %d bytes left after its last extended attribute", i.Ino, len(p)-at)
		}
		length, pad, name := int(f.super.order.Uint32(p[at:])), int(p[at+5]), int(p[at+6])
		value := (xattrHeader + name + 7) &^ 7
		if length%8 != 0 || length > len(p)-at || value+pad > length || name == 0 {
			return nil, corrupt("inode %d has at offset %d an extended attribute of %d bytes, with a name of %d and %d of padding", i.Ino, at, length, name, pad)
		}
		x, err := f.xattr(i, p[at+4], string(p[at+xattrHeader:at+xattrHeader+name]), p[at+value:at+length-pad])
		if err != nil {
			return nil, err
		}
		list = append(list, x)
		at += length
	}
	slices.SortFunc(list, func(a, b dump.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// xattrArea reads the blocks of xattrs.
func (f *FS) xattrArea(ctx context.Context, ino uint32, r inode) ([]byte, error) {
	size := r.xattrSize()
	if size > 2*f.super.bsize {
		return nil, corrupt("inode %d says that it has %d bytes of extended attributes", ino, size)
	}
	p := make([]byte, size)
	for i := uint64(0); i*f.super.bsize < size; i++ {
		at := r.u64(96 + 8*int(i))
		if at == 0 || at >= f.super.size {
			return nil, corrupt("inode %d has extended attributes in fragment %d of %d", ino, at, f.super.size)
		}
		part := p[i*f.super.bsize : min(size, (i+1)*f.super.bsize)]
		if err := f.readAt(ctx, part, at*f.super.fsize); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// xattr gives an attribute Linux's name, and an access control list Linux's form.
func (f *FS) xattr(i *dump.Inode, space byte, name string, value []byte) (dump.Xattr, error) {
	switch {
	case space == spaceUser:
		return dump.Xattr{Name: "user." + name, Value: slices.Clone(value)}, nil
	case space != spaceSystem:
		return dump.Xattr{}, corrupt("inode %d has the extended attribute %q in the namespace %d", i.Ino, name, space)
	case name == "posix1e.acl_access":
		acl, err := f.acl(i, value, true)
		return dump.Xattr{Name: "system.posix_acl_access", Value: acl}, err
	case name == "posix1e.acl_default":
		acl, err := f.acl(i, value, false)
		return dump.Xattr{Name: "system.posix_acl_default", Value: acl}, err
	}
	return dump.Xattr{Name: "system." + name, Value: slices.Clone(value)}, nil
}

// acl converts an access control list to the form of Linux's getxattr(2): version 2
// u32, then tag u16, permissions u16, id u32 for each entry, little-endian. On the disk
// it is a count and up to 32 entries of tag u32, id u32, permissions u16 and 2 bytes;
// the tags have the same numbers. The owner's, the group's or mask's and others'
// permissions of an access list are those of the mode.
func (f *FS) acl(i *dump.Inode, p []byte, access bool) ([]byte, error) {
	const (
		userObj, user, groupObj, group, mask, other = 1, 2, 4, 8, 16, 32
		most, size                                  = 32, 12
	)
	order, le := f.super.order, binary.LittleEndian
	if len(p) < 4 || order.Uint32(p) > most || len(p) < 4+size*int(order.Uint32(p)) {
		return nil, corrupt("inode %d has an access control list of %d bytes in no known form", i.Ino, len(p))
	}
	entries := p[4 : 4+size*int(order.Uint32(p))]
	masked := false
	for e := entries; len(e) > 0; e = e[size:] {
		masked = masked || order.Uint32(e) == mask
	}
	out := le.AppendUint32(nil, 2)
	for e := entries; len(e) > 0; e = e[size:] {
		tag, id, perm := order.Uint32(e), ^uint32(0), order.Uint16(e[8:])
		shift := -1 // of the permissions in the mode
		switch {
		case tag == user || tag == group:
			id = order.Uint32(e[4:])
		case tag == userObj:
			shift = 6
		case tag == mask || tag == groupObj && !masked:
			shift = 3
		case tag == other:
			shift = 0
		case tag != groupObj:
			return nil, corrupt("inode %d has an access control list with an entry of kind %#x", i.Ino, tag)
		}
		if access && shift >= 0 {
			perm = uint16(i.Mode>>shift) & 7
		}
		out = le.AppendUint32(le.AppendUint16(le.AppendUint16(out, uint16(tag)), perm&7), id)
	}
	return out, nil
}
