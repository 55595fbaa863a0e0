// Package varint reads fields of variable length off the front of a byte
// slice. A Reader never runs out of bounds: once a field is missing or
// malformed, Bad is set and every further field reads as zero, so a decoder
// checks once, at its end.
package varint

import "encoding/binary"

// Reader takes fields off the front of B.
type Reader struct {
	B    []byte // what is left
	Bad  bool   // a field was missing or malformed
	Text string // if not empty, what B was at first: strings are parts of it, not copies
}

func (r *Reader) fail() { r.Bad, r.B = true, nil }

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if len(r.B) == 0 {
		r.fail()
		return 0
	}
	v := r.B[0]
	r.B = r.B[1:]
	return v
}

// Uvarint reads an unsigned varint.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.B)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.B = r.B[n:]
	return v
}

// Varint reads a signed (zigzag) varint.
func (r *Reader) Varint() int64 {
	v, n := binary.Varint(r.B)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.B = r.B[n:]
	return v
}

// Uint32 reads four bytes, little endian.
func (r *Reader) Uint32() uint32 {
	b := r.Bytes(4)
	if b == nil {
		return 0
	}
	return binary.LittleEndian.Uint32(b)
}

// Bytes reads n bytes; they share the memory of B. nil if there are fewer.
func (r *Reader) Bytes(n int) []byte {
	if n < 0 || n > len(r.B) {
		r.fail()
		return nil
	}
	v := r.B[:n:n]
	r.B = r.B[n:]
	return v
}

// String reads a uvarint length of at most limit, and that many bytes.
func (r *Reader) String(limit int) string {
	n := r.Uvarint()
	if n > uint64(limit) {
		r.fail()
		return ""
	}
	at := len(r.Text) - len(r.B)
	b := r.Bytes(int(n))
	if r.Text != "" && b != nil {
		return r.Text[at : at+len(b)]
	}
	return string(b)
}

// AppendString appends what Reader.String reads.
func AppendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}
