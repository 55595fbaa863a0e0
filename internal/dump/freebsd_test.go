package dump

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// bsdHeader is a header as FreeBSD's <protocols/dumprestore.h> defines it, field by
// field, without a look at record.go: binary.Read and binary.Write leave no gaps.
type bsdHeader struct {
	Type               int32
	OldDate, OldDDate  int32
	Volume             int32
	OldTapeA           int32
	Inumber            uint32
	Magic, Checksum    int32
	Mode               uint16
	Spare1             [3]int16
	Size               uint64
	OldAtime, AtimeSub int32
	OldMtime, MtimeSub int32
	Spare2             [2]int32
	Rdev               int32
	BirthSub           int32
	Birth              int64
	Atime, Mtime       int64
	ExtSize            int32
	Spare4             [6]int32
	FileFlags          uint32
	Spare5             [2]int32
	UID, GID           uint32
	Spare6             [2]int32
	Count              int32
	Addr               [512]byte
	Label              [16]byte
	Level              int32
	Filesys, Dev, Host [64]byte
	Flags              int32
	OldFirstRec        int32
	Date, DDate        int64
	TapeA, FirstRec    int64
	Spare              [24]int32
}

// encoded is the header as a record, with its checksum.
func (h bsdHeader) encoded(t *testing.T) []byte {
	t.Helper()
	put := func() []byte {
		var b bytes.Buffer
		if err := binary.Write(&b, binary.LittleEndian, h); err != nil || b.Len() != 1024 {
			t.Fatalf("a header of %d bytes, %v", b.Len(), err)
		}
		return b.Bytes()
	}
	h.Checksum = 0
	sum := int32(0)
	for b := put(); len(b) > 0; b = b[4:] {
		sum += int32(binary.LittleEndian.Uint32(b))
	}
	h.Checksum = 84446 - sum
	return put()
}

// TestDefinition: records of a portable archive have the bytes that the definition
// gives to what is in them. Only the field that FreeBSD keeps for future use has more.
func TestDefinition(t *testing.T) {
	f := newFake()
	n := f.add(4, RootIno, "file", ModeFile|0o4711)
	n.put(0, []byte("begin"))
	n.put(2048, []byte("middle"))
	n.Size = 5000
	n.UID, n.GID, n.Nlink = 100_000, 70_000, 2
	n.Atime, n.Mtime, n.Birth = Time{-315619200, 123456789}, Time{1 << 33, 987654321}, Time{7, 8000}
	n.Ctime = Time{5, 6000}
	n.xattr("user.color", []byte("blue"))
	c := f.add(5, RootIno, "device", ModeChar|0o660)
	c.Major, c.Minor, c.Mtime, c.Ctime = 259, 300, Time{9, 0}, Time{}
	o := options(Portable)
	o.Blocking, o.Level, o.DDate, o.Label = 4, 3, 1600000000, "fifteen letters"
	o.Filesys, o.Dev, o.Host = "/home", "home@now", "lake"
	b := written(t, f, Since{Level: 3, Time: 1}, o)

	common := bsdHeader{
		OldDate: 1700000000, OldDDate: 1600000000, Volume: 1, Magic: 0x19540119, Level: 3, Flags: 2, Date: 1700000000, DDate: 1600000000,
	}
	copy(common.Label[:], "fifteen letters")
	copy(common.Filesys[:], "/home")
	copy(common.Dev[:], "home@now")
	copy(common.Host[:], "lake")
	at := func(record int64, h bsdHeader) bsdHeader {
		h.OldTapeA, h.TapeA = int32(record), record
		return h
	}
	tape := at(0, common)
	tape.Type, tape.Count, tape.Flags = 1, 1, 3
	clri := at(1, common)
	clri.Type, clri.Count, clri.Inumber, clri.Size = 6, 1, 5, 1024
	bits := at(3, common)
	bits.Type, bits.Count, bits.Inumber, bits.Size = 3, 1, 5, 1024
	file := at(7, common)
	file.Type, file.Inumber, file.Mode, file.Size, file.Count = 2, 4, 0o104711, 5000, 6
	file.Addr = [512]byte{1, 0, 1, 0, 1, 1} // the last of the data is no hole; then attributes
	file.UID, file.GID, file.ExtSize = 100_000, 70_000, 24
	file.Spare1 = [3]int16{2, -31072, 4464} // Linux's: links, and owners of 16 bits
	file.OldAtime, file.Atime, file.AtimeSub = -315619200, -315619200, 123456
	file.OldMtime, file.Mtime, file.MtimeSub = 1<<31-1, 1<<33, 987654
	file.Birth, file.BirthSub = 7, 8
	file.Spare2 = [2]int32{5, 6} // Linux's ctime
	device := at(12, common)
	device.Type, device.Inumber, device.Mode, device.Spare1 = 2, 5, 0o20660, [3]int16{1, 0, 0}
	device.OldMtime, device.Mtime = 9, 9
	device.Rdev = 300&0xff | 259<<8 | 300&^0xff<<12
	end := at(13, common)
	end.Type, end.Inumber = 5, 5
	for record, want := range map[int]bsdHeader{0: tape, 1: clri, 3: bits, 7: file, 12: device, 13: end} {
		got := bytes.Clone(b[record*1024 : (record+1)*1024])
		// What FreeBSD keeps for future use has our own fields, and the checksum is of them too.
		extra := uint32(0)
		for k := 928; k < 1000; k += 4 {
			extra += binary.LittleEndian.Uint32(got[k:])
		}
		clear(got[928:1000])
		binary.LittleEndian.PutUint32(got[28:], binary.LittleEndian.Uint32(got[28:])+extra)
		if w := want.encoded(t); !bytes.Equal(got, w) {
			t.Errorf("record %d: %s", record, firstDifference(sketch(got), sketch(w)))
		}
	}
	ext := append([]byte{24, 0, 0, 0, 1, 4, 5}, "color\x00\x00\x00\x00blue\x00\x00\x00\x00"...)
	if got := b[11*1024 : 12*1024]; !bytes.Equal(got[:24], ext) || bytes.Trim(got[24:], "\x00") != nil {
		t.Errorf("attributes % x, not % x", got[:40], ext)
	}
	if got := b[2*1024 : 3*1024]; got[0] != 1<<1|1<<3|1<<4 || bytes.Trim(got[1:], "\x00") != nil {
		t.Errorf("the map of what is in use begins with % x", got[:8])
	}
}

// bsdRestore reads an archive step by step as FreeBSD's restore does (its setup,
// gethead, findinode, getfile, extractdirs): what that program would stop at fails.
type bsdRestore struct {
	t       *testing.T
	b       []byte
	h       bsdHeader
	readMap bool
	date    int64
	maxino  int64
	block   int // bytes that it writes at a time
}

// bsdObject is what it would make of an inode.
type bsdObject struct {
	bsdHeader
	data []byte // as long as what was written: a hole at the end is lost
	ext  []byte
}

func (r *bsdRestore) record() []byte {
	r.t.Helper()
	if len(r.b) < 1024 {
		r.t.Fatal("FreeBSD's restore ran off the end")
	}
	b := r.b[:1024]
	r.b = r.b[1024:]
	return b
}

func (r *bsdRestore) head() {
	r.t.Helper()
	b := r.record()
	sum := int32(0)
	for k := 0; k < 1024; k += 4 {
		sum += int32(binary.LittleEndian.Uint32(b[k:]))
	}
	if err := binary.Read(bytes.NewReader(b), binary.LittleEndian, &r.h); err != nil {
		r.t.Fatal(err)
	}
	h := &r.h
	switch {
	case h.Magic != 0x19540119:
		r.t.Fatalf("magic %#x", h.Magic)
	case sum != 84446:
		r.t.Fatalf("checksum %d", sum)
	case r.date != 0 && h.Date != r.date:
		r.t.Fatal("Header with wrong dumpdate.")
	}
	r.readMap = false
	switch h.Type {
	case 6, 3: // maps
		h.Size = uint64(h.Count) * 1024
		if h.Count > 512 {
			r.readMap = true
		} else {
			for i := range h.Count {
				h.Addr[i]++
			}
		}
		h.Inumber = 0
	case 1, 5:
		h.Inumber = 0
	case 2, 4:
	default:
		r.t.Fatalf("gethead: unknown inode type %d", h.Type)
	}
}

// file reads the data that the present header announces, and its attributes, and goes to
// the next header but ADDR.
func (r *bsdRestore) file() (o bsdObject) {
	r.t.Helper()
	o.bsdHeader = r.h
	if r.h.Type == 5 {
		r.t.Fatal("ran off end of tape")
	}
	var buf []byte
	pos, inExt := 0, false
	write := func(n int) {
		switch {
		case inExt:
			o.ext = append(o.ext, buf[:n]...)
		default:
			o.data = append(append(o.data, make([]byte, pos-len(o.data))...), buf[:n]...)
			pos = len(o.data)
		}
		buf = buf[:0]
	}
	size, attr := int64(r.h.Size), int64(r.h.ExtSize)
	if size == 0 && attr > 0 {
		inExt, size, attr = true, attr, 0
	}
	for {
		done := false
		for i := 0; i < int(r.h.Count) && !done; i++ {
			if !r.readMap && i > 512 {
				r.t.Fatalf("spcl.c_count = %d", r.h.Count)
			}
			if r.readMap || r.h.Addr[i] != 0 {
				buf = append(buf, r.record()...)
				if len(buf) == r.block {
					write(int(min(size, 1024)) + len(buf) - 1024)
				}
			} else {
				if inExt {
					r.t.Fatal("a hole in attributes")
				}
				if len(buf) > 0 {
					write(len(buf))
				}
				pos += int(min(size, 1024))
			}
			if size -= 1024; size > 0 {
				continue
			}
			if len(buf) > 0 {
				write(len(buf) + int(size))
			}
			if attr > 0 {
				inExt, size, attr = true, attr, 0
				continue
			}
			for i++; i < int(r.h.Count); i++ {
				if r.readMap || r.h.Addr[i] != 0 {
					r.record()
				}
			}
			done = true
		}
		r.head()
		if size > 0 && r.h.Type == 4 {
			continue
		}
		if size > 0 {
			r.t.Fatalf("Missing address (header) block of inode %d: %d bytes", o.Inumber, size)
		}
		break
	}
	if len(buf) > 0 {
		r.t.Fatal("getfile: lost data")
	}
	if r.h.Type == 4 || r.h.Type == 1 {
		r.t.Fatalf("a header of type %d behind inode %d, which it would skip", r.h.Type, o.Inumber)
	}
	return o
}

// names reads the directory as putdir does.
func (o *bsdObject) names(t *testing.T, maxino int64) (list []Entry) {
	t.Helper()
	const chunk = 1024 // its DIRBLKSIZ
	for loc := 0; loc < len(o.data); {
		e := o.data[loc:]
		ino, reclen, kind, n := binary.LittleEndian.Uint32(e), int(binary.LittleEndian.Uint16(e[4:])), e[6], int(e[7])
		if reclen%4 != 0 || reclen > chunk-loc%chunk || reclen < 8+(n+1+3)&^3 {
			t.Fatalf("directory %d: Mangled directory: an entry of %d bytes with a name of %d at %d", o.Inumber, reclen, n, loc)
		}
		if ino != 0 {
			if int64(ino) >= maxino || e[8+n] != 0 {
				t.Fatalf("directory %d: corrupted directory: bad inum %d, or no NUL", o.Inumber, ino)
			}
			list = append(list, Entry{ino, kind, string(e[8 : 8+n])})
		}
		loc += reclen
	}
	return list
}

// attributes reads the area with the macros of <ufs/ufs/extattr.h>, and gives names as
// Linux has them.
func (o *bsdObject) attributes(t *testing.T) (list []Xattr) {
	t.Helper()
	for b := o.ext; len(b) > 0; {
		length, space, pad, n := int(binary.LittleEndian.Uint32(b)), b[4], int(b[5]), int(b[6])
		base := (8 - 1 + n + 7) / 8 * 8 // -1 compensates for ea_name[1]
		if length <= 0 || length > len(b) || length-base-pad < 0 || length%8 != 0 {
			t.Fatalf("inode %d: a corrupted attribute of %d bytes", o.Inumber, length)
		}
		name := string(b[7 : 7+n])
		switch {
		case space == 1:
			name = "user." + name
		case space != 2:
			t.Fatalf("inode %d: namespace %d", o.Inumber, space)
		case !strings.HasPrefix(name, "trusted.") && !strings.HasPrefix(name, "security."):
			name = "system." + name
		}
		list = append(list, Xattr{name, b[base : length-pad]})
		b = b[length:]
	}
	return list
}

// restoreBSD reads a whole archive.
func restoreBSD(t *testing.T, b []byte, block int) (first bsdHeader, used, dumped []byte, objects map[uint32]bsdObject) {
	t.Helper()
	r := &bsdRestore{t: t, b: b, block: block}
	r.head()
	first = r.h
	r.date = first.Date
	if first.Type != 1 || first.Volume != 1 {
		t.Fatal("Tape is not volume 1 of the dump")
	}
	r.head()
	if r.h.Type != 6 {
		t.Fatal("Cannot find file removal list")
	}
	r.maxino = int64(r.h.Count)*1024*8 + 1
	m := r.file()
	used = m.data
	if r.h.Type != 3 {
		t.Fatal("Cannot find file dump list")
	}
	m = r.file()
	dumped = m.data
	if int64(len(used))*8+1 != r.maxino || len(dumped) != len(used) {
		t.Fatalf("maps of %d and %d bytes", len(used), len(dumped))
	}
	objects = make(map[uint32]bsdObject)
	files, last := false, uint32(0)
	for r.h.Type != 5 {
		if dir := r.h.Mode&ModeType == ModeDir; files && dir {
			t.Fatalf("directory %d comes behind files", r.h.Inumber)
		} else if !files && !dir {
			files, last = true, 0
		}
		if r.h.Inumber <= last {
			t.Fatalf("inode %d comes behind %d", r.h.Inumber, last)
		}
		last = r.h.Inumber
		o := r.file()
		objects[o.Inumber] = o
	}
	return first, used, dumped, objects
}

// TestFreeBSDRestores: what the restore of FreeBSD would make of portable archives is
// what was dumped, whatever that is.
func TestFreeBSDRestores(t *testing.T) {
	for round := range 20 {
		seed := uint64(time.Now().UnixNano())
		r := rand.New(rand.NewPCG(seed, uint64(round)))
		f := randomFake(r)
		for _, n := range f.nodes {
			n.Atime, n.Birth = Time{int64(r.Int32()), uint32(r.IntN(1e9))}, Time{r.Int64N(1 << 40), 7}
		}
		o := options(Portable)
		o.Blocking, o.Level, o.DDate = 1+r.IntN(20), r.IntN(2), 99
		b := written(t, f, Since{}, o)
		first, used, dumped, objects := restoreBSD(t, b, 1024<<r.IntN(7))
		if first.DDate != 99 || first.Date != o.Date || first.Level != int32(o.Level) {
			t.Errorf("the first header: %+v", first)
		}
		for ino := range uint32(len(used) * 8) {
			is := f.nodes[ino+1] != nil
			if has := used[ino/8]>>(ino%8)&1 != 0; has != is || has != (dumped[ino/8]>>(ino%8)&1 != 0) {
				t.Errorf("inode %d is in use: %v; the map says %v", ino+1, is, has)
			}
		}
		if !slices.Equal(slices.Sorted(maps.Keys(objects)), slices.Sorted(maps.Keys(f.nodes))) {
			t.Errorf("inodes %v, not %v", slices.Sorted(maps.Keys(objects)), slices.Sorted(maps.Keys(f.nodes)))
		}
		for ino, o := range objects {
			sameAsFreeBSD(t, f, f.nodes[ino], &o, int64(len(used))*8+1)
		}
		if t.Failed() {
			t.Fatalf("seed %d, round %d", seed, round)
		}
	}
}

func sameAsFreeBSD(t *testing.T, f *fake, n *node, o *bsdObject, maxino int64) {
	t.Helper()
	got := fmt.Sprint(o.Mode, o.UID, o.GID, o.Atime, o.Mtime, o.Birth, o.FileFlags)
	if want := fmt.Sprint(n.Mode, n.UID, n.GID, n.Atime.Sec, n.Mtime.Sec, n.Birth.Sec, 0); got != want {
		t.Errorf("inode %d: %s, not %s", n.Ino, got, want)
	}
	if o.AtimeSub >= 1e6 || o.MtimeSub >= 1e6 || o.BirthSub >= 1e6 || o.AtimeSub != int32(n.Atime.Nsec/1000) {
		t.Errorf("inode %d: sub-seconds %d, %d, %d", n.Ino, o.AtimeSub, o.MtimeSub, o.BirthSub)
	}
	sameXattr := func(a, b Xattr) bool { return a.Name == b.Name && bytes.Equal(a.Value, b.Value) }
	if xs := o.attributes(t); !slices.EqualFunc(xs, n.xattrs, sameXattr) {
		t.Errorf("inode %d: attributes %.300q, not %.300q", n.Ino, xs, n.xattrs)
	}
	switch n.Mode & ModeType {
	case ModeFile:
		if !bytes.Equal(o.data, n.whole()) {
			t.Errorf("inode %d: %d bytes, not the %d that it has", n.Ino, len(o.data), n.Size)
		}
	case ModeLink:
		if string(o.data) != n.target {
			t.Errorf("inode %d leads to %.50q", n.Ino, o.data)
		}
	case ModeDir:
		want := append([]Entry{{n.Ino, dirType, "."}, {n.parent, dirType, ".."}}, n.names...)
		want = slices.DeleteFunc(want, func(e Entry) bool { return f.nodes[e.Ino] == nil })
		if got := o.names(t, maxino); !slices.Equal(got, want) {
			t.Errorf("directory %d: %v, not %v", n.Ino, got, want)
		}
	case ModeChar:
		if major, minor := SplitRdev(uint32(o.Rdev)); major != n.Major || minor != n.Minor {
			t.Errorf("inode %d is device %d,%d", n.Ino, major, minor)
		}
	}
}
