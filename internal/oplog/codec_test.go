package oplog

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

func drawOp(t *rapid.T, clients []*Client) *Op {
	op := &Op{
		Time:    rapid.Int64Range(1, 1<<62).Draw(t, "time"),
		Dataset: rapid.Uint64().Draw(t, "dataset"),
		Client:  rapid.SampledFrom(clients).Draw(t, "client"),
	}
	op.Kind = rapid.SampledFrom([]Kind{Write, Trim, CreateVolume, Snapshot, Clone, Rollback, Drain, Set,
		WriteFile, Create, Symlink, Move, Setattr, SetXattr}).Draw(t, "kind")
	if op.Kind.OnFile() {
		drawFile(t, op)
	}
	switch op.Kind {
	case Write, WriteFile:
		blocks := rapid.IntRange(1, 300).Draw(t, "blocks")
		op.Off = rapid.Uint64Range(0, 1<<40).Draw(t, "off") * BlockSize
		op.Len = uint64(blocks)*BlockSize - uint64(rapid.IntRange(0, BlockSize-1).Draw(t, "short"))
		for blocks > 0 {
			n := min(blocks, rapid.IntRange(1, MaxExtentBlocks).Draw(t, "n"))
			x := Extent{Addr: rapid.Uint64Range(1, 1<<50).Draw(t, "addr")}
			for range n {
				x.CRC = append(x.CRC, rapid.Uint32().Draw(t, "crc"))
			}
			op.Extents = append(op.Extents, x)
			blocks -= n
		}
	case Trim:
		op.Off = rapid.Uint64Range(0, 1<<40).Draw(t, "off") * BlockSize
		op.Len = rapid.Uint64Range(1, 1<<40).Draw(t, "len") * BlockSize
	default:
		if op.Kind.OnFile() {
			break
		}
		op.Value = rapid.StringN(0, 60, MaxValue).Draw(t, "value")
		op.Name = rapid.StringN(0, 60, MaxName).Draw(t, "name")
		op.Size, op.Source = rapid.Uint64().Draw(t, "size"), rapid.Uint64().Draw(t, "source")
		op.At, op.Limit = rapid.Uint64().Draw(t, "at"), rapid.Uint64().Draw(t, "limit")
		op.Now = rapid.Bool().Draw(t, "now")
	}
	return op
}

func drawFile(t *rapid.T, op *Op) {
	op.Ino = rapid.Uint64().Draw(t, "ino")
	op.UID, op.GID = rapid.Uint32().Draw(t, "uid"), rapid.Uint32().Draw(t, "gid")
	if rapid.Bool().Draw(t, "request") {
		op.Request = &Request{XID: rapid.Uint32().Draw(t, "xid"), Sum: rapid.Uint64().Draw(t, "sum")}
	}
	if rapid.Bool().Draw(t, "again") {
		op.As = rapid.Int64Min(1).Draw(t, "as")
	}
	if op.Kind == WriteFile {
		return
	}
	if rapid.Bool().Draw(t, "named") {
		op.Dir, op.Name = rapid.Uint64().Draw(t, "dir"), rapid.StringN(1, 60, MaxName).Draw(t, "name")
	}
	if op.Kind == Move {
		op.Dir2, op.Name2 = rapid.Uint64Min(1).Draw(t, "dir2"), rapid.StringN(0, 60, MaxName).Draw(t, "name2")
		op.Ino2 = rapid.Uint64().Draw(t, "ino2")
	}
	op.Value = rapid.StringN(0, 60, MaxValue).Draw(t, "value")
	a := Attr{
		Mask: AttrMask(rapid.Uint16Range(0, uint16(allAttrs)).Draw(t, "mask")),
		Mode: 1, UID: 2, GID: 1 << 31, Flags: 4, Size: 1 << 63, Atime: -6, Mtime: 7, Btime: 1 << 62, Rdev: 8, Verifier: 9,
	}
	op.Attr.Mask = a.Mask // only what the mask names is kept
	for bit, keep := range map[AttrMask]func(){
		SetMode: func() { op.Attr.Mode = a.Mode }, SetUID: func() { op.Attr.UID = a.UID }, SetGID: func() { op.Attr.GID = a.GID },
		SetSize: func() { op.Attr.Size = a.Size }, SetAtime: func() { op.Attr.Atime = a.Atime }, SetMtime: func() { op.Attr.Mtime = a.Mtime },
		SetFlags: func() { op.Attr.Flags = a.Flags }, SetRdev: func() { op.Attr.Rdev = a.Rdev },
		SetVerifier: func() { op.Attr.Verifier = a.Verifier }, SetBtime: func() { op.Attr.Btime = a.Btime },
	} {
		if a.Mask&bit != 0 {
			keep()
		}
	}
	if op.Kind == Setattr && rapid.Bool().Draw(t, "edge") {
		op.Extents = []Extent{{Addr: 77, CRC: []uint32{5}}}
	}
}

// What is encoded is decoded, frame by frame.
func TestCodecRoundTrip(t *testing.T) {
	clients := []*Client{nil, {Name: "nbd 127.0.0.1:1"}, {Name: "api pid=1,uid=0"}}
	var enc Encoder
	frame, lsn := uint64(0), uint64(0)
	rapid.Check(t, func(t *rapid.T) {
		frame++
		var dec Decoder
		lean := Decoder{NoRequests: true}
		var last int64
		for range rapid.IntRange(1, 8).Draw(t, "ops") {
			op := drawOp(t, clients)
			lsn++
			op.LSN = lsn
			op.Time = max(op.Time, last)
			last = op.Time
			var got, bare Op
			rec := enc.Append(nil, op, frame)
			if err := dec.Decode(rec, op.LSN, &got); err != nil {
				t.Fatal(err)
			}
			if err := lean.DecodeText(rec, string(rec), op.LSN, &bare); err != nil {
				t.Fatal(err)
			}
			if (got.Client == nil) != (op.Client == nil) || got.Client != nil && got.Client.Name != op.Client.Name {
				t.Fatalf("client %v, want %v", got.Client, op.Client)
			}
			if got.Client != nil && (bare.Client == nil || bare.Client.Name != got.Client.Name) {
				t.Fatalf("client %v of a text, want %v", bare.Client, got.Client)
			}
			got.Client = op.Client
			bare.Client, bare.Request = op.Client, op.Request
			if !reflect.DeepEqual(&bare, op) {
				t.Fatalf("of a text %+v\nwant %+v", bare, *op)
			}
			if !reflect.DeepEqual(&got, op) {
				t.Fatalf("got %+v\nwant %+v", got, *op)
			}
		}
	})
}

// A record that did not fit is encoded again, and the first try leaves no
// trace: neither in the dictionary nor in the clock.
func TestEncodeAgain(t *testing.T) {
	var enc Encoder
	op := &Op{Kind: Trim, LSN: 7, Time: 100, Dataset: 1, Client: &Client{Name: "nbd x"}, Len: BlockSize}
	enc.Append(nil, op, 3)
	op.Time = 120
	again := enc.Append(nil, op, 3)
	var dec Decoder
	var got Op
	if err := dec.Decode(again, 7, &got); err != nil {
		t.Fatal(err)
	}
	if got.Client.Name != "nbd x" || got.Time != 120 {
		t.Fatalf("got %+v", got)
	}
}

func FuzzOp(f *testing.F) {
	var enc Encoder
	c := &Client{Name: "nbd x"}
	f.Add(enc.Append(nil, &Op{Kind: Write, Time: 5, Dataset: 1, Client: c, Off: 4096, Len: 8192, Extents: []Extent{{Addr: 1 << 20, CRC: []uint32{1, 2}}}}, 1))
	f.Add(enc.Append(nil, &Op{Kind: Trim, Time: 9, Dataset: 1, Off: 4096, Len: 8192}, 1))
	f.Add(enc.Append(nil, &Op{Kind: Rollback, Time: 9, Dataset: 1, Name: "a", At: 7}, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d Decoder
		var op Op
		if d.Decode(b, 1, &op) != nil {
			return
		}
		if op.Time < 0 {
			return // the encoder never writes these: time never falls
		}
		// What decodes must survive another round.
		var e Encoder
		again := e.Append(nil, &op, 1)
		want := op.String()
		var d2 Decoder
		var op2 Op
		if err := d2.Decode(again, 1, &op2); err != nil {
			t.Fatalf("%v: %x -> %x", err, b, again)
		}
		if op2.String() != want {
			t.Fatalf("%s, then %s", want, op2.String())
		}
	})
}
