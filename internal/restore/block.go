package restore

import (
	"bytes"
	"compress/bzip2"
	"compress/zlib"
	"encoding/binary"
	"io"

	"varve/internal/dump"
	"varve/internal/fail"
)

// maxBlock is the largest block of a compressed archive: bytes.
const maxBlock = 1 << 20

// prefixSize is the length of what is before a compressed block: a u32 of the
// writer's byte order.
//
//	little-endian: bit 0 compressed, bits 1-3 algorithm, bits 4-31 length
//	big-endian:    bit 31 compressed, bits 28-30 algorithm, bits 0-27 length
const prefixSize = 4

// The algorithms of a block.
const (
	algorithmZlib = 0
	algorithmBzip = 1
	algorithmLZO  = 2
)

// slack is how much longer than its data a block may be, for an algorithm that
// could not make it shorter.
const slack = 1 << 10

// blocks are those of a compressed volume, after the first, which is raw.
type blocks struct {
	in    io.Reader
	order binary.ByteOrder
	size  int    // of a block, after decompression
	buf   []byte // what was read of in
	r, w  int
	first []byte // what is left of the first block
	lost  bool   // the last prefix was none
	err   error  // what in ended with
	zip   io.ReadCloser
	known bool // a block was unpacked: the archive is not of LZO
}

// compressed makes s read the blocks after the first, whose header is h.
func (s *stream) compressed(h *dump.Header, o binary.ByteOrder) error {
	size := int(h.NTRec) * dump.RecordSize
	if size <= 0 || size > maxBlock {
		return fail.New(fail.Corrupt, "%s is compressed in blocks of %d records, which cannot be", s.name, h.NTRec)
	}
	b := &blocks{in: s.in.(io.Reader), order: o, size: size, buf: make([]byte, 2*(maxBlock+slack))}
	all, err := s.peek(size)
	if err != nil && err != io.EOF {
		return err
	}
	b.first = append(b.first, all...)
	b.w = copy(b.buf, s.buf[s.r+len(all):s.w])
	s.w = s.r // it comes again, as the first piece
	s.src, s.end = b, nil
	if b.need(prefixSize) == prefixSize && b.plausible(b.buf[b.r:]) && b.lzo() {
		return errLZO // better said before anything is made
	}
	return nil
}

// lzo reports whether the next block, whose prefix can be one, is of LZO: one that is
// followed, where none was unpacked before, and not what is left of a damaged one.
func (b *blocks) lzo() bool {
	packed, algorithm, length := b.prefix(b.buf[b.r:])
	return packed && algorithm == algorithmLZO && !b.known && b.followed(length)
}

var errLZO = fail.New(fail.Unsupported, "the archive is compressed by LZO, which this program cannot read").
	WithHint("make it anew with dump -z or -j, or restore it with a program that has LZO")

// prefix reads the prefix of a block.
func (b *blocks) prefix(p []byte) (packed bool, algorithm, length int) {
	v := b.order.Uint32(p)
	if b.order == binary.ByteOrder(binary.BigEndian) {
		return v>>31 != 0, int(v >> 28 & 7), int(v & (1<<28 - 1))
	}
	return v&1 != 0, int(v >> 1 & 7), int(v >> 4)
}

// plausible reports whether a prefix can be one.
func (b *blocks) plausible(p []byte) bool {
	packed, algorithm, length := b.prefix(p)
	if !packed {
		return length == b.size
	}
	return algorithm <= algorithmLZO && length > 0 && length <= b.size+slack
}

// need makes buf[r:r+n] there if in has that much, and returns how much there is.
func (b *blocks) need(n int) int {
	if b.w-b.r >= n {
		return n
	}
	if len(b.buf)-b.r < n {
		b.w = copy(b.buf, b.buf[b.r:b.w])
		b.r = 0
	}
	for b.w-b.r < n && b.err == nil {
		var k int
		k, b.err = b.in.Read(b.buf[b.w:])
		b.w += k
	}
	return min(n, b.w-b.r)
}

func (b *blocks) piece(p []byte) (int, bool, error) {
	if len(b.first) > 0 {
		n := copy(p, b.first)
		b.first = b.first[n:]
		return n, false, nil
	}
	if b.lost {
		b.search()
		b.lost = false
	}
	have := b.need(prefixSize)
	if have == 0 {
		return 0, false, b.ended()
	}
	if have < prefixSize || !b.plausible(b.buf[b.r:]) {
		b.lost = true
		return 0, false, errGap
	}
	packed, algorithm, length := b.prefix(b.buf[b.r:])
	if packed && algorithm == algorithmLZO {
		if b.lzo() {
			return 0, false, errLZO
		}
		b.lost = true
		return 0, false, errGap
	}
	if b.need(prefixSize+length) < prefixSize+length {
		b.r = b.w // the volume ends within a block
		return 0, false, b.ended()
	}
	body := b.buf[b.r+prefixSize : b.r+prefixSize+length]
	if !packed {
		b.r += prefixSize + length
		return copy(p, body), false, nil
	}
	ok := b.unpack(p[:b.size], algorithm, body)
	if !ok && !b.followed(length) {
		b.lost = true // the prefix may be wrong too
		return 0, false, errGap
	}
	b.r += prefixSize + length
	b.known = b.known || ok
	if !ok {
		clear(p[:b.size])
	}
	return b.size, !ok, nil
}

// followed reports whether a block of that length has a prefix, or the end, behind
// it: then at least its length is right.
func (b *blocks) followed(length int) bool {
	at := prefixSize + length
	have := b.need(at + prefixSize)
	return have == at || have == at+prefixSize && b.plausible(b.buf[b.r+at:])
}

func (b *blocks) ended() error {
	if b.err != nil && b.err != io.EOF {
		return readingError(b.err)
	}
	return io.EOF
}

// search goes to the next place where a block begins that can be unpacked, or to
// the end.
func (b *blocks) search() {
	scratch := make([]byte, b.size)
	for b.r++; b.need(prefixSize+2) == prefixSize+2; b.r++ {
		p := b.buf[b.r:]
		if !b.plausible(p) {
			continue
		}
		packed, algorithm, length := b.prefix(p)
		if !begins(packed, algorithm, p[prefixSize:]) || b.need(prefixSize+length) < prefixSize+length {
			continue
		}
		body := b.buf[b.r+prefixSize : b.r+prefixSize+length]
		if packed && b.unpack(scratch, algorithm, body) || !packed && b.followed(length) {
			return
		}
	}
	b.r = b.w
}

// begins is a quick look at whether packed bytes can be of an algorithm.
func begins(packed bool, algorithm int, p []byte) bool {
	switch {
	case !packed:
		return true
	case algorithm == algorithmZlib:
		return p[0]&0x0f == 8 && (uint(p[0])<<8|uint(p[1]))%31 == 0
	case algorithm == algorithmBzip:
		return p[0] == 'B' && p[1] == 'Z'
	}
	return false
}

// unpack fills p with what body has in it, and nothing more.
func (b *blocks) unpack(p []byte, algorithm int, body []byte) bool {
	var r io.Reader
	switch algorithm {
	case algorithmZlib:
		if !b.unzip(body) {
			return false
		}
		r = b.zip
	case algorithmBzip:
		r = bzip2.NewReader(bytes.NewReader(body))
	default:
		return false
	}
	if _, err := io.ReadFull(r, p); err != nil {
		return false
	}
	var one [1]byte
	n, err := r.Read(one[:]) // makes the checksum be verified
	return n == 0 && err == io.EOF
}

// unzip makes zip read body.
func (b *blocks) unzip(body []byte) bool {
	var err error
	if b.zip == nil {
		b.zip, err = zlib.NewReader(bytes.NewReader(body))
	} else {
		err = b.zip.(zlib.Resetter).Reset(bytes.NewReader(body), nil)
	}
	return err == nil
}
