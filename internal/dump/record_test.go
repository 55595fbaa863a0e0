package dump

import (
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"testing"

	"varve/internal/fail"
)

func sample(magic uint32) Header {
	h := Header{
		Type: TypeInode, Magic: magic, Date: 1700000000, DDate: 1600000000, Volume: 1, TapeA: 77, FirstRec: 3, Ino: 1234,
		Mode: 0o100644, Nlink: 2, UID: 100000, GID: 5, Size: 5000, Atime: Time{-315619200, 123456000}, Mtime: Time{1, 999000},
		Ctime: Time{2, 5000}, Rdev: 0x1234, FileFlags: 0x40, Count: 5, Label: "none", Level: 3,
		Filesys: "/home", Dev: "home@now", Host: "host", Flags: FlagNewInode,
	}
	copy(h.Addr[:], []byte{1, 1, 0, 0, 1})
	return h
}

func TestHeaderRoundTrip(t *testing.T) {
	ufs2 := sample(MagicUFS2)
	ufs2.Atime.Nsec, ufs2.Mtime.Nsec, ufs2.Ctime.Nsec, ufs2.Birth, ufs2.ExtSize = 123456, 999, 5000, Time{1 << 40, 7}, 96
	linux := sample(MagicNew)
	linux.NTRec, linux.Xattr = 10, XattrsExt
	exact := sample(MagicUFS2)
	exact.Exact, exact.Major, exact.Minor, exact.Special, exact.Birth = true, 259, 1<<24+1, Immutable, Time{3, 4}
	exact.Atime.Nsec = 123456789
	for _, want := range []Header{ufs2, linux, exact} {
		for _, o := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			var b [RecordSize]byte
			want.Encode(b[:], o)
			if want.Magic == MagicUFS2 && !want.Exact { // FreeBSD has nanoseconds where we write microseconds
				for i, n := range []uint32{want.Atime.Nsec, want.Mtime.Nsec} {
					o.PutUint32(b[52+8*i:], n)
				}
				o.PutUint32(b[76:], want.Birth.Nsec)
				o.PutUint32(b[28:], 0)
				o.PutUint32(b[28:], checksum-sum(b[:], o))
			}
			var got Header
			is, err := got.Decode(b[:])
			if err != nil || is != o {
				t.Fatalf("%v in %v: %v", is, o, err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%v: got\n%+v\nwant\n%+v", o, got, want)
			}
		}
	}
}

func TestHeaderRefusesDamage(t *testing.T) {
	h := sample(MagicNew)
	var b [RecordSize]byte
	for at := range b {
		h.Encode(b[:], binary.LittleEndian)
		b[at] ^= 0x10
		if _, err := new(Header).Decode(b[:]); !fail.Is(err, fail.Corrupt) {
			t.Fatalf("byte %d flipped: %v", at, err)
		}
	}
}

func FuzzHeader(f *testing.F) {
	for _, magic := range []uint32{MagicOld, MagicNew, MagicUFS2} {
		h := sample(magic)
		h.Exact = magic == MagicUFS2
		var b [RecordSize]byte
		h.Encode(b[:], binary.BigEndian)
		f.Add(b[:])
	}
	runs := sample(MagicNew)
	runs.Count = int32(copy(runs.Addr[:], []byte{0x7f, 0xff, 0xff, 0, 1, 0x81, 0}))
	var b [RecordSize]byte
	runs.Encode(b[:], binary.LittleEndian)
	f.Add(b[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= RecordSize { // make the checksum hold, so that what is behind it is reached
			binary.LittleEndian.PutUint32(b[28:], 0)
			binary.LittleEndian.PutUint32(b[28:], checksum-sum(b[:RecordSize], binary.LittleEndian))
		}
		var h Header
		o, err := h.Decode(b)
		if err != nil {
			return
		}
		if data, all := h.Records(); h.hasRuns() && (data < 0 || data > all || all < int(h.Count)/2 || all > 256*16448) {
			t.Fatalf("%d addresses are %d records of %d", h.Count, data, all)
		}
		var again Header
		var c [RecordSize]byte
		h.Encode(c[:], o)
		if _, err := again.Decode(c[:]); err != nil {
			t.Fatalf("%+v cannot be read again: %v", h, err)
		}
	})
}

func TestMap(t *testing.T) {
	m := NewMap(70)
	for _, n := range []uint32{2, 9, 64, 70} {
		m.Set(n)
	}
	m.Clear(9)
	m.Clear(1000)
	var got []uint32
	for n := m.Next(0); n != 0; n = m.Next(n + 1) {
		got = append(got, n)
	}
	if !reflect.DeepEqual(got, []uint32{2, 64, 70}) || m.Count() != 3 || m.Has(9) || !m.Has(70) || m.Has(71) || m.Has(0) {
		t.Errorf("%v of %d", got, m.Count())
	}
	for _, max := range []uint32{1, 7, 64, 65, 700} { // against a look at each
		r := rand.New(rand.NewPCG(uint64(max), 1))
		m := NewMap(max)
		var want []uint32
		for n := uint32(1); n <= max; n++ {
			if r.IntN(50) == 0 || n == max {
				m.Set(n)
				want = append(want, n)
			}
		}
		var got []uint32
		for n := m.Next(0); n != 0; n = m.Next(n + 1) {
			got = append(got, n)
		}
		if !reflect.DeepEqual(got, want) || m.Count() != uint64(len(want)) {
			t.Errorf("%v of %d; not %v", got, m.Count(), want)
		}
	}
}
