package dump

import (
	"context"
	"encoding/binary"

	"varve/internal/fail"
)

// pieceRecords is how many records of data one header announces: a file is read
// in pieces of as much, by several readers at a time.
const pieceRecords = maxAddr

// An item is a part of the archive that one reader makes: a directory, or a piece
// of a file.
type item struct {
	ino   *Inode
	file  File   // of a file in more than one piece, opened once
	first uint64 // the first record of the piece
	ext   []byte // FreeBSD's extended attributes of a file in more than one piece
}

// A batch is a run of items and, when they are read, their records: whole but for
// the number of each header, which only the writer knows.
type batch struct {
	items  []item
	buf    []byte
	heads  []int // where headers begin in buf
	lost   int   // names in directories that lead to nothing
	xattrs int   // extended attributes that the profile has no place for
	err    error
	done   chan struct{}
}

// A packer turns items into records.
type packer struct {
	ctx    context.Context
	s      Source
	o      *Options
	common Header
	used   *Map
	dir    directory
	exts   []byte
}

// pack fills a batch.
func (p *packer) pack(b *batch) {
	for i := range b.items {
		if b.err = p.item(b, &b.items[i]); b.err != nil {
			b.err = fail.Wrap(fail.Other, b.err, "inode %d", b.items[i].ino.Ino)
			break
		}
	}
	close(b.done)
}

func (p *packer) item(b *batch, it *item) error {
	i := it.ino
	ext, err := p.extended(it)
	if err != nil {
		return err
	}
	h := p.header(i)
	h.ExtSize = uint32(len(ext))
	switch i.Mode & ModeType {
	case ModeDir:
		lost, err := p.dir.read(p.ctx, p.s, i, p.used)
		if err != nil {
			return err
		}
		b.lost += lost
		h.Size = uint64(len(p.dir.buf))
		p.bytes(b, &h, p.dir.buf, ext)
	case ModeLink:
		target, err := p.s.Target(p.ctx, i)
		if err != nil {
			return err
		}
		h.Size = uint64(len(target))
		p.bytes(b, &h, []byte(target), ext)
	case ModeFile:
		h.Size = i.Size
		if i.Flags&Snapshot != 0 {
			h.Size = 0
		}
		if err := p.piece(b, &h, it, ext); err != nil {
			return err
		}
		if it.first+pieceRecords < records(h.Size) {
			return nil // more pieces to come
		}
	default:
		p.bytes(b, &h, nil, ext)
	}
	if p.o.Profile == Linux && i.HasXattrs {
		return p.linuxXattrs(b, &h, i)
	}
	return nil
}

func records(bytes uint64) uint64 {
	return bytes/RecordSize + (bytes%RecordSize+RecordSize-1)/RecordSize
}

// extended returns FreeBSD's extended attributes of an item.
func (p *packer) extended(it *item) ([]byte, error) {
	if it.ext != nil || p.o.Profile != Portable || !it.ino.HasXattrs {
		return it.ext, nil
	}
	xs, err := p.s.Xattrs(p.ctx, it.ino)
	if err != nil {
		return nil, err
	}
	p.exts = appendBSD(p.exts[:0], xs)
	return p.exts, nil
}

func (p *packer) header(i *Inode) Header {
	h := p.common
	h.Type, h.Ino = TypeInode, i.Ino
	h.Mode, h.Nlink, h.UID, h.GID = uint16(i.Mode), i.Nlink, i.UID, i.GID
	h.Atime, h.Mtime, h.Ctime, h.Birth = i.Atime, i.Mtime, i.Ctime, i.Birth
	h.Exact, h.Special = true, i.Flags
	if i.IsDevice() {
		h.Major, h.Minor = i.Major, i.Minor
		h.Rdev, _ = Rdev(i.Major, i.Minor)
	}
	if p.o.Profile == Linux {
		h.FileFlags = ExtFlags.Write(i.Flags)
	}
	return h
}

// grow makes room for n records at the end of b, zeroed, and returns it.
func (b *batch) grow(n int) []byte {
	at := len(b.buf)
	if need := at + n*RecordSize; need <= cap(b.buf) {
		b.buf = b.buf[:need]
		clear(b.buf[at:])
	} else {
		b.buf = append(b.buf, make([]byte, n*RecordSize)...)
	}
	return b.buf[at:]
}

// head adds a header.
func (b *batch) head(h *Header) {
	b.heads = append(b.heads, len(b.buf))
	h.Encode(b.grow(1), binary.LittleEndian)
}

// bytes adds an inode whose data and extended attributes are in memory, in which
// there are no holes.
func (p *packer) bytes(b *batch, h *Header, data, ext []byte) {
	left := int(records(uint64(len(data))) + records(uint64(len(ext))))
	n := min(left, maxAddr)
	p.announce(b, h, n)
	for _, part := range [...][]byte{data, ext} {
		for len(part) > 0 {
			if n == 0 {
				h.Type = TypeAddr
				n = min(left, maxAddr)
				p.announce(b, h, n)
			}
			c := min(len(part), n*RecordSize)
			r := int(records(uint64(c)))
			copy(b.grow(r), part[:c])
			part, n, left = part[c:], n-r, left-r
		}
	}
}

// announce adds a header of n records, none of which is a hole.
func (p *packer) announce(b *batch, h *Header, n int) {
	h.Count = int32(n)
	h.Addr = [maxAddr]byte{}
	for i := range n {
		h.Addr[i] = 1
	}
	b.head(h)
}

// piece adds a piece of a file, and after the last one its extended attributes.
func (p *packer) piece(b *batch, h *Header, it *item, ext []byte) error {
	total := records(h.Size)
	n := int(min(total-it.first, pieceRecords))
	last := it.first+uint64(n) == total
	if it.first > 0 {
		h.Type = TypeAddr
	}
	h.Count, h.Addr = int32(n), [maxAddr]byte{}
	at := len(b.buf)
	b.heads = append(b.heads, at)
	b.grow(1)
	if n > 0 {
		f, err := it.file, error(nil)
		if f == nil {
			if f, err = p.s.Open(p.ctx, it.ino); err != nil {
				return err
			}
		}
		if err := p.data(b, h, f, it.first, n); err != nil {
			return err
		}
		if last && h.Addr[n-1] == 0 { // see docs/dump.md: the last block is no hole
			h.Addr[n-1] = 1
			h.Special |= TailHole
			b.grow(1)
		}
	}
	more := 0
	if last && len(ext) > 0 {
		more = int(records(uint64(len(ext))))
		if n+more <= maxAddr {
			for i := range more {
				h.Addr[n+i] = 1
			}
			h.Count += int32(more)
			copy(b.grow(more), ext)
			more = 0
		}
	}
	h.Encode(b.buf[at:], binary.LittleEndian)
	if more > 0 {
		h.Type = TypeAddr
		p.bytes(b, h, nil, ext)
	}
	return nil
}

// data adds n records of a file from record first on, without the holes.
func (p *packer) data(b *batch, h *Header, f File, first uint64, n int) error {
	begin, end := first*RecordSize, min((first+uint64(n))*RecordSize, h.Size)
	next := first // the first record that is not looked at yet
	for at := begin; at < end; {
		from, to, err := f.Next(p.ctx, at)
		if err != nil {
			return err
		}
		if from < at || to < from {
			return fail.New(fail.Corrupt, "data from byte %d to %d, after byte %d", from, to, at)
		}
		if from >= end || from == to {
			return nil
		}
		to = min(to, end)
		lo, hi := max(from/RecordSize, next), records(to)
		if lo < hi {
			for r := lo; r < hi; r++ {
				h.Addr[r-first] = 1
			}
			buf := b.grow(int(hi - lo))
			if err := f.Read(p.ctx, buf[:min(uint64(len(buf)), h.Size-lo*RecordSize)], lo*RecordSize); err != nil {
				return err
			}
		}
		at, next = to, max(next, hi)
	}
	return nil
}
