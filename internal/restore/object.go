package restore

import (
	"fmt"
	"io"
	"time"

	"varve/internal/dump"
)

// date shows the date of a dump.
func date(sec int64) string {
	if sec == 0 {
		return "the epoch"
	}
	return time.Unix(sec, 0).UTC().Format(time.RFC3339)
}

// Maps reads the maps at the beginning of the archive. One that is damaged stays nil.
func (a *Archive) Maps() error {
	for {
		h, err := a.header()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Type != dump.TypeBits && h.Type != dump.TypeClri {
			a.ahead = h
			return nil
		}
		a.h = *h
		a.h.Ino = 0
		var bits []byte
		err = a.records(int(h.Count), func(p []byte) error {
			bits = append(bits, p...)
			return nil
		})
		if err == errBroken {
			if err := a.hurt(a.s.offset(), "the map of inodes (type %d) is damaged", h.Type); err != nil {
				return err
			}
			continue
		}
		if err != nil && err != io.EOF {
			return err
		}
		if err == io.EOF {
			return nil
		}
		// Whether nothing is missing is known once the next header was found.
		next, err := a.header()
		if err == nil {
			a.ahead = next
		} else if err != io.EOF {
			return err
		}
		switch {
		case a.jumped:
		case h.Type == dump.TypeBits:
			a.Dumped = dump.MapOf(bits)
		default:
			a.Used = dump.MapOf(bits)
		}
	}
}

// Next goes to the next object, past what is left of the last one. io.EOF: there
// is none; see Whole.
func (a *Archive) Next() (*Object, error) {
	if a.unread {
		if _, err := a.Data(func(uint64, []byte) error { return nil }); err != nil {
			return nil, err
		}
	}
	for {
		h, err := a.header()
		if err != nil {
			return nil, err
		}
		at := a.s.offset() - dump.RecordSize
		ok := h.Type == dump.TypeInode && h.Flags&dump.FlagXattrs == 0
		switch {
		case h.Type == dump.TypeEnd:
			a.ended, a.whole = true, true
			return nil, io.EOF
		case ok && a.again(h.Ino):
			err = a.hurt(at, "inode %d comes a second time, which is left out", h.Ino)
			ok = false
		case !ok && !a.jumped && (h.Type != dump.TypeInode || h.Ino != a.h.Ino):
			err = a.hurt(at, "a header of type %d for inode %d, where an inode is expected, is left out", h.Type, h.Ino)
		}
		if err != nil {
			return nil, err
		}
		if !ok {
			if err := a.passOver(h); err != errBroken && err != io.EOF {
				return nil, err
			}
			continue
		}
		a.h, a.unread, a.ext, a.lostExt = *h, true, a.ext[:0], false
		return &Object{Header: *h, Type: uint32(h.Mode) & dump.ModeType}, nil
	}
}

// again notes that an inode comes, and reports whether it came before.
func (a *Archive) again(ino uint32) bool {
	at, bit := int(ino/64), uint64(1)<<(ino%64)
	if at >= len(a.seen) {
		if a.Dumped == nil && at > len(a.seen)+1<<20 {
			return false // no map bounds the numbers: memory is not spent on a wild one
		}
		a.seen = append(a.seen, make([]uint64, at+1-len(a.seen))...)
	}
	if a.seen[at]&bit != 0 {
		return true
	}
	a.seen[at] |= bit
	return false
}

// Data hands the data of the object to fn, in order, without the holes: p is valid
// until fn returns. It returns what could not be read.
func (a *Archive) Data(fn func(off uint64, p []byte) error) (lost []Range, err error) {
	a.unread = false
	h := a.h
	lost, all, err := a.data(&h, fn, a.keepExt)
	a.lostExt = !all || a.lostExt
	return lost, err
}

func (a *Archive) keepExt(p []byte) {
	if len(a.ext)+len(p) > maxXattrs {
		a.lostExt = true
		return
	}
	a.ext = append(a.ext, p...)
}

// Xattrs returns the extended attributes of the object whose data were read, and in
// words what could not be understood of them.
func (a *Archive) Xattrs() (list []dump.Xattr, lost []string, err error) {
	if a.h.ExtSize > 0 && a.h.Magic == dump.MagicUFS2 {
		if !a.lostExt {
			list, lost = ufsXattrs(a.ext[:min(len(a.ext), int(a.h.ExtSize))], a.order)
		} else {
			lost = append(lost, "extended attributes")
		}
	}
	for {
		h, err := a.header()
		if err == io.EOF {
			return list, lost, nil
		}
		if err != nil {
			return nil, nil, err
		}
		if h.Type != dump.TypeInode || h.Flags&dump.FlagXattrs == 0 || h.Ino != a.h.Ino || h.Magic == dump.MagicUFS2 {
			a.ahead = h
			return list, lost, nil
		}
		more, gone, err := a.linuxXattrs(h)
		if err != nil {
			return nil, nil, err
		}
		list, lost = append(list, more...), append(lost, gone...)
	}
}

// linuxXattrs reads the extended attributes that follow a header.
func (a *Archive) linuxXattrs(h *dump.Header) ([]dump.Xattr, []string, error) {
	var b []byte
	tooBig := h.Size > maxXattrs
	lost, _, err := a.data(h, func(off uint64, p []byte) error {
		if !tooBig && int(off) >= len(b) { // else it is lost after all
			b = append(b, make([]byte, int(off)-len(b))...) // a hole
			b = append(b, p...)
		}
		return nil
	}, nil)
	switch {
	case err != nil:
		return nil, nil, err
	case len(lost) > 0:
		return nil, []string{"extended attributes"}, nil
	case tooBig:
		return nil, []string{fmt.Sprintf("%d bytes of extended attributes", h.Size)}, nil
	case h.Xattr != dump.XattrsExt:
		return nil, []string{fmt.Sprintf("extended attributes in the unknown form %d", h.Xattr)}, nil
	}
	list, gone := extXattrs(b)
	return list, gone, nil
}
