package opfile

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"varve/internal/fail"
	"varve/internal/oplog"
)

var header = Header{Pool: [16]byte{1, 2}, Dataset: 7, Share: true, Name: "home", From: 10, To: 5000}

// sample writes a file of some operations and says what is in it.
func sample(t testing.TB, pick func(n int) int) (file []byte, want []string) {
	var b bytes.Buffer
	w, err := NewWriter(&b, header)
	if err != nil {
		t.Fatal(err)
	}
	clients := []*oplog.Client{nil, {Name: "nfs 10.0.0.7:900"}, {Name: "api"}}
	lsn := uint64(10)
	for range 1 + pick(30) {
		lsn += uint64(1 + pick(100))
		op := &oplog.Op{LSN: lsn, Time: int64(1000 + lsn), Dataset: 7, Client: clients[pick(3)], UID: uint32(pick(3)), Ino: uint64(1 + pick(50))}
		var data []byte
		switch pick(4) {
		case 0:
			op.Kind, op.Dir, op.Name = oplog.Create, 2, fmt.Sprint("f", lsn)
		case 1:
			op.Kind, op.Off, op.Len = oplog.WriteFile, uint64(pick(9000)), uint64(1+pick(300_000))
			data = bytes.Repeat([]byte{byte(lsn)}, int(op.Len))
		case 2:
			op.Kind, op.UID, op.Ino, op.Off, op.Len = oplog.Write, 0, 0, uint64(pick(9000)), uint64(1+pick(9000))
			data = bytes.Repeat([]byte{byte(lsn)}, int(op.Len))
		default:
			op.Kind, op.Dir, op.Name, op.Dir2, op.Name2 = oplog.Move, 2, "a", 3, "b"
			if err := w.Path(op.Ino, fmt.Sprint("/p/", op.Ino)); err != nil {
				t.Fatal(err)
			}
		}
		want = append(want, line(op, data, ""))
		op.Extents = []oplog.Extent{{Addr: 9, CRC: []uint32{1}}}
		if err := w.Op(op, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), want
}

func line(op *oplog.Op, data []byte, _ string) string {
	name := "-"
	if op.Client != nil {
		name = op.Client.Name
	}
	bare := *op
	bare.Client, bare.Extents = nil, nil
	return fmt.Sprintf("%s %+v %x", name, bare, data)
}

func read(r io.Reader) (f *Reader, got []string, err error) {
	if f, err = NewReader(r); err != nil {
		return nil, nil, err
	}
	return f, got, f.Each(func(op *oplog.Op, data []byte) error {
		got = append(got, line(op, data, ""))
		if op.Kind == oplog.Move && f.Path(op.Ino) != fmt.Sprint("/p/", op.Ino) {
			return fmt.Errorf("inode %d has the path %q", op.Ino, f.Path(op.Ino))
		}
		return nil
	})
}

// What is written is read, whatever pieces it comes in; what is cut off, or has a
// wrong bit, is found out.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		file, want := sample(t, func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "n") })
		f, got, err := read(iotest.HalfReader(bytes.NewReader(file)))
		if err != nil || f.Header != header || fmt.Sprint(got) != fmt.Sprint(want) {
			rt.Fatalf("%v %+v\n%.300v\n%.300v", err, f, got, want)
		}
		cut := rapid.IntRange(0, len(file)-1).Draw(rt, "cut")
		if _, _, err := read(bytes.NewReader(file[:cut])); !fail.Is(err, fail.Corrupt) {
			rt.Fatalf("cut off at %d of %d: %v", cut, len(file), err)
		}
		if _, _, err := read(bytes.NewReader(append(bytes.Clone(file), 0))); !fail.Is(err, fail.Corrupt) {
			rt.Fatalf("something follows: %v", err)
		}
		bad := bytes.Clone(file)
		bad[cut] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
		if _, _, err := read(bytes.NewReader(bad)); !fail.Is(err, fail.Corrupt) && !fail.Is(err, fail.Unsupported) {
			rt.Fatalf("bit rot at %d of %d: %v", cut, len(file), err)
		}
	})
}

func FuzzReader(f *testing.F) {
	n := 0
	file, _ := sample(f, func(max int) int { n += 7; return n % min(max, 40) })
	f.Add(file)
	f.Add(file[:60])
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		r.Each(func(op *oplog.Op, data []byte) error {
			if op.LSN <= r.From || op.LSN > r.To {
				t.Fatalf("operation %d of (%d, %d]", op.LSN, r.From, r.To)
			}
			return nil
		})
	})
}

// What is not on data is no operation of a file, whoever wrote it there.
func TestOnDataOnly(t *testing.T) {
	var b bytes.Buffer
	w, err := NewWriter(&b, header)
	if err == nil {
		err = w.Op(&oplog.Op{LSN: 20, Time: 1, Dataset: 7, Kind: oplog.Resize, Size: 4095}, nil)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(&b); !fail.Is(err, fail.Corrupt) || !strings.Contains(err.Error(), "not on data") {
		t.Fatalf("a resize: %v", err)
	}
}
