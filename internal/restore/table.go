package restore

import (
	"bufio"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"io"

	"varve/internal/fail"
)

/*
The table of a restored chain, in the file restoresymtable of the tree. It has the
role of restore(8)'s file of that name, and another form: that one is read by no
program but the one that wrote it.

	magic 16 | date i64 | level i32 | directories u32 | filesystem: length u8, bytes
	per directory: inode u32 | length of its names u32, in units of 4 bytes | names, as in the spool
	crc32c u32 of all before it

It is little-endian, and written beside its name and renamed, when the tree is what
the archive says.
*/
const (
	TableName  = "restoresymtable"
	tableMagic = "varve restored 1"
)

// table is what a chain of archives has made so far.
type table struct {
	date       int64 // of the last archive
	level      int32
	filesystem string
	names      *names
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// writeTable writes a table.
func writeTable(w io.Writer, t *table) error {
	sum := crc32.New(castagnoli)
	out := bufio.NewWriterSize(io.MultiWriter(w, sum), 256<<10)
	n := t.names
	var placed uint32
	for i := range n.dirs {
		if n.placed(i) {
			placed++
		}
	}
	b := append([]byte(tableMagic), make([]byte, 16)...)
	binary.LittleEndian.PutUint64(b[16:], uint64(t.date))
	binary.LittleEndian.PutUint32(b[24:], uint32(t.level))
	binary.LittleEndian.PutUint32(b[28:], placed)
	fs := t.filesystem[:min(len(t.filesystem), 255)]
	b = append(append(b, byte(len(fs))), fs...)
	if _, err := out.Write(b); err != nil {
		return err
	}
	buf := make([]byte, 256<<10)
	for i, d := range n.dirs {
		if !n.placed(i) {
			continue
		}
		var head [8]byte
		binary.LittleEndian.PutUint32(head[:], d.ino)
		binary.LittleEndian.PutUint32(head[4:], d.to-d.from)
		if _, err := out.Write(head[:]); err != nil {
			return err
		}
		for at, end := int64(d.from)*nameUnit, int64(d.to)*nameUnit; at < end; {
			k, err := n.blob.read(buf[:min(int64(len(buf)), end-at)], at)
			if err != nil {
				return err
			}
			if _, err := out.Write(buf[:k]); err != nil {
				return err
			}
			at += int64(k)
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	_, err := w.Write(binary.LittleEndian.AppendUint32(nil, sum.Sum32()))
	return err
}

// summed reads and sums up.
type summed struct {
	r   *bufio.Reader
	sum hash.Hash32
}

func (s *summed) full(p []byte) error {
	if _, err := io.ReadFull(s.r, p); err != nil {
		return fail.New(fail.Corrupt, "%s ends too soon", TableName)
	}
	s.sum.Write(p)
	return nil
}

// loadTable reads a table. What it takes of memory is bounded by what is there to
// read.
func loadTable(r io.Reader, memory int) (*table, error) {
	s := &summed{bufio.NewReaderSize(r, 256<<10), crc32.New(castagnoli)}
	var head [33]byte
	if err := s.full(head[:len(tableMagic)]); err != nil || string(head[:len(tableMagic)]) != tableMagic {
		return nil, fail.New(fail.Unsupported, "%s was not written by varve restore", TableName).
			WithHint("go on with the program that restored here before, or restore level 0 anew into an empty directory")
	}
	if err := s.full(head[16:33]); err != nil {
		return nil, err
	}
	t := &table{date: int64(binary.LittleEndian.Uint64(head[16:])), level: int32(binary.LittleEndian.Uint32(head[24:])), names: namesWithin(memory)}
	fs := make([]byte, head[32])
	err := s.full(fs)
	t.filesystem = string(fs)
	for n := binary.LittleEndian.Uint32(head[28:]); n > 0 && err == nil; n-- {
		err = t.names.readDir(s)
	}
	if err == nil {
		want := s.sum.Sum32()
		var b [4]byte
		if err = s.full(b[:]); err == nil && binary.LittleEndian.Uint32(b[:]) != want {
			err = fail.New(fail.Corrupt, "%s fails its checksum", TableName)
		}
	}
	if err != nil {
		t.names.close()
		return nil, fail.Wrap(fail.Other, err, "the table of what was restored before").WithHint("restore level 0 anew into an empty directory")
	}
	if err := t.names.index(); err != nil {
		t.names.close()
		return nil, err
	}
	return t, t.names.connect(func(uint32, string) {})
}

// readDir reads a directory of a table.
func (n *names) readDir(s *summed) error {
	var head [8]byte
	if err := s.full(head[:]); err != nil {
		return err
	}
	n.beginDir(binary.LittleEndian.Uint32(head[:]))
	for left := int64(binary.LittleEndian.Uint32(head[4:])) * nameUnit; left > 0; {
		var b [mostEntry]byte
		if err := s.full(b[:8]); err != nil {
			return err
		}
		size := entrySize(int(b[5]))
		if size > 8 {
			if err := s.full(b[8:size]); err != nil {
				return err
			}
		}
		name := string(b[nameHead : nameHead+int(b[5])])
		if left -= int64(size); left < 0 || !goodName(name) {
			return fail.New(fail.Corrupt, "%s has a name that cannot be one", TableName)
		}
		if _, err := n.add(entry{binary.LittleEndian.Uint32(b[:]), b[4], name}); err != nil {
			return err
		}
	}
	return n.endDir(func(string) {})
}
