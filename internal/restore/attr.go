package restore

import (
	"encoding/binary"

	"varve/internal/dump"
	"varve/internal/fail"
)

// flags returns the file flags of an object.
func (o *Object) flags() dump.Flags {
	switch {
	case o.Exact:
		return o.Special &^ dump.TailHole
	case o.Magic == dump.MagicUFS2:
		return dump.UFSFlags.Read(o.FileFlags)
	}
	return dump.ExtFlags.Read(o.FileFlags)
}

// device returns the numbers of a device.
func (o *Object) device() (major, minor uint32) {
	if o.Exact {
		return o.Major, o.Minor
	}
	return dump.SplitRdev(o.Rdev)
}

// attr returns what an object gets besides its data.
func (o *Object) attr(xattrs []dump.Xattr) *Attr {
	return &Attr{
		Mode: uint32(o.Mode) & permissions, UID: o.UID, GID: o.GID,
		Atime: o.Atime, Mtime: o.Mtime, Flags: o.flags(), Xattrs: xattrs,
	}
}

// encode makes bytes of a, for the spool of what directories get at the end.
func (a *Attr) encode() []byte {
	b := make([]byte, 0, 64)
	for _, v := range []uint32{a.Mode, a.UID, a.GID, uint32(a.Flags), a.Atime.Nsec, a.Mtime.Nsec, uint32(len(a.Xattrs))} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(a.Atime.Sec))
	b = binary.LittleEndian.AppendUint64(b, uint64(a.Mtime.Sec))
	for _, x := range a.Xattrs {
		for _, s := range [][]byte{[]byte(x.Name), x.Value} {
			b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
			b = append(b, s...)
		}
	}
	return b
}

// dresses are the attributes of directories, which are set once their contents are
// there. They wait in a spool: length u32 | encoded | up to 8.
type dresses struct{ spool }

const dressUnit = 8

// put returns where a is kept: never 0.
func (d *dresses) put(a *Attr) (uint32, error) {
	at := d.size()/dressUnit + 1
	if at >= int64(nowhere) {
		return 0, fail.New(fail.TooBig, "the archive has more than 32 GiB of attributes of directories")
	}
	body := a.encode()
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, len(body)+12), uint32(len(body)))
	b = append(b, body...)
	b = append(b, make([]byte, -len(b)&(dressUnit-1))...)
	return uint32(at), d.append(b)
}

func (d *dresses) get(at uint32) (*Attr, error) {
	off := (int64(at) - 1) * dressUnit
	var head [4]byte
	if _, err := d.read(head[:], off); err != nil {
		return nil, err
	}
	b := make([]byte, binary.LittleEndian.Uint32(head[:]))
	if _, err := d.read(b, off+4); err != nil {
		return nil, err
	}
	u32 := func() uint32 {
		v := binary.LittleEndian.Uint32(b)
		b = b[4:]
		return v
	}
	sec := func() int64 {
		v := binary.LittleEndian.Uint64(b)
		b = b[8:]
		return int64(v)
	}
	bytes := func() []byte {
		n := u32()
		v := b[:n:n]
		b = b[n:]
		return v
	}
	a := &Attr{Mode: u32(), UID: u32(), GID: u32(), Flags: dump.Flags(u32()), Atime: dump.Time{Nsec: u32()}, Mtime: dump.Time{Nsec: u32()}}
	n := u32()
	a.Atime.Sec, a.Mtime.Sec = sec(), sec()
	for range n {
		a.Xattrs = append(a.Xattrs, dump.Xattr{Name: string(bytes()), Value: bytes()})
	}
	return a, nil
}
