package engine

import (
	"encoding/binary"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/segment"
)

// The file "digests" beside the segments keeps digests over restarts. It can be
// lost, cut or damaged without any harm but time: a record counts only if its
// checksum holds and the log has the frame that it names. It begins with
//
//	 0   8  magic "varvedig"
//	 8   4  format version, 1
//	12   4  zero
//	16  16  pool id
//
// and goes on with records, little endian, each behind the other:
//
//	 0   4  length of what follows the checksum, bytes
//	 4   4  CRC32C of that
//	 8   8  segment
//	16  28  position of its last frame (format.md, section 3.5)
//	44   -  digest (internal/oplog, Digest)
//
// Of two records of a segment the later counts. It is not synced.
type digestFile struct {
	open    func() (Scratch, error) // nil: digests stay in memory
	pool    [16]byte
	f       Scratch
	size    int64
	failed  bool // it is not tried again
	pending []byte
}

const (
	digestMagic   = "varvedig"
	digestVersion = 1
	digestHeader  = 32
	digestFixed   = 8 + segment.PositionSize
	maxDigest     = 16 << 10 // bytes of a record
	maxDigestFile = 128 << 20
)

func (f *digestFile) add(seg uint64, x *segmentDigest) {
	if f.open != nil && !f.failed {
		f.pending = appendDigest(f.pending, seg, x)
	}
}

func appendDigest(dst []byte, seg uint64, x *segmentDigest) []byte {
	le := binary.LittleEndian
	start := len(dst)
	dst = append(dst, make([]byte, 8)...)
	dst = x.Digest.Append(x.last.Append(le.AppendUint64(dst, seg)))
	body := dst[start+8:]
	le.PutUint32(dst[start:], uint32(len(body)))
	le.PutUint32(dst[start+4:], segment.Checksum(body))
	return dst
}

// parseDigest reads the record at the front of b and says how long it is; 0 if
// there is none that counts.
func parseDigest(b []byte) (seg uint64, x segmentDigest, n int) {
	le := binary.LittleEndian
	if len(b) < 8 {
		return 0, x, 0
	}
	length := int(le.Uint32(b))
	if length < digestFixed || length > maxDigest || length > len(b)-8 || segment.Checksum(b[8:8+length]) != le.Uint32(b[4:]) {
		return 0, x, 0
	}
	d, err := oplog.ParseDigest(b[8+digestFixed : 8+length])
	if err != nil {
		return 0, x, 0
	}
	x = segmentDigest{last: segment.ParsePosition(b[16:]), Digest: *d}
	return le.Uint64(b[8:]), x, 8 + length
}

// load reads the file, once. What is behind the first record that does not
// count is written anew.
func (d *digests) load(e *Engine) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := &d.file
	if f.open = e.opt.Digests; f.open == nil || f.f != nil || f.failed {
		return
	}
	f.pool = e.super.pool
	file, err := f.open()
	if err != nil {
		f.failed = true
		e.logger.Warn("digests of segments stay in memory", "err", err)
		return
	}
	f.f = file
	if b := f.content(); b != nil {
		for len(b) > 0 {
			seg, x, n := parseDigest(b)
			if n == 0 || len(d.of) >= maxDigests {
				break
			}
			if d.of == nil {
				d.of = make(map[uint64]segmentDigest)
			}
			d.of[seg] = x
			b, f.size = b[n:], f.size+int64(n)
		}
	}
}

// content reads what is behind the header, nil if that is not ours.
func (f *digestFile) content() []byte {
	head := make([]byte, digestHeader)
	if n, _ := f.f.ReadAt(head, 0); n < digestHeader || string(head) != string(f.header()) {
		return nil
	}
	f.size = digestHeader
	var b []byte
	for len(b) < maxDigestFile {
		piece := make([]byte, 1<<20)
		n, err := f.f.ReadAt(piece, digestHeader+int64(len(b)))
		b = append(b, piece[:n]...)
		if err != nil || n == 0 {
			break
		}
	}
	return b
}

func (f *digestFile) header() []byte {
	h := append([]byte(digestMagic), digestVersion, 0, 0, 0, 0, 0, 0, 0)
	return append(h, f.pool[:]...)
}

// save writes what is new. An error is no harm: it is told, and the file left.
func (d *digests) save(e *Engine) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := &d.file
	if f.f == nil || len(f.pending) == 0 {
		return
	}
	if err := d.write(); err != nil {
		f.failed = true
		e.logger.Warn("digests of segments stay in memory", "err", fail.Wrap(fail.Other, err, "file of digests"))
	}
	f.pending = nil
}

func (d *digests) write() error {
	f := &d.file
	if f.size+int64(len(f.pending)) > maxDigestFile || f.size == 0 {
		f.size, f.pending = 0, f.header()
		for seg, x := range d.of {
			f.pending = appendDigest(f.pending, seg, &x)
		}
		if err := f.f.Truncate(0); err != nil {
			return err
		}
	}
	_, err := f.f.WriteAt(f.pending, f.size)
	f.size += int64(len(f.pending))
	return err
}

// close closes the file.
func (d *digests) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.file.f != nil {
		d.file.f.Close()
		d.file.f, d.file.failed = nil, true
	}
}
