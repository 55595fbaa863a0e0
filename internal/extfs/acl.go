package extfs

import "encoding/binary"

// acl converts an access control list from its form on the disk to that of
// getxattr(2), both little-endian:
//
//	disk   version 1 u32, then  tag u16, permissions u16, and the id u32 only of users and groups
//	Linux  version 2 u32, then  tag u16, permissions u16, id u32, which is ^0 where it means nothing
func (x *xattrReader) acl(p []byte) ([]byte, error) {
	const (
		userObj, user, groupObj, group, mask, other = 1, 2, 4, 8, 16, 32
		noID                                        = ^uint32(0)
	)
	le := binary.LittleEndian
	if len(p) < 4 || le.Uint32(p) != 1 {
		return nil, corrupt("inode %d has an access control list of %d bytes in no known form", x.ino, len(p))
	}
	out := le.AppendUint32(make([]byte, 0, 2*len(p)), 2)
	for p = p[4:]; len(p) > 0; {
		if len(p) < 4 {
			return nil, corrupt("inode %d has an access control list that is cut off", x.ino)
		}
		tag, id, size := le.Uint16(p), noID, 4
		switch tag {
		case userObj, groupObj, mask, other:
		case user, group:
			if len(p) < 8 {
				return nil, corrupt("inode %d has an access control list that is cut off", x.ino)
			}
			id, size = le.Uint32(p[4:]), 8
		default:
			return nil, corrupt("inode %d has an access control list with an entry of kind %#x", x.ino, tag)
		}
		out = le.AppendUint32(append(out, p[:4]...), id)
		p = p[size:]
	}
	return out, nil
}
