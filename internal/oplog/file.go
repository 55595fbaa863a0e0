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

func (o *Op) has() (h byte) {
	if o.Request != nil {
		h |= hasRequest
	}
	if o.Dir != 0 || o.Name != "" {
		h |= hasName
	}
	if o.Dir2 != 0 {
		h |= hasName2
	}
	if o.Value != "" {
		h |= hasValue
	}
	if o.Attr.Mask != 0 {
		h |= hasAttr
	}
	if o.Kind == WriteFile {
		h |= hasRange
	}
	if len(o.Extents) > 0 {
		h |= hasExtents
	}
	if o.As != 0 {
		h |= hasAs
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
		q := Request{XID: r.Uint32()}
		q.Sum = uint64(r.Uint32())
		q.Sum |= uint64(r.Uint32()) << 32
		if !d.NoRequests {
			op.Request = &Request{q.XID, q.Sum}
		}
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
	again := op.has()
	if d.NoRequests {
		again |= has & hasRequest
	}
	r.Bad = r.Bad || has != again
}

// append appends the attributes of the mask, in the order of its bits.
func (a *Attr) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, uint16(a.Mask))
	m := a.Mask
	if m&SetMode != 0 {
		dst = binary.AppendUvarint(dst, uint64(a.Mode))
	}
	if m&SetUID != 0 {
		dst = binary.AppendUvarint(dst, uint64(a.UID))
	}
	if m&SetGID != 0 {
		dst = binary.AppendUvarint(dst, uint64(a.GID))
	}
	if m&SetSize != 0 {
		dst = binary.AppendUvarint(dst, a.Size)
	}
	if m&SetAtime != 0 {
		dst = binary.AppendVarint(dst, a.Atime)
	}
	if m&SetMtime != 0 {
		dst = binary.AppendVarint(dst, a.Mtime)
	}
	if m&SetFlags != 0 {
		dst = binary.AppendUvarint(dst, uint64(a.Flags))
	}
	if m&SetRdev != 0 {
		dst = binary.AppendUvarint(dst, a.Rdev)
	}
	if m&SetVerifier != 0 {
		dst = binary.AppendUvarint(dst, a.Verifier)
	}
	if m&SetBtime != 0 {
		dst = binary.AppendVarint(dst, a.Btime)
	}
	return dst
}

func (a *Attr) read(r *varint.Reader) {
	a.Mask = AttrMask(r.Byte())
	a.Mask |= AttrMask(r.Byte()) << 8
	m := a.Mask
	r.Bad = r.Bad || m&^allAttrs != 0
	if m&SetMode != 0 {
		a.Mode = uvarint32(r)
	}
	if m&SetUID != 0 {
		a.UID = uvarint32(r)
	}
	if m&SetGID != 0 {
		a.GID = uvarint32(r)
	}
	if m&SetSize != 0 {
		a.Size = r.Uvarint()
	}
	if m&SetAtime != 0 {
		a.Atime = r.Varint()
	}
	if m&SetMtime != 0 {
		a.Mtime = r.Varint()
	}
	if m&SetFlags != 0 {
		a.Flags = uvarint32(r)
	}
	if m&SetRdev != 0 {
		a.Rdev = r.Uvarint()
	}
	if m&SetVerifier != 0 {
		a.Verifier = r.Uvarint()
	}
	if m&SetBtime != 0 {
		a.Btime = r.Varint()
	}
}

func uvarint32(r *varint.Reader) uint32 {
	v := r.Uvarint()
	r.Bad = r.Bad || v > 1<<32-1
	return uint32(v)
}
