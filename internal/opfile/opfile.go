// Package opfile writes and reads files of operations with their data: what
// varve log --export makes and varve replay --from repeats on another pool.
//
// A file is a header and blocks, all integers little endian, u an unsigned
// varint, s a length u and that many bytes:
//
//	header   0   8  magic "varveops"
//	         8   4  format version, 1
//	        12   4  length of what follows the checksum, bytes
//	        16   4  CRC32C of that
//	        20      pool id 16 | dataset id u64 | kind u8: 0 volume, 1 share |
//	                name of the dataset s | from u | to u: the operations are of (from, to]
//
//	block    0   4  length of the body, bytes; at most 8 MiB
//	         4   4  CRC32C of type, number and body
//	         8   1  type
//	         9   8  number, from 0 on
//	        17      body
//
//	type 1, operations: each
//	        lsn: difference to the one before in this block u (the first: to 0)
//	        record: length u | record as in the log (internal/oplog), without extents;
//	          names of clients are numbered per block
//	        data: length u | the exact bytes [off, off+len) of a write; else 0
//	type 2, paths of objects that no operation of the file made, before the first
//	        operation that is about one: each  inode u | path s, as of that moment;
//	        an empty path: the object had none
//	type 3, the end: operations u | bytes of data u
//
// Nothing follows the end. A file without it was cut off. A reader knows version
// and types or refuses the file.
package opfile

import (
	"encoding/binary"
	"hash/crc32"
	"io"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/varint"
)

const (
	magic       = "varveops"
	version     = 1
	headSize    = 20
	blockHead   = 17
	maxBody     = 8 << 20
	maxHeader   = 4096
	fullBlock   = 1 << 20 // bytes, from which on a block is written
	maxPathSize = 64 << 10
)

// Types of blocks.
const (
	blockOps   = 1
	blockPaths = 2
	blockEnd   = 3
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header says where operations come from.
type Header struct {
	Pool     [16]byte
	Dataset  uint64
	Share    bool // else a volume
	Name     string
	From, To uint64 // LSNs: operations of (From, To]
}

// Writer writes a file. Not safe for concurrent use.
type Writer struct {
	w       io.Writer
	enc     oplog.Encoder
	number  uint64 // of the next block
	ops     []byte
	paths   []byte
	last    uint64 // the LSN before in the open block
	record  []byte
	count   uint64
	bytes   uint64
	scratch []byte
}

// NewWriter begins a file with its header.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	le := binary.LittleEndian
	body := append([]byte(nil), h.Pool[:]...)
	body = le.AppendUint64(body, h.Dataset)
	kind := byte(0)
	if h.Share {
		kind = 1
	}
	body = varint.AppendString(append(body, kind), h.Name)
	body = binary.AppendUvarint(binary.AppendUvarint(body, h.From), h.To)
	b := le.AppendUint32([]byte(magic), version)
	b = le.AppendUint32(b, uint32(len(body)))
	b = le.AppendUint32(b, crc32.Checksum(body, castagnoli))
	_, err := w.Write(append(b, body...))
	return &Writer{w: w}, err
}

// Path tells the path of an object that no operation of the file made, before the
// next operation. "": it has none.
func (w *Writer) Path(ino uint64, path string) error {
	if err := w.flushOps(); err != nil { // paths come first
		return err
	}
	w.paths = varint.AppendString(binary.AppendUvarint(w.paths, ino), path)
	if len(w.paths) < fullBlock {
		return nil
	}
	return w.flushPaths()
}

// Op adds an operation, of a greater LSN than all before, with the bytes of a
// write. op and data are not kept.
func (w *Writer) Op(op *oplog.Op, data []byte) error {
	if err := w.flushPaths(); err != nil {
		return err
	}
	bare := *op
	bare.Extents = nil
	w.record = w.enc.Append(w.record[:0], &bare, w.number+1)
	if n := len(w.ops) + len(w.record) + len(data) + 32; n > maxBody {
		return fail.New(fail.TooBig, "operation %d has %d bytes of data", op.LSN, len(data))
	}
	b := binary.AppendUvarint(w.ops, op.LSN-w.last)
	b = append(binary.AppendUvarint(b, uint64(len(w.record))), w.record...)
	w.ops = append(binary.AppendUvarint(b, uint64(len(data))), data...)
	w.last = op.LSN
	w.count++
	w.bytes += uint64(len(data))
	if len(w.ops) < fullBlock {
		return nil
	}
	return w.flushOps()
}

// Close writes what is left and the end. The underlying writer stays open.
func (w *Writer) Close() error {
	if err := w.flushPaths(); err != nil {
		return err
	}
	if err := w.flushOps(); err != nil {
		return err
	}
	return w.block(blockEnd, binary.AppendUvarint(binary.AppendUvarint(nil, w.count), w.bytes))
}

// Ops and Bytes are what was written.
func (w *Writer) Ops() (ops, bytes uint64) { return w.count, w.bytes }

func (w *Writer) flushOps() error {
	if len(w.ops) == 0 {
		return nil
	}
	err := w.block(blockOps, w.ops)
	w.ops, w.last = w.ops[:0], 0
	return err
}

func (w *Writer) flushPaths() error {
	if len(w.paths) == 0 {
		return nil
	}
	err := w.block(blockPaths, w.paths)
	w.paths = w.paths[:0]
	return err
}

func (w *Writer) block(kind byte, body []byte) error {
	le := binary.LittleEndian
	b := append(w.scratch[:0], make([]byte, 8)...)
	b = le.AppendUint64(append(b, kind), w.number)
	b = append(b, body...)
	le.PutUint32(b, uint32(len(body)))
	le.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	w.scratch = b
	w.number++
	_, err := w.w.Write(b)
	return err
}
