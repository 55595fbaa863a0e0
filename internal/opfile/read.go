package opfile

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"sync"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/varint"
)

// Reader reads a file once, from its beginning to its end. Its memory is bounded
// by a block and maxPaths paths. Not safe for concurrent use, but for Path.
type Reader struct {
	Header
	r      io.Reader
	number uint64
	mu     sync.Mutex
	paths  map[uint64]string // under mu
	body   []byte
	count  uint64
	bytes  uint64
	last   uint64 // LSN
}

// maxPaths bounds how many paths are kept.
const maxPaths = 4 << 20

// maxData bounds the bytes of one write, as the log does.
const maxData = 1 << 20

func corrupt(format string, args ...any) *fail.Error {
	return fail.New(fail.Corrupt, "file of operations: "+format, args...)
}

// NewReader reads the header. Corrupt, or Unsupported for a file of another
// version.
func NewReader(r io.Reader) (*Reader, error) {
	le := binary.LittleEndian
	var head [headSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil || string(head[:8]) != magic {
		return nil, corrupt("it is none").WithHint("varve log X --export FILE makes one")
	}
	if v := le.Uint32(head[8:]); v != version {
		return nil, fail.New(fail.Unsupported, "a file of operations of version %d; this varve reads version %d", v, version)
	}
	n := le.Uint32(head[12:])
	if n > maxHeader {
		return nil, corrupt("a header of %d bytes", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, broken(err)
	}
	if crc32.Checksum(body, castagnoli) != le.Uint32(head[16:]) {
		return nil, corrupt("the header fails its checksum")
	}
	f := &Reader{r: r, paths: make(map[uint64]string)}
	v := varint.Reader{B: body}
	copy(f.Pool[:], v.Bytes(16))
	if b := v.Bytes(8); b != nil {
		f.Dataset = le.Uint64(b)
	}
	kind := v.Byte()
	f.Share = kind == 1
	f.Name, f.From, f.To = v.String(oplog.MaxName), v.Uvarint(), v.Uvarint()
	if v.Bad || len(v.B) != 0 || kind > 1 {
		return nil, corrupt("the header makes no sense")
	}
	f.last = f.From
	return f, nil
}

// broken is the error of a file that ends, or cannot be read.
func broken(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return corrupt("it was cut off")
	}
	var known *fail.Error
	if errors.As(err, &known) {
		return err
	}
	return fail.Wrap(fail.IO, err, "reading a file of operations")
}

// Path returns the path of an object that no operation of the file made, as told
// so far; "" if it has none. Safe beside Each.
func (f *Reader) Path(ino uint64) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.paths[ino]
}

// Each visits the operations in order, which are valid, with their data, during the
// call only. fn's error ends it. Corrupt for anything that is not as it was
// written, a missing end too: then some operations may have been visited.
func (f *Reader) Each(fn func(op *oplog.Op, data []byte) error) error {
	for {
		kind, body, err := f.block()
		if err != nil {
			return err
		}
		switch kind {
		case blockOps:
			err = f.ops(body, fn)
		case blockPaths:
			err = f.takePaths(body)
		case blockEnd:
			return f.end(body)
		default:
			err = fail.New(fail.Unsupported, "file of operations: a block of type %d", kind)
		}
		if err != nil {
			return err
		}
	}
}

func (f *Reader) block() (kind byte, body []byte, err error) {
	le := binary.LittleEndian
	var head [blockHead]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return 0, nil, broken(err)
	}
	n := le.Uint32(head[:])
	if n > maxBody {
		return 0, nil, corrupt("block %d has %d bytes", f.number, n)
	}
	if f.body, err = readBody(f.r, f.body, int(n)); err != nil {
		return 0, nil, broken(err)
	}
	crc := crc32.Update(crc32.Checksum(head[8:], castagnoli), castagnoli, f.body)
	switch {
	case crc != le.Uint32(head[4:]):
		return 0, nil, corrupt("block %d fails its checksum", f.number)
	case le.Uint64(head[9:]) != f.number:
		return 0, nil, corrupt("block %d is where block %d belongs", le.Uint64(head[9:]), f.number)
	}
	f.number++
	return head[8], f.body, nil
}

// readBody takes memory as bytes come: what a length claims is not believed.
func readBody(r io.Reader, buf []byte, n int) ([]byte, error) {
	buf = buf[:0]
	for len(buf) < n {
		step := min(n-len(buf), 256<<10)
		at := len(buf)
		if cap(buf) < at+step {
			buf = append(buf, make([]byte, step)...)
		}
		buf = buf[:at+step]
		if _, err := io.ReadFull(r, buf[at:]); err != nil {
			return buf, err
		}
	}
	return buf, nil
}

func (f *Reader) ops(body []byte, fn func(op *oplog.Op, data []byte) error) error {
	dec := oplog.Decoder{Bare: true}
	var op oplog.Op
	r := varint.Reader{B: body}
	lsn := uint64(0)
	for len(r.B) > 0 {
		lsn += r.Uvarint()
		record := r.Bytes(int(min(r.Uvarint(), maxBody)))
		data := r.Bytes(int(min(r.Uvarint(), maxBody)))
		if r.Bad || lsn <= f.last || lsn > f.To {
			return corrupt("block %d makes no sense", f.number-1)
		}
		if err := dec.Decode(record, lsn, &op); err != nil {
			return err
		}
		want := uint64(0)
		if !op.Kind.OnData() {
			return corrupt("operation %d is a %s, which is not on data", lsn, op.Kind)
		}
		if op.Kind.Writes() {
			want = op.Len
		}
		if want > maxData || uint64(len(data)) != want || op.Dataset != f.Dataset {
			return corrupt("operation %d has %d bytes of data, and is of dataset %d", lsn, len(data), op.Dataset)
		}
		f.last = lsn
		f.count++
		f.bytes += want
		if err := fn(&op, data); err != nil {
			return err
		}
	}
	return nil
}

func (f *Reader) takePaths(body []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := varint.Reader{B: body}
	for len(r.B) > 0 {
		ino, path := r.Uvarint(), r.String(maxPathSize)
		if r.Bad {
			return corrupt("block %d makes no sense", f.number-1)
		}
		if len(f.paths) >= maxPaths {
			return fail.New(fail.TooBig, "file of operations: it is about more than %d objects that it does not make", maxPaths)
		}
		f.paths[ino] = path
	}
	return nil
}

func (f *Reader) end(body []byte) error {
	r := varint.Reader{B: body}
	ops, bytes := r.Uvarint(), r.Uvarint()
	if r.Bad || len(r.B) != 0 || ops != f.count || bytes != f.bytes {
		return corrupt("it has %d operations with %d bytes, and claims %d with %d", f.count, f.bytes, ops, bytes)
	}
	if n, err := io.ReadFull(f.r, make([]byte, 1)); n != 0 {
		return corrupt("something follows its end")
	} else if err != io.EOF {
		return broken(err)
	}
	return nil
}
