package oplog

import (
	"encoding/binary"
	"strings"

	"varve/internal/fail"
	"varve/internal/varint"
)

// An operation's record in a frame's summary. u = unsigned varint.
//
//	kind     u8
//	flags    u8    bit 0: the client's name follows (its first use in this
//	               frame gives it the next number, from 1)
//	dt       u     nanoseconds since the previous record of this frame (the
//	               first: since the epoch)
//	client   u     number in this frame, 0 = the server; absent with flag 0:
//	               then  length u | name bytes
//	dataset  u
//	Write:   off u | len u | extents u | each: blocks u8 | addr u (the first;
//	         then the zigzag difference to the end of the one before) |
//	         blocks * CRC u32
//	Trim:    off u | len u
//	of files: ino u | uid u | gid u | has u8 | with has bit 0: xid u32 | sum u64 |
//	         bit 1: dir u | name s | bit 2: dir2 u | name2 s | ino2 u |
//	         bit 3: value s | bit 4: mask u16, then each attribute of the
//	         mask, in its order, u (times zigzag) | bit 5: off u | len u |
//	         bit 6: extents as Write | bit 7: dt to the time that it shows, zigzag
//	others:  name s (length u | bytes) | size u | source u | at u | limit u | now u8 | value s
//
// Names and clients are numbered per frame so that each frame can be read
// alone.
const flagNewClient = 1

// Encoder appends records; it keeps what one frame's records share. Not safe
// for concurrent use: the log calls it under its lock.
type Encoder struct {
	frame   uint64
	last    int64
	clients []*Client

	// What the record of lsn found, to encode it again: the log drops an
	// encoding that did not fit.
	lsn      uint64
	lastWas  int64
	clientsN int
}

// Append appends op's record to dst. frame identifies the frame that the
// record goes into; a new one starts a new dictionary. Encoding the same LSN
// again replaces the result of before.
func (e *Encoder) Append(dst []byte, op *Op, frame uint64) []byte {
	switch {
	case frame != e.frame || e.clients == nil:
		e.frame, e.last, e.clients = frame, 0, append(e.clients[:0], nil)
	case op.LSN == e.lsn:
		e.last, e.clients = e.lastWas, e.clients[:e.clientsN]
	}
	e.lsn, e.lastWas, e.clientsN = op.LSN, e.last, len(e.clients)
	number, known := e.number(op.Client)
	flags := byte(0)
	if !known {
		flags |= flagNewClient
	}
	dst = append(dst, byte(op.Kind), flags)
	dst = binary.AppendUvarint(dst, uint64(op.Time-e.last))
	e.last = op.Time
	if known {
		dst = binary.AppendUvarint(dst, uint64(number))
	} else {
		dst = appendString(dst, op.Client.Name)
	}
	dst = binary.AppendUvarint(dst, op.Dataset)
	switch op.Kind {
	case Write:
		return appendExtents(appendRange(dst, op), op.Extents)
	case Trim:
		return appendRange(dst, op)
	}
	if op.Kind.OnFile() {
		return appendFile(dst, op)
	}
	dst = appendString(dst, op.Name)
	dst = binary.AppendUvarint(dst, op.Size)
	dst = binary.AppendUvarint(dst, op.Source)
	dst = binary.AppendUvarint(dst, op.At)
	dst = binary.AppendUvarint(dst, op.Limit)
	now := byte(0)
	if op.Now {
		now = 1
	}
	return varint.AppendString(append(dst, now), op.Value)
}

func (e *Encoder) number(c *Client) (int, bool) {
	for i := len(e.clients) - 1; i >= 0; i-- {
		if e.clients[i] == c {
			return i, true
		}
	}
	e.clients = append(e.clients, c)
	return 0, false
}

func appendRange(dst []byte, op *Op) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, op.Off), op.Len)
}

func appendExtents(dst []byte, extents []Extent) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(extents)))
	end := uint64(0)
	for _, x := range extents {
		dst = append(dst, byte(len(x.CRC)))
		if end == 0 {
			dst = binary.AppendUvarint(dst, x.Addr)
		} else {
			dst = binary.AppendVarint(dst, int64(x.Addr-end))
		}
		for _, c := range x.CRC {
			dst = binary.LittleEndian.AppendUint32(dst, c)
		}
		end = x.Addr + uint64(len(x.CRC))
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	if len(s) > MaxName {
		s = s[:MaxName]
	}
	return varint.AppendString(dst, s)
}

// Decoder reads the records of one frame in order. Reset it for each frame.
// The extents' memory is reused by the next Decode.
type Decoder struct {
	Bare       bool // writes come without their extents, as in files of operations; not in the log
	NoRequests bool // operations come without their requests, which nobody wants

	last    int64
	clients []*Client
	crc     []uint32
	names   map[string]*Client
}

// Reset prepares for the records of another frame.
func (d *Decoder) Reset() { d.last, d.clients = 0, append(d.clients[:0], nil) }

// Decode fills op from one record. op.Extents is reused; it and its CRCs stay
// valid until the next Decode. A record that makes no sense is Corrupt.
func (d *Decoder) Decode(rec []byte, lsn uint64, op *Op) error { return d.DecodeText(rec, "", lsn, op) }

// DecodeText is Decode of a record that is there as text too: the strings of op are
// parts of that. Whoever keeps one keeps all of the text, unless it is cloned.
func (d *Decoder) DecodeText(rec []byte, text string, lsn uint64, op *Op) error {
	if d.clients == nil {
		d.Reset()
	}
	extents := op.Extents[:0]
	*op = Op{LSN: lsn, Extents: extents}
	r := varint.Reader{B: rec, Text: text}
	op.Kind = Kind(r.Byte())
	flags := r.Byte()
	d.last += int64(r.Uvarint())
	op.Time = d.last
	if flags&flagNewClient != 0 {
		op.Client = d.client(r.String(MaxName))
		d.clients = append(d.clients, op.Client)
	} else if n := r.Uvarint(); n < uint64(len(d.clients)) {
		op.Client = d.clients[n]
	} else {
		r.Bad = true
	}
	op.Dataset = r.Uvarint()
	switch op.Kind {
	case Write:
		op.Off, op.Len = r.Uvarint(), r.Uvarint()
		d.written(&r, op)
	case Trim:
		op.Off, op.Len = r.Uvarint(), r.Uvarint()
		r.Bad = r.Bad || op.Off%BlockSize != 0 || op.Len%BlockSize != 0 || op.Len == 0 || op.Off+op.Len < op.Off
	default:
		if op.Kind.OnFile() {
			d.file(&r, op)
			break
		}
		op.Name = r.String(MaxName)
		op.Size, op.Source, op.At, op.Limit = r.Uvarint(), r.Uvarint(), r.Uvarint(), r.Uvarint()
		op.Now, op.Value = r.Byte() != 0, r.String(MaxValue)
		r.Bad = r.Bad || kindNames[op.Kind] == ""
	}
	if r.Bad || len(r.B) != 0 || flags > flagNewClient {
		return fail.New(fail.Corrupt, "operation record of lsn %d makes no sense (%d bytes, kind %d)", lsn, len(rec), op.Kind)
	}
	return nil
}

// written reads the extents of the bytes [Off, Off+Len).
func (d *Decoder) written(r *varint.Reader, op *Op) {
	if d.Bare {
		r.Bad = r.Bad || r.Uvarint() != 0 || op.Off+op.Len < op.Off
		return
	}
	if op.Len == 0 || op.Off+op.Len < op.Off {
		r.Bad = true
		return
	}
	d.extents(r, op, (op.Off+op.Len-1)/BlockSize-op.Off/BlockSize+1)
}

// extents reads extents of want blocks.
func (d *Decoder) extents(r *varint.Reader, op *Op, want uint64) {
	n := r.Uvarint()
	if n > MaxExtents || want > MaxExtents*MaxExtentBlocks || want*4 > uint64(len(r.B)) {
		r.Bad = true
		return
	}
	if uint64(cap(d.crc)) < want {
		d.crc = make([]uint32, 0, want)
	}
	crc := d.crc[:0]
	end := uint64(0)
	for i := uint64(0); i < n && !r.Bad; i++ {
		blocks := int(r.Byte())
		addr := end
		if end == 0 {
			addr = r.Uvarint()
		} else {
			addr += uint64(r.Varint())
		}
		if blocks == 0 || blocks > MaxExtentBlocks || addr == 0 || uint64(len(crc)+blocks) > want {
			r.Bad = true
			return
		}
		start := len(crc)
		for j := 0; j < blocks; j++ {
			crc = append(crc, r.Uint32())
		}
		op.Extents = append(op.Extents, Extent{Addr: addr, CRC: crc[start:len(crc):len(crc)]})
		end = addr + uint64(blocks)
	}
	d.crc = crc
	r.Bad = r.Bad || uint64(len(crc)) != want
}

// client interns names, so that a client is one pointer over all frames.
func (d *Decoder) client(name string) *Client {
	if c := d.names[name]; c != nil {
		return c
	}
	if d.names == nil || len(d.names) > 4096 {
		d.names = make(map[string]*Client)
	}
	c := &Client{Name: strings.Clone(name)}
	d.names[c.Name] = c
	return c
}
