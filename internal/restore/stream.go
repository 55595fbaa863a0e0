package restore

import (
	"errors"
	"io"

	"varve/internal/dump"
	"varve/internal/fail"
)

// A Volume is one part of an archive: a file, a pipe. Name is for messages.
type Volume struct {
	io.ReadCloser
	Name string
}

// Volumes opens the volumes of an archive, from 0 on. io.EOF: there are no more.
type Volumes func(n int) (Volume, error)

// window is how many bytes can be looked ahead: the data of one header, with the
// headers around it, in whole pieces of what is read at a time.
const window = 2 << 20

// readAhead is how many bytes are read at a time of what has no blocks.
const readAhead = 256 << 10

// errGap is what stands in the way where a volume misses bytes, nobody knows how
// many.
var errGap = errors.New("an unknown number of bytes is missing")

// source gives the bytes of a volume piece by piece. io.EOF ends it; errGap comes
// between two pieces, once. bad: the piece could not be read and is all zeros.
type source interface {
	piece(p []byte) (n int, bad bool, err error)
}

// stream is the bytes of one volume, in a window. Errors stay where they are in
// the stream: peek returns what is before them.
type stream struct {
	name string
	src  source
	in   io.Closer

	buf   []byte
	r, w  int   // buf[r:w] is read and not yet passed
	start int64 // offset in the stream of buf[0]
	end   error // what follows buf[:w]
	bad   []span
}

// span is bytes [from, to) of a stream.
type span struct{ from, to int64 }

func newStream(v Volume) *stream {
	return &stream{name: v.Name, src: plain{v}, in: v, buf: make([]byte, window)}
}

func (s *stream) close() { s.in.Close() }

// offset is where the next byte is in the stream.
func (s *stream) offset() int64 { return s.start + int64(s.r) }

// peek returns the next n bytes, at most window/2, without passing them; fewer with
// the error that is behind them. They are valid until the next call.
func (s *stream) peek(n int) ([]byte, error) {
	for s.w-s.r < n && s.end == nil {
		s.fill()
	}
	if have := s.w - s.r; have < n {
		return s.buf[s.r:s.w], s.end
	}
	return s.buf[s.r : s.r+n], nil
}

// skip passes n bytes that were peeked at, or what there is.
func (s *stream) skip(n int) {
	s.r = min(s.r+n, s.w)
	for len(s.bad) > 0 && s.bad[0].to <= s.offset() {
		s.bad = s.bad[1:]
	}
}

// crossGap goes on behind an errGap that is next.
func (s *stream) crossGap() {
	if s.end == errGap {
		s.end = nil
	}
}

func (s *stream) fill() {
	if len(s.buf)-s.w < maxBlock && s.r > 0 {
		s.start += int64(s.r)
		s.w = copy(s.buf, s.buf[s.r:s.w])
		s.r = 0
	}
	n, bad, err := s.src.piece(s.buf[s.w:min(len(s.buf), s.w+maxBlock)])
	if bad {
		at := s.start + int64(s.w)
		s.bad = append(s.bad, span{at, at + int64(n)})
	}
	s.w += n
	s.end = err
}

// damaged reports whether any of the next bytes [from, to), counted from the
// present place, could not be read.
func (s *stream) damaged(from, to int) bool {
	a, b := s.offset()+int64(from), s.offset()+int64(to)
	for _, x := range s.bad {
		if x.from < b && x.to > a {
			return true
		}
	}
	return false
}

// plain is a volume without compression.
type plain struct{ r io.Reader }

func (p plain) piece(b []byte) (int, bool, error) {
	n, err := io.ReadAtLeast(p.r, b[:min(len(b), readAhead)], 1)
	switch {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		err = io.EOF
	default:
		err = readingError(err)
	}
	return n, false, err
}

// readingError is the error of a volume, of its own kind if it has one.
func readingError(err error) error {
	switch {
	case err == nil:
		return nil
	case fail.KindOf(err) == fail.Other:
		return fail.Wrap(fail.IO, err, "read the archive")
	}
	return fail.Wrap(fail.Other, err, "read the archive")
}

// begin reads the first header of a volume, and finds out how the rest has to be
// read.
func (s *stream) begin() (*dump.Header, error) {
	b, err := s.peek(dump.RecordSize)
	if err != nil && err != io.EOF {
		return nil, err
	}
	h := new(dump.Header)
	if len(b) < dump.RecordSize {
		return nil, fail.New(fail.Corrupt, "%s ends after %d bytes, which is not even one header", s.name, len(b)).
			WithHint("is it an archive of dump?")
	}
	o, err := h.Decode(b)
	if err != nil {
		return nil, s.noArchive(b, err)
	}
	if h.Magic == dump.MagicOld {
		return nil, fail.New(fail.Unsupported, "%s is an archive of 4.2BSD (magic 60011), which this program cannot read", s.name)
	}
	if h.Magic != dump.MagicUFS2 && h.Flags&dump.FlagNewInode == 0 {
		return nil, fail.New(fail.Unsupported, "%s is an archive with directories of 4.3BSD, which this program cannot read", s.name)
	}
	if h.Magic != dump.MagicUFS2 && h.Flags&dump.FlagCompressed != 0 {
		if err = s.compressed(h, o); err == nil {
			_, err = s.peek(dump.RecordSize) // to be passed, it has to be there again
		}
	}
	return h, err
}

// noArchive says what a file is that is no archive, where that is known.
func (s *stream) noArchive(b []byte, err error) error {
	for _, known := range []struct{ magic, what, hint string }{
		{"\x1f\x8b", "is compressed by gzip", "varve restore -f - reads what zcat writes"},
		{"\xfd7zXZ\x00", "is compressed by xz", "varve restore -f - reads what xzcat writes"},
		{"BZh", "is compressed by bzip2", "varve restore -f - reads what bzcat writes"},
		{"\x28\xb5\x2f\xfd", "is compressed by zstd", "varve restore -f - reads what zstdcat writes"},
		{"restoresymtable", "is a table of restored names, no archive", "give the archive with -f"},
		{tableMagic, "is a table of restored names, no archive", "give the archive with -f"},
	} {
		if len(b) >= len(known.magic) && string(b[:len(known.magic)]) == known.magic {
			return fail.New(fail.Invalid, "%s %s", s.name, known.what).WithHint("%s", known.hint)
		}
	}
	return fail.Wrap(fail.Corrupt, err, "%s does not begin with a header of dump", s.name).
		WithHint("if it is a damaged archive, -y searches for what there is")
}
