package nfs3

import "encoding/binary"

var be = binary.BigEndian

// decoder takes XDR values (RFC 4506) off the front of a message. Once a value
// is not there whole, or not in form, bad is set and all that follow are zero.
// Bytes that it returns lie in the message.
type decoder struct {
	p   []byte
	bad bool
}

func (d *decoder) fixed(n int) []byte {
	if d.bad || n > len(d.p) {
		d.bad = true
		return nil
	}
	v := d.p[:n:n]
	d.p = d.p[n:]
	return v
}

func (d *decoder) u32() uint32 {
	if v := d.fixed(4); v != nil {
		return be.Uint32(v)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if v := d.fixed(8); v != nil {
		return be.Uint64(v)
	}
	return 0
}

func (d *decoder) flag() bool {
	v := d.u32()
	if v > 1 {
		d.bad = true
	}
	return v == 1
}

// opaque takes an opaque<limit> or a string<limit>.
func (d *decoder) opaque(limit int) []byte {
	n := d.u32()
	if n > uint32(limit) {
		d.bad = true
		return nil
	}
	v := d.fixed(int(n+3) &^ 3)
	if d.bad {
		return nil
	}
	return v[:n:n]
}

// padding is what follows n bytes of an opaque.
func padding(n int) int { return -n & 3 }

func put32(p []byte, v uint32) []byte { return be.AppendUint32(p, v) }
func put64(p []byte, v uint64) []byte { return be.AppendUint64(p, v) }

func putFlag(p []byte, v bool) []byte {
	if v {
		return put32(p, 1)
	}
	return put32(p, 0)
}

func putOpaque[T []byte | string](p []byte, v T) []byte {
	p = put32(p, uint32(len(v)))
	p = append(p, v...)
	return append(p, "\x00\x00\x00"[:padding(len(v))]...)
}
