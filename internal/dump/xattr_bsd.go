package dump

import (
	"encoding/binary"
	"strings"
)

/*
appendBSD appends extended attributes as a FreeBSD archive has them after the data
of an inode. One attribute, whose length covers it whole:

	length u32 | namespace u8 (1 user, 2 system) | padding of the value u8 | length of the name u8
	name, up to a multiple of 8 | value, up to a multiple of 8

What Linux knows and FreeBSD does not, security.* and trusted.*, goes into the
system namespace with its whole name, as system.* does without its prefix: a name
there that begins with neither is FreeBSD's own.
*/
func appendBSD(dst []byte, xs []Xattr) []byte {
	for _, x := range xs {
		space, name := byte(2), x.Name
		if after, ok := strings.CutPrefix(name, "user."); ok {
			space, name = 1, after
		} else if after, ok := strings.CutPrefix(name, "system."); ok {
			name = after
		}
		if name == "" || len(name) > 255 {
			continue
		}
		head := (7 + len(name) + 7) &^ 7
		value := (len(x.Value) + 7) &^ 7
		at := len(dst)
		dst = append(dst, make([]byte, head+value)...)
		binary.LittleEndian.PutUint32(dst[at:], uint32(head+value))
		dst[at+4], dst[at+5], dst[at+6] = space, byte(value-len(x.Value)), byte(len(name))
		copy(dst[at+7:], name)
		copy(dst[at+head:], x.Value)
	}
	return dst
}
