package restore

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
)

// tape writes archives as Linux and FreeBSD do. It is made of what is known of the
// format alone, and shares no code with what varve writes and reads.
type tape struct {
	kind  string // linux, ufs1, ufs2
	o     binary.ByteOrder
	b     []byte
	n     int64 // records
	vol   uint32
	date  int64
	ddate int64
	level uint32
	flags uint32 // of every header
}

const (
	when1 = 1_700_000_000
	nano  = 123_456_789
)

func newTape(kind string, o binary.ByteOrder) *tape {
	return &tape{kind: kind, o: o, vol: 1, date: when1}
}

// inode is what a header says of an object.
type inode struct {
	mode     uint16
	uid, gid uint32
	size     uint64
	rdev     uint32
	flags    uint32
	ext      uint32
}

func (t *tape) record(p []byte) {
	var r [1024]byte
	copy(r[:], p)
	t.b = append(t.b, r[:]...)
	t.n++
}

// header writes a header; count is what it says, if it is not the length of addr.
func (t *tape) header(kind, ino uint32, i inode, addr []byte, count int, more ...func(r []byte)) {
	r := make([]byte, 1024)
	put := func(at int, v uint32) { t.o.PutUint32(r[at:], v) }
	put64 := func(at int, v int64) { t.o.PutUint64(r[at:], uint64(v)) }
	put(0, kind)
	put(12, t.vol)
	put(20, ino)
	t.o.PutUint16(r[32:], i.mode)
	put64(40, int64(i.size))
	put(72, i.rdev)
	put(132, i.flags)
	put(144, i.uid)
	put(148, i.gid)
	put(160, uint32(count))
	copy(r[164:676], addr)
	copy(r[676:], "label")
	put(692, t.level)
	copy(r[696:], "/home")
	put(888, 2|t.flags)
	if t.kind == "ufs2" {
		put(24, 0x19540119)
		put(52, nano)
		put(60, nano)
		put64(88, when1-5)
		put64(96, when1-10)
		put(104, i.ext)
		put64(896, t.date)
		put64(904, t.ddate)
		put64(912, t.n)
	} else {
		put(24, 60012)
		put(4, uint32(t.date))
		put(8, uint32(t.ddate))
		put(16, uint32(t.n))
		put(48, when1-5)
		put(56, when1-10)
		sub := uint32(nano)
		if t.kind == "linux" {
			sub = nano / 1000
			put(896, 10)
		}
		put(52, sub)
		put(60, sub)
	}
	for _, f := range more {
		f(r)
	}
	put(28, 0)
	sum := uint32(0)
	for k := 0; k < 1024; k += 4 {
		sum += t.o.Uint32(r[k:])
	}
	put(28, 84446-sum)
	t.record(r)
}

// begin writes the first header and the maps.
func (t *tape) begin(used, dumped []uint32) {
	t.header(1, 0, inode{}, nil, 1)
	t.bitmap(6, used)
	t.bitmap(3, dumped)
}

func (t *tape) bitmap(kind uint32, inos []uint32) {
	var bits []byte
	for _, ino := range inos {
		for int(ino-1)/8 >= len(bits) {
			bits = append(bits, make([]byte, 1024)...)
		}
		bits[(ino-1)/8] |= 1 << ((ino - 1) % 8)
	}
	t.header(kind, 2, inode{size: uint64(len(bits))}, nil, len(bits)/1024)
	for ; len(bits) > 0; bits = bits[1024:] {
		t.record(bits[:1024])
	}
}

// object writes an inode with its data, in which blocks of zeros are holes, and behind
// them, for UFS, its extended attributes.
func (t *tape) object(ino uint32, i inode, data, ext []byte) {
	i.size, i.ext = uint64(len(data)), uint32(len(ext))
	blocks, addr := t.blocks(data, true)
	more, extAddr := t.blocks(ext, false)
	blocks, addr = append(blocks, more...), append(addr, extAddr...)
	for kind := uint32(2); ; kind = 4 {
		n := min(len(addr), 512)
		t.header(kind, ino, i, addr[:n], n)
		for k, a := range addr[:n] {
			if a != 0 {
				t.record(blocks[k])
			}
		}
		blocks, addr = blocks[n:], addr[n:]
		if len(addr) == 0 {
			return
		}
	}
}

func (t *tape) blocks(p []byte, holes bool) (blocks [][]byte, addr []byte) {
	for len(p) > 0 {
		n := min(len(p), 1024)
		a := byte(1)
		if holes && len(bytes.Trim(p[:n], "\x00")) == 0 {
			a = 0
		}
		blocks, addr, p = append(blocks, p[:n]), append(addr, a), p[n:]
	}
	return blocks, addr
}

func (t *tape) file(ino uint32, data string) { t.object(ino, inode{mode: 0o100644}, []byte(data), nil) }

func (t *tape) link(ino uint32, target string) {
	t.object(ino, inode{mode: 0o120777}, []byte(target), nil)
}

// name is an entry of a directory.
type name struct {
	ino  uint32
	kind uint8
	name string
}

func (t *tape) dir(ino, parent uint32, names ...name) {
	t.object(ino, inode{mode: 0o40755}, t.dirData(ino, parent, names...), nil)
}

func (t *tape) dirData(ino, parent uint32, names ...name) []byte {
	var out, block []byte
	last := 0
	for _, n := range append([]name{{ino, 4, "."}, {parent, 4, ".."}}, names...) {
		size := (8 + len(n.name) + 1 + 3) &^ 3
		if len(block)+size > 512 {
			t.o.PutUint16(block[last+4:], uint16(512-last))
			out, block = append(out, append(block, make([]byte, 512-len(block))...)...), nil
		}
		last = len(block)
		e := make([]byte, size)
		t.o.PutUint32(e, n.ino)
		t.o.PutUint16(e[4:], uint16(size))
		e[6], e[7] = n.kind, uint8(len(n.name))
		copy(e[8:], n.name)
		block = append(block, e...)
	}
	t.o.PutUint16(block[last+4:], uint16(512-last))
	return append(out, append(block, make([]byte, 512-len(block))...)...)
}

func (t *tape) end() []byte {
	for {
		t.header(5, 0, inode{}, nil, 0)
		if t.n%10 == 0 {
			return t.b
		}
	}
}

// ufsXattr is an extended attribute as UFS2 has it.
func (t *tape) ufsXattr(space uint8, name, value string) []byte {
	head := (7 + len(name) + 7) &^ 7
	pad := -len(value) & 7
	b := make([]byte, head+len(value)+pad)
	t.o.PutUint32(b, uint32(len(b)))
	b[4], b[5], b[6] = space, uint8(pad), uint8(len(name))
	copy(b[7:], name)
	copy(b[head:], value)
	return b
}

// squeeze compresses an archive as Linux does: blocks of 10 records, the first raw.
func squeeze(b []byte) []byte {
	const size = 10240
	for at := 0; at < len(b); at += 1024 { // every header says so
		if binary.LittleEndian.Uint32(b[at+24:]) == 60012 {
			f := binary.LittleEndian.Uint32(b[at+888:]) | 0x80
			sum := binary.LittleEndian.Uint32(b[at+28:]) + binary.LittleEndian.Uint32(b[at+888:]) - f
			binary.LittleEndian.PutUint32(b[at+888:], f)
			binary.LittleEndian.PutUint32(b[at+28:], sum)
		}
	}
	out := append([]byte(nil), b[:size]...)
	for b = b[size:]; len(b) > 0; b = b[size:] {
		var z bytes.Buffer
		w := zlib.NewWriter(&z)
		w.Write(b[:size])
		w.Close()
		packed, v := z.Bytes(), uint32(z.Len())<<4|1
		if len(packed) >= size {
			packed, v = b[:size], size<<4
		}
		out = append(binary.LittleEndian.AppendUint32(out, v), packed...)
	}
	return out
}
