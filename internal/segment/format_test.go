package segment

import (
	"bytes"
	"encoding/hex"
	"testing"

	"varve/internal/segstore"
	"varve/internal/segstore/mem"
)

const goldenCRC = "74a8daea"

func goldenHeader() header {
	return header{
		kind: FrameSuper, pool: [16]byte{0xa0, 15: 0xaf}, incarnation: [16]byte{0xb0, 15: 0xbf},
		addr: MakeAddr(17, 332), epoch: 3, seq: 1000, through: 999, lastSuper: MakeAddr(16, 7),
		firstLSN: 812455, time: 0x123456789abcdef, payload: 2, summary: 10, prevCRC: 0x01020304, summaryCRC: 0x05060708,
	}
}

// The bytes of a header are a promise to every version to come.
func TestHeaderFormat(t *testing.T) {
	h := goldenHeader()
	b := make([]byte, headerSize)
	h.encode(b)
	want := "766172766566726d" + "0100" + "02" + "00" + "00000000" + // magic, version, kind, zero, features
		"a00000000000000000000000000000af" + "b00000000000000000000000000000bf" + "00000000000000000000000000000000" +
		"1100000000000000" + "4c010000" + "03000000" + // segment, block, epoch
		"e803000000000000" + "e703000000000000" + "0700000100000000" + // sequence, through, last super root
		"a7650c0000000000" + "efcdab8967452301" + // first LSN, time
		"00000000" + "02000000" + "0a000000" + "04030201" + "08070605" // ops, payload, summary, CRCs
	if got := hex.EncodeToString(b[:140]); got != want {
		t.Errorf("header\n%s, want\n%s", got, want)
	}
	if !allZero(b[140:ownCRC]) {
		t.Error("the rest is not zero")
	}
	if got := hex.EncodeToString(b[ownCRC:]); got != goldenCRC {
		t.Errorf("own CRC %s, want %s", got, goldenCRC)
	}
	back, err := decodeHeader(b)
	if err != nil || back != h {
		t.Errorf("%v: %+v, want %+v", err, back, h)
	}
}

// A header with the right checksums whose fields contradict each other is none.
func TestImpossibleHeaders(t *testing.T) {
	b := make([]byte, headerSize)
	for name, change := range map[string]func(h *header){
		"kind 0":                    func(h *header) { h.kind = 0 },
		"kind 5":                    func(h *header) { h.kind = 5 },
		"segment 0":                 func(h *header) { h.addr = 5 },
		"too long":                  func(h *header) { h.payload = maxFrameBlocks },
		"far too long":              func(h *header) { h.payload = 1 << 31 },
		"long summary":              func(h *header) { h.summary = 1 << 31 },
		"sequence 0":                func(h *header) { h.seq, h.through = 0, 0 },
		"knows itself durable":      func(h *header) { h.kind, h.through = FrameOps, h.seq },
		"super root attests less":   func(h *header) { h.through-- },
		"opening attests less":      func(h *header) { h.kind, h.through, h.payload = FrameOpen, 7, 0 },
		"announces an incarnation":  func(h *header) { h.prevIncarnation[3] = 1 },
		"super root with ops":       func(h *header) { h.ops = 1 },
		"marker with payload":       func(h *header) { h.kind = FrameMarker },
		"more operations than room": func(h *header) { h.kind, h.ops = FrameOps, 11 },
		"lsn 0":                     func(h *header) { h.firstLSN = 0 },
		"lsn runs over":             func(h *header) { h.kind, h.firstLSN, h.ops = FrameOps, 1<<64-1, 2 },
		"super root ahead":          func(h *header) { h.lastSuper = h.addr },
	} {
		h := goldenHeader()
		change(&h)
		h.encode(b)
		if _, err := decodeHeader(b); !isNotFrame(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h := goldenHeader()
	h.encode(b)
	b[200] = 1 // reserved
	le32(b[ownCRC:], 0)
	le32(b[ownCRC:], Checksum(b))
	if _, err := decodeHeader(b); !isNotFrame(err) {
		t.Errorf("reserved bytes: %v", err)
	}
}

func TestSummaryFormat(t *testing.T) {
	var s summary
	s.addBlocks(Data, []uint32{1, 2})
	s.addBlocks(Data, []uint32{3})
	s.addBlocks(Node, []uint32{0xaabbccdd})
	s.addRecord([]byte("one"))
	s.addRecord(nil)
	limit := s.size(0, -1)
	b := make([]byte, s.length())
	s.encode(b)
	want := "0103" + "0201" + "01000000" + "02000000" + "03000000" + "ddccbbaa" + "036f6e65" + "00"
	if got := hex.EncodeToString(b); got != want || len(b) > limit {
		t.Errorf("summary %s, want %s; %d bytes, at most %d expected", got, want, len(b), limit)
	}
	if _, _, _, err := checkSummary(b, 4, 2); err != nil {
		t.Error(err)
	}
	for _, c := range []struct{ payload, ops int }{{3, 2}, {5, 2}, {4, 1}, {4, 3}, {0, 2}} {
		if _, _, _, err := checkSummary(b, c.payload, c.ops); err == nil {
			t.Errorf("%d blocks and %d operations pass", c.payload, c.ops)
		}
	}
}

func TestAddr(t *testing.T) {
	a := MakeAddr(17, 332)
	if a.Segment() != 17 || a.Block() != 332 || a.String() != "17/332" || (a+1).Block() != 333 {
		t.Errorf("%v: segment %d, block %d", a, a.Segment(), a.Block())
	}
}

// fuzzFrame is a whole frame of one payload block at 1/0 for the corpus.
func fuzzFrame(t testing.TB) []byte {
	s := mem.New(64*BlockSize, 0)
	l := create(t, testOptions(s))
	must(t, l.Commit(appendOp(t, l, "fuzz", piece(newRand(1), Data, 1))))
	b := make([]byte, 2*BlockSize)
	must(t, s.ReadAt(1, b, BlockSize))
	return b
}

// FuzzFrame feeds bytes to everything that reads frames. The input is the start
// of a segment. So that the fuzzer gets past the checksums, fix repairs those of
// header and summary in the first frame.
func FuzzFrame(f *testing.F) {
	f.Add(fuzzFrame(f), true)
	f.Add(fuzzFrame(f)[:300], false)
	f.Add([]byte("varvefrm"), true)
	f.Fuzz(func(t *testing.T, b []byte, fix bool) {
		const blocks = 16
		s := mem.New(blocks*BlockSize, 0)
		must(t, s.Create(1, segstore.Zeros))
		seg := make([]byte, blocks*BlockSize)
		copy(seg, b)
		if fix {
			repair(seg)
		}
		must(t, s.WriteAt(1, seg, 0))
		h, err := decodeHeader(seg)
		if err == nil {
			again := make([]byte, headerSize)
			if h.encode(again); !bytes.Equal(again, seg[:headerSize]) {
				t.Fatalf("header %+v encodes differently", h)
			}
		}
		pool := [16]byte(seg[16:])
		must(t, Inspect(s, pool, 1, func(found Found) error {
			if found.Err == nil {
				walkFrame(t, found.Frame)
			}
			return nil
		}))
		_, _ = FindSuperRoot(s, pool)
		visit := func(f *Frame) error { walkFrame(t, f); return nil }
		if err == nil {
			_, _ = Scan(s, pool, h.position(), ScanOptions{}, visit)
			_, _ = Scan(s, pool, h.position(), ScanOptions{AcceptLoss: true}, visit)
			_ = Read(s, pool, h.position(), h.lastLSN()+3, visit)
		}
	})
}

// repair makes the checksums of the first frame right.
func repair(seg []byte) {
	copy(seg, frameMagic[:])
	sum := seg[headerSize:BlockSize]
	payload, n := int(seg[124]), int(seg[128])|int(seg[129])<<8
	if n > inlineSummary {
		sum = seg[min((1+payload)*BlockSize, len(seg)):]
	}
	le32(seg[136:], Checksum(sum[:min(n, len(sum))]))
	le32(seg[ownCRC:], 0)
	le32(seg[ownCRC:], Checksum(seg[:headerSize]))
}

// walkFrame uses every accessor of a frame that passed for whole.
func walkFrame(t *testing.T, f *Frame) {
	n := 0
	for range f.Records() {
		n++
	}
	if n != f.NumOps {
		t.Fatalf("%d records of %d", n, f.NumOps)
	}
	n = 0
	for r := range f.Runs() {
		n += r.N
	}
	if n != f.Blocks {
		t.Fatalf("runs name %d blocks of %d", n, f.Blocks)
	}
	for i := range f.Blocks {
		f.CRC(i)
	}
	_ = f.ReadPayload(0, make([]byte, f.Blocks*BlockSize))
}

// FuzzHint feeds bytes to the hint's reader.
func FuzzHint(f *testing.F) {
	s := mem.New(64*BlockSize, 0)
	must(f, setHint(s, testPool, [16]byte{9}, Position{Addr: MakeAddr(3, 4), Seq: 5, HeaderCRC: 6, LastLSN: 7}))
	good, err := s.Hint()
	must(f, err)
	if h, ok := readHint(s, testPool); !ok || h.Seq != 5 || h.incarnation != [16]byte{9} {
		f.Fatalf("hint reads back as %+v", h)
	}
	f.Add(good)
	f.Add(good[:50])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4096 {
			return
		}
		must(t, s.SetHint(b))
		if h, ok := readHint(s, testPool); ok && !bytes.Equal(h.Position.Append(nil), b[40:68]) {
			t.Fatalf("hint %x reads as %+v", b, h)
		}
	})
}
