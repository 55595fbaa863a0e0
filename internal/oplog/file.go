package oplog

import (
	"encoding/binary"

	"varve/internal/varint"
)

// What a record of an operation on files has: the bits of "has".
const (
	hasRequest = 1 << iota
	hasName
	hasName2
	hasValue
	hasAttr
	hasRange
	hasExtents
	hasAs
)

func (o *Op) has() byte {
	h := byte(0)
	for _, x := range []struct {
		bit byte
		is  bool
	}{
		{hasRequest, o.Request != nil},
		{hasName, o.Dir != 0 || o.Name != ""},
		{hasName2, o.Dir2 != 0},
		{hasValue, o.Value != ""},
		{hasAttr, o.Attr.Mask != 0},
		{hasRange, o.Kind == WriteFile},
		{hasExtents, len(o.Extents) > 0},
		{hasAs, o.As != 0},
	} {
		if x.is {
			h |= x.bit
		}
	}
	return h
}

func appendFile(dst []byte, op *Op) []byte {
	dst = binary.AppendUvarint(dst, op.Ino)
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(op.UID)), uint64(op.GID))
	has := op.has()
	dst = append(dst, has)
	if has&hasRequest != 0 {
		dst = binary.LittleEndian.AppendUint32(dst, op.Request.XID)
		dst = binary.LittleEndian.AppendUint64(dst, op.Request.Sum)
	}
	if has&hasName != 0 {
		dst = appendString(binary.AppendUvarint(dst, op.Dir), op.Name)
	}
	if has&hasName2 != 0 {
		dst = appendString(binary.AppendUvarint(dst, op.Dir2), op.Name2)
		dst = binary.AppendUvarint(dst, op.Ino2)
	}
	if has&hasValue != 0 {
		dst = varint.AppendString(dst, op.Value)
	}
	if has&hasAttr != 0 {
		dst = op.Attr.append(dst)
	}
	if has&hasRange != 0 {
		dst = appendRange(dst, op)
	}
	if has&hasExtents != 0 {
		dst = appendExtents(dst, op.Extents)
	}
	if has&hasAs != 0 {
		dst = binary.AppendVarint(dst, op.Time-op.As)
	}
	return dst
}

func (d *Decoder) file(r *varint.Reader, op *Op) {
	op.Ino = r.Uvarint()
	op.UID, op.GID = uvarint32(r), uvarint32(r)
	has := r.Byte()
	if has&hasRequest != 0 {
		op.Request = &Request{XID: r.Uint32()}
		op.Request.Sum = uint64(r.Uint32())
		op.Request.Sum |= uint64(r.Uint32()) << 32
	}
	if has&hasName != 0 {
		op.Dir, op.Name = r.Uvarint(), r.String(MaxName)
	}
	if has&hasName2 != 0 {
		op.Dir2, op.Name2, op.Ino2 = r.Uvarint(), r.String(MaxName), r.Uvarint()
	}
	if has&hasValue != 0 {
		op.Value = r.String(MaxValue)
	}
	if has&hasAttr != 0 {
		op.Attr.read(r)
	}
	if has&hasRange != 0 {
		op.Off, op.Len = r.Uvarint(), r.Uvarint()
	}
	switch {
	case has&hasExtents == 0:
	case op.Kind == WriteFile:
		d.written(r, op)
	default:
		d.extents(r, op, 1)
	}
	if has&hasAs != 0 {
		op.As = op.Time - r.Varint()
	}
	r.Bad = r.Bad || has != op.has()
}

// fields visits the attributes of the mask in its order: numbers as they are,
// times as int64.
func (a *Attr) fields(u32 func(*uint32), u64 func(*uint64), time func(*int64)) {
	for _, f := range []struct {
		bit AttrMask
		u32 *uint32
		u64 *uint64
		at  *int64
	}{
		{bit: SetMode, u32: &a.Mode}, {bit: SetUID, u32: &a.UID}, {bit: SetGID, u32: &a.GID},
		{bit: SetSize, u64: &a.Size}, {bit: SetAtime, at: &a.Atime}, {bit: SetMtime, at: &a.Mtime},
		{bit: SetFlags, u32: &a.Flags}, {bit: SetRdev, u64: &a.Rdev}, {bit: SetVerifier, u64: &a.Verifier},
		{bit: SetBtime, at: &a.Btime},
	} {
		switch {
		case a.Mask&f.bit == 0:
		case f.u32 != nil:
			u32(f.u32)
		case f.u64 != nil:
			u64(f.u64)
		default:
			time(f.at)
		}
	}
}

func (a Attr) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, uint16(a.Mask))
	a.fields(
		func(v *uint32) { dst = binary.AppendUvarint(dst, uint64(*v)) },
		func(v *uint64) { dst = binary.AppendUvarint(dst, *v) },
		func(v *int64) { dst = binary.AppendVarint(dst, *v) })
	return dst
}

func (a *Attr) read(r *varint.Reader) {
	a.Mask = AttrMask(r.Byte())
	a.Mask |= AttrMask(r.Byte()) << 8
	r.Bad = r.Bad || a.Mask&^allAttrs != 0
	a.fields(
		func(v *uint32) { *v = uvarint32(r) },
		func(v *uint64) { *v = r.Uvarint() },
		func(v *int64) { *v = r.Varint() })
}

func uvarint32(r *varint.Reader) uint32 {
	v := r.Uvarint()
	r.Bad = r.Bad || v > 1<<32-1
	return uint32(v)
}
