package segment

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"varve/internal/fail"
	"varve/internal/segstore"
	"varve/internal/segstore/mem"
)

var testPool = [16]byte{'t', 'e', 's', 't'}

// note is a Record: LSN, frame, time, the addresses of its pieces, and text.
type note struct {
	pieces []Piece
	text   []byte
}

func (n *note) AppendRecord(dst []byte, lsn, frame uint64, now int64) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, lsn)
	dst = le.AppendUint64(dst, frame)
	dst = le.AppendUint64(dst, uint64(now))
	dst = append(dst, byte(len(n.pieces)))
	for _, p := range n.pieces {
		dst = le.AppendUint64(dst, uint64(p.Addr))
		dst = append(dst, byte(len(p.CRC)))
		for _, c := range p.CRC {
			dst = le.AppendUint32(dst, c)
		}
	}
	return append(dst, n.text...)
}

// parsed is what a note says when it is read back.
type parsed struct {
	lsn, frame uint64
	pieces     []Piece
	text       string
}

func parseNote(t testing.TB, b []byte) parsed {
	t.Helper()
	le := binary.LittleEndian
	p := parsed{lsn: le.Uint64(b), frame: le.Uint64(b[8:])}
	n := int(b[24])
	b = b[25:]
	for range n {
		pc := Piece{Addr: Addr(le.Uint64(b)), CRC: make([]uint32, b[8])}
		b = b[9:]
		for i := range pc.CRC {
			pc.CRC[i] = le.Uint32(b)
			b = b[4:]
		}
		p.pieces = append(p.pieces, pc)
	}
	p.text = string(b)
	return p
}

func piece(rng *rand.Rand, k Kind, blocks int) Piece {
	p := Piece{Kind: k, Data: make([]byte, blocks*BlockSize), CRC: make([]uint32, blocks)}
	for i := range blocks {
		b := p.Data[i*BlockSize:][:BlockSize]
		for j := 0; j < BlockSize; j += 512 { // every sector is unlike all others
			sector := b[j:][:512]
			binary.LittleEndian.PutUint64(sector, rng.Uint64())
			for n := 8; n < 512; n *= 2 {
				copy(sector[n:], sector[:n])
			}
		}
		p.CRC[i] = Checksum(b)
	}
	return p
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// randBytes makes math/rand an io.Reader.
type randBytes struct{ *rand.Rand }

func (r randBytes) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return len(p), nil
}

func testOptions(s segstore.Store) Options {
	return Options{Store: s, PoolID: testPool, MaxFrame: 16, MarkerDelay: -1, Reserve: -1}
}

func create(t testing.TB, o Options) *Log {
	t.Helper()
	l, err := Create(o)
	must(t, err)
	t.Cleanup(l.Abort)
	return l
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// appendOp admits and appends one operation.
func appendOp(t testing.TB, l *Log, text string, pieces ...Piece) uint64 {
	t.Helper()
	n := 0
	for _, p := range pieces {
		n += len(p.CRC)
	}
	must(t, l.Admit(n, false))
	lsn, err := l.Append(pieces, &note{pieces: pieces, text: []byte(text)})
	must(t, err)
	return lsn
}

// readLog scans everything after from and checks each operation's payload.
func readLog(t testing.TB, s segstore.Store, from Position, o ScanOptions) ([]parsed, Tail, error) {
	t.Helper()
	var ops []parsed
	next := from.LastLSN + 1
	tail, err := Scan(s, testPool, from, o, func(f *Frame) error {
		n := 0
		for lsn, b := range f.Records() {
			p := parseNote(t, b)
			if lsn != next || p.lsn != lsn || p.frame != f.Position.Seq {
				t.Fatalf("frame %d: operation %d says it is %d of frame %d; want lsn %d", f.Position.Seq, lsn, p.lsn, p.frame, next)
			}
			next++
			n++
			ops = append(ops, p)
		}
		if n != f.NumOps || f.Position.LastLSN != next-1 {
			t.Fatalf("frame %d: %d operations of %d, last lsn %d", f.Position.Seq, n, f.NumOps, f.Position.LastLSN)
		}
		return nil
	})
	return ops, tail, err
}

func verifyPayload(t testing.TB, ops []parsed, read func(a Addr, p []byte) error) {
	t.Helper()
	for _, op := range ops {
		for _, p := range op.pieces {
			b := make([]byte, len(p.CRC)*BlockSize)
			must(t, read(p.Addr, b))
			for i, c := range p.CRC {
				if Checksum(b[i*BlockSize:][:BlockSize]) != c {
					t.Fatalf("lsn %d: block %v differs", op.lsn, p.Addr+Addr(i))
				}
			}
		}
	}
}

func storeRead(s segstore.Store) func(a Addr, p []byte) error {
	return func(a Addr, p []byte) error { return s.ReadAt(a.Segment(), p, a.offset()) }
}

func TestRoundTrip(t *testing.T) {
	s := mem.New(64*BlockSize, 0)
	l := create(t, testOptions(s))
	start := l.Cut()
	rng := newRand(1)
	var want []string
	for i := range 300 {
		var ps []Piece
		for range rng.IntN(4) {
			ps = append(ps, piece(rng, Kind(1+rng.IntN(3)), 1+rng.IntN(l.MaxPiece())))
		}
		text := fmt.Sprintf("op %d %s", i, bytes.Repeat([]byte{'x'}, rng.IntN(1500)))
		lsn := appendOp(t, l, text, ps...)
		if lsn != uint64(i+1) {
			t.Fatalf("lsn %d for operation %d", lsn, i+1)
		}
		want = append(want, text)
		for _, p := range ps { // readable at once, from memory or the store
			b := make([]byte, len(p.Data))
			must(t, l.ReadAt(p.Addr, b))
			if !bytes.Equal(b, p.Data) {
				t.Fatalf("lsn %d: %v reads back differently", lsn, p.Addr)
			}
		}
		switch rng.IntN(10) {
		case 0:
			must(t, l.Commit(lsn))
			if l.DurableLSN() < lsn {
				t.Fatalf("durable lsn %d after the commit of %d", l.DurableLSN(), lsn)
			}
		case 1:
			l.Cut()
		}
	}
	must(t, l.Close())
	ops, tail, err := readLog(t, s, start, ScanOptions{})
	must(t, err)
	if len(ops) != len(want) || tail.NextLSN() != 301 || tail.Discarded != "" {
		t.Fatalf("%d operations, tail %+v", len(ops), tail)
	}
	for i, op := range ops {
		if op.text != want[i] {
			t.Fatalf("operation %d reads %q", i, op.text)
		}
	}
	verifyPayload(t, ops, storeRead(s))
	var used int64
	for _, u := range l.Usage(0) {
		used += u.Data + u.Node + u.Deaths + u.Super + u.Record
	}
	if l.Position() != tail.Position || l.Appended() != used {
		t.Fatalf("the log ends at %+v and has %d bytes; tail %+v, usage %d", l.Position(), l.Appended(), tail, used)
	}
	if u := l.Usage(0); len(u) < 5 || u[0].FirstLSN != 1 || u[len(u)-1].LastLSN != 300 {
		t.Fatalf("usage %+v", u)
	}
}

func TestPiecesStayWhole(t *testing.T) {
	s := mem.New(64*BlockSize, 0)
	l := create(t, testOptions(s))
	start := l.Cut()
	rng := newRand(2)
	for range 200 {
		appendOp(t, l, "", piece(rng, Data, 1+rng.IntN(15)), piece(rng, Node, 1+rng.IntN(15)))
	}
	must(t, l.CommitAll())
	frames := map[Addr]int{}
	var ops []parsed
	_, err := Scan(s, testPool, start, ScanOptions{}, func(f *Frame) error {
		if f.Length > 16 {
			t.Errorf("frame of %d blocks", f.Length)
		}
		for i := range f.Blocks {
			frames[f.PayloadAddr(i)] = int(f.Position.Seq)
		}
		n := 0
		for r := range f.Runs() {
			if r.First != n || r.N < 1 {
				t.Errorf("run %+v after %d blocks", r, n)
			}
			n += r.N
		}
		if n != f.Blocks {
			t.Errorf("runs name %d of %d blocks", n, f.Blocks)
		}
		buf := make([]byte, f.Blocks*BlockSize)
		must(t, f.ReadPayload(0, buf))
		for _, b := range f.Records() {
			ops = append(ops, parseNote(t, b))
		}
		return nil
	})
	must(t, err)
	for _, op := range ops {
		for _, p := range op.pieces {
			for i := range p.CRC {
				if frames[p.Addr] == 0 || frames[p.Addr] != frames[p.Addr+Addr(i)] {
					t.Fatalf("piece at %v is split", p.Addr)
				}
			}
		}
	}
	verifyPayload(t, ops, storeRead(s))
}

func TestLimits(t *testing.T) {
	s := mem.New(64*BlockSize, 0)
	l := create(t, testOptions(s))
	rng := newRand(3)
	must(t, l.Admit(64, false))
	for _, c := range []struct {
		p    Piece
		kind fail.Kind
	}{
		{piece(rng, Data, l.MaxPiece()+1), fail.TooBig},
		{piece(rng, Super, 1), fail.Invalid},
		{Piece{Kind: Data}, fail.Invalid},
		{Piece{Kind: Data, Data: make([]byte, 100), CRC: []uint32{1}}, fail.Invalid},
	} {
		if _, err := l.Append([]Piece{c.p}, nil); !fail.Is(err, c.kind) {
			t.Errorf("piece of %d blocks, kind %v: %v", len(c.p.CRC), c.p.Kind, err)
		}
	}
	if _, err := l.Append(nil, &note{text: make([]byte, l.MaxRecord())}); !fail.Is(err, fail.TooBig) {
		t.Errorf("a record over the limit: %v", err)
	}
	if l.LastLSN() != 0 {
		t.Errorf("a refused operation got lsn %d", l.LastLSN())
	}
	lsn, err := l.Append(nil, &note{text: make([]byte, l.MaxRecord()-25)})
	must(t, err)
	must(t, l.Commit(lsn))
	if err := l.ReadAt(MakeAddr(1, 60), make([]byte, 8*BlockSize)); !fail.Is(err, fail.Corrupt) {
		t.Errorf("reading beyond the segment: %v", err)
	}
	if err := l.ReadAt(0, make([]byte, BlockSize)); !fail.Is(err, fail.Invalid) {
		t.Errorf("reading address 0: %v", err)
	}
	if _, err := Create(testOptions(s)); !fail.Is(err, fail.Exists) {
		t.Errorf("a second Create: %v", err)
	}
}

func TestReadsFromEverywhere(t *testing.T) {
	s := mem.New(64*BlockSize, 0)
	l := create(t, testOptions(s))
	rng := newRand(4)
	ps := []Piece{piece(rng, Data, 4)}
	appendOp(t, l, "", ps...)
	p := ps[0]
	check := func(where string) {
		t.Helper()
		b := make([]byte, 2*BlockSize)
		must(t, l.ReadAt(p.Addr+1, b))
		if !bytes.Equal(b, p.Data[BlockSize:3*BlockSize]) {
			t.Fatalf("%s: other bytes", where)
		}
		if ok, err := l.TryReadAt(p.Addr+1, b); !ok || err != nil {
			t.Fatalf("%s: %v %v", where, ok, err)
		}
	}
	check("open frame")
	l.Cut()
	check("sealed frame")
	must(t, l.Written(1<<60))
	if u := l.Stats().Unwritten; u != 0 {
		t.Fatalf("%d bytes unwritten after Written", u)
	}
	check("written frame")
	must(t, l.CommitAll())
	check("durable frame")
	must(t, l.Close())
	check("closed log")
}

func TestConcurrentCommits(t *testing.T) {
	s := mem.New(256*BlockSize, 0)
	o := testOptions(s)
	o.MaxFrame = 64
	l := create(t, o)
	start := l.Cut()
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[uint64]string{}
	for w := range 8 {
		wg.Go(func() {
			rng := newRand(uint64(100 + w))
			for i := range 150 {
				text := fmt.Sprintf("%d/%d", w, i)
				lsn := appendOp(t, l, text, piece(rng, Data, 1+rng.IntN(8)))
				mu.Lock()
				got[lsn] = text
				mu.Unlock()
				if rng.IntN(2) == 0 {
					must(t, l.Commit(lsn))
					if d := l.DurableLSN(); d < lsn {
						t.Errorf("durable lsn %d after the commit of %d", d, lsn)
					}
				}
				if w == 0 && i%50 == 0 {
					_, err := l.SuperRoot(fmt.Appendf(nil, "root %d", i))
					must(t, err)
				}
			}
		})
	}
	wg.Wait()
	must(t, l.Close())
	ops, _, err := readLog(t, s, start, ScanOptions{})
	must(t, err)
	if len(ops) != 8*150 {
		t.Fatalf("%d operations", len(ops))
	}
	for _, op := range ops {
		if got[op.lsn] != op.text {
			t.Fatalf("lsn %d is %q, want %q", op.lsn, op.text, got[op.lsn])
		}
	}
	verifyPayload(t, ops, storeRead(s))
	if st := l.Stats(); st.Unsynced != 0 || st.Unwritten != 0 || st.Held != 0 {
		t.Fatalf("left over: %+v", st)
	}
	r, err := FindSuperRoot(s, testPool)
	must(t, err)
	if !bytes.HasPrefix(r.Payload, []byte("root 100\x00")) {
		t.Fatalf("super root %q", r.Payload[:20])
	}
}

func TestSegmentNumbersRise(t *testing.T) {
	s := mem.New(64*BlockSize, 0)
	l := create(t, testOptions(s))
	start := l.Cut()
	rng := newRand(5)
	retired := uint64(0)
	var keep Position
	for i := range 400 {
		appendOp(t, l, "", piece(rng, Data, 6))
		if i%40 != 39 {
			continue
		}
		must(t, l.CommitAll())
		keep = l.Cut()
		for retired+1 < keep.Addr.Segment() {
			retired++
			must(t, l.Retire(retired))
		}
	}
	if err := l.Retire(keep.Addr.Segment()); !fail.Is(err, fail.Busy) {
		t.Errorf("retiring the current segment: %v", err)
	}
	if retired < 10 {
		t.Fatalf("only %d segments retired", retired)
	}
	if list, _ := s.List(); len(list) > 8 {
		t.Errorf("%d segments left: %v", len(list), list)
	}
	appendOp(t, l, "last")
	must(t, l.Close())
	ops, tail, err := readLog(t, s, keep, ScanOptions{})
	must(t, err)
	if len(ops) != 1 || tail.LastLSN != 401 {
		t.Fatalf("%d operations, tail %+v", len(ops), tail)
	}
	if _, _, err := readLog(t, s, start, ScanOptions{}); !fail.Is(err, fail.Corrupt) {
		t.Errorf("scanning from a recycled segment: %v", err)
	}
}

func TestNoSpaceIsNoFailure(t *testing.T) {
	s := mem.New(32*BlockSize, 6*32*BlockSize)
	o := testOptions(s)
	o.MaxFrame, o.Reserve = 8, 2*32*BlockSize
	l := create(t, o)
	start := l.Cut()
	rng := newRand(6)
	n := 0
	add := func(reserve bool) error {
		if err := l.Admit(2, reserve); err != nil {
			return err
		}
		_, err := l.Append([]Piece{piece(rng, Data, 2)}, &note{})
		must(t, err)
		must(t, l.CommitAll())
		n++
		return nil
	}
	var err error
	for err == nil {
		err = add(false)
	}
	if !fail.Is(err, fail.NoSpace) || l.Err() != nil {
		t.Fatalf("%v; log %v", err, l.Err())
	}
	plain := n
	if err := add(false); !fail.Is(err, fail.NoSpace) {
		t.Fatalf("again: %v", err)
	}
	for err = nil; err == nil; {
		err = add(true)
	}
	if !fail.Is(err, fail.NoSpace) || l.Err() != nil || n < plain+8 {
		t.Fatalf("%d operations, then %d with reserve: %v; log %v", plain, n-plain, err, l.Err())
	}
	s.SetCapacity(12 * 32 * BlockSize)
	must(t, add(false))
	must(t, l.Close())
	ops, _, err := readLog(t, s, start, ScanOptions{})
	must(t, err)
	if len(ops) != n {
		t.Fatalf("%d operations of %d", len(ops), n)
	}
}

func TestRead(t *testing.T) {
	s := mem.New(64*BlockSize, 0)
	l := create(t, testOptions(s))
	rng := newRand(7)
	var at []Position
	for range 50 {
		appendOp(t, l, "", piece(rng, Data, 5))
		at = append(at, l.Cut())
	}
	must(t, l.Written(at[49].Seq))
	var lsns []uint64
	must(t, Read(s, testPool, at[9], 30, func(f *Frame) error {
		for lsn := range f.Records() {
			lsns = append(lsns, lsn)
		}
		return nil
	}))
	if len(lsns) != 20 || lsns[0] != 11 || !slices.IsSorted(lsns) {
		t.Fatalf("read %v", lsns)
	}
	if err := Read(s, testPool, at[9], 51, func(*Frame) error { return nil }); !fail.Is(err, fail.Corrupt) {
		t.Fatalf("reading past the end: %v", err)
	}
	if got := ParsePosition(at[3].Append(nil)); got != at[3] || len(at[3].Append(nil)) != PositionSize {
		t.Fatalf("position %+v became %+v", at[3], got)
	}
	bad := at[9]
	bad.Seq++
	if err := Read(s, testPool, bad, 30, func(*Frame) error { return nil }); !fail.Is(err, fail.Corrupt) {
		t.Fatalf("reading from a wrong position: %v", err)
	}
}
