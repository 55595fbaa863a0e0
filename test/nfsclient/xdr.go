package nfsclient

import (
	"encoding/binary"
	"fmt"
)

// encoder appends items in XDR (RFC 4506): big endian, each a multiple of four
// bytes.
type encoder []byte

func (e *encoder) u32(v uint32) { *e = binary.BigEndian.AppendUint32(*e, v) }
func (e *encoder) u64(v uint64) { *e = binary.BigEndian.AppendUint64(*e, v) }

func (e *encoder) bool(v bool) {
	if v {
		e.u32(1)
	} else {
		e.u32(0)
	}
}

// fixed appends opaque data of a length that both sides know.
func (e *encoder) fixed(p []byte) {
	*e = append(*e, p...)
	*e = append(*e, make([]byte, padding(len(p)))...)
}

// opaque appends a length, the data, and zeros up to a multiple of four.
func (e *encoder) opaque(p []byte) {
	e.u32(uint32(len(p)))
	e.fixed(p)
}

func (e *encoder) string(s string) { e.opaque([]byte(s)) }

func padding(n int) int { return -n & 3 }

// decoder reads XDR and keeps the first fault it meets. It is strict: a
// boolean is 0 or 1, padding is zeros, lengths are within their limits, and
// nothing is left at the end.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fault(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
	d.b = nil
}

func (d *decoder) take(n int, what string) []byte {
	if n > len(d.b) {
		d.fault("%s of %d bytes where %d are left", what, n, len(d.b))
		return make([]byte, min(n, 8)) // enough for a number
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) u32() uint32 { return binary.BigEndian.Uint32(d.take(4, "a number")) }
func (d *decoder) u64() uint64 { return binary.BigEndian.Uint64(d.take(8, "a long number")) }

func (d *decoder) bool() bool {
	v := d.u32()
	if v > 1 {
		d.fault("a boolean of %d", v)
	}
	return v == 1
}

func (d *decoder) fixed(n int) []byte {
	if n > len(d.b) {
		d.fault("opaque data of %d bytes where %d are left", n, len(d.b))
		return nil
	}
	p := d.take(n, "opaque data")
	for _, x := range d.take(padding(n), "padding") {
		if x != 0 {
			d.fault("padding of %#x", x)
		}
	}
	return p
}

func (d *decoder) opaque(limit uint32) []byte {
	n := d.u32()
	if n > limit {
		d.fault("opaque data of %d bytes, at most %d allowed", n, limit)
		return nil
	}
	return d.fixed(int(n))
}

func (d *decoder) string(limit uint32) string { return string(d.opaque(limit)) }

// done returns the first fault; bytes that are left are one.
func (d *decoder) done() error {
	if d.err == nil && len(d.b) > 0 {
		d.fault("%d bytes too many", len(d.b))
	}
	return d.err
}
