package segment

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"varve/internal/fail"
	"varve/internal/segstore"
	"varve/internal/segstore/mem"
)

// sample is a closed log with every sort of frame in it, over two segments and
// two incarnations.
type sample struct {
	store  *mem.Store
	start  Position
	frames []header // after start
}

func makeSample(t *testing.T) *sample {
	t.Helper()
	s := &sample{store: mem.New(64*BlockSize, 0)}
	l := create(t, testOptions(s.store))
	s.start = l.Cut()
	rng := newRand(1)
	fill := func(n int) {
		for i := range n {
			lsn := appendOp(t, l, fmt.Sprint("op ", i), piece(rng, Data, 1+rng.IntN(3)), piece(rng, Node, 1))
			must(t, l.Commit(lsn))
		}
	}
	fill(3)
	must(t, l.Commit(appendOp(t, l, strings.Repeat("long", 2000), piece(rng, Deaths, 2))))
	_, err := l.SuperRoot(s.start.Append(nil))
	must(t, err)
	must(t, l.Commit(appendOp(t, l, "no payload")))
	must(t, l.Close())

	_, tail, err := readLog(t, s.store, s.start, ScanOptions{})
	must(t, err)
	l, err = Resume(testOptions(s.store), tail)
	must(t, err)
	t.Cleanup(l.Abort)
	fill(2)
	_, err = l.SuperRoot(s.start.Append(nil))
	must(t, err)
	fill(2)
	must(t, l.Close())
	s.frames = s.headers(t)
	return s
}

func (s *sample) headers(t *testing.T) (list []header) {
	c, err := newChain(s.store, testPool)
	must(t, err)
	must(t, c.start(s.start))
	for {
		h, err := c.next()
		if isNotFrame(err) {
			return list
		}
		must(t, err)
		list = append(list, h)
		c.cur = h
	}
}

// flip turns one bit over, and back when called again.
func (s *sample) flip(t *testing.T, a Addr, off int64) {
	b := make([]byte, 1)
	must(t, s.store.ReadAt(a.Segment(), b, a.offset()+off))
	b[0] ^= 0x10
	must(t, s.store.WriteAt(a.Segment(), b, a.offset()+off))
}

func (s *sample) scan(o ScanOptions) (Tail, error) {
	return Scan(s.store, testPool, s.start, o, func(*Frame) error { return nil })
}

func TestSampleHasEverything(t *testing.T) {
	s := makeSample(t)
	kinds := map[FrameKind]int{}
	long, segs := 0, map[uint64]bool{}
	for _, h := range s.frames {
		kinds[h.kind]++
		segs[h.addr.Segment()] = true
		if summaryBlocks(h.summary) > 0 {
			long++
		}
	}
	if kinds[FrameOps] != 9 || kinds[FrameSuper] != 2 || kinds[FrameOpen] != 1 || kinds[FrameMarker] != 2 || long != 1 || len(segs) != 2 {
		t.Fatalf("frames %v, %d with a long summary, in segments %v", kinds, long, segs)
	}
}

// A flipped bit in a header or summary that counts is found and named, unless
// the frame is the last marker; one in payload is found by whoever reads it.
func TestFlippedBits(t *testing.T) {
	s := makeSample(t)
	for i, h := range s.frames {
		last := i == len(s.frames)-1
		sumAt, sumOff := h.addr, int64(headerSize)
		if summaryBlocks(h.summary) > 0 {
			sumAt, sumOff = h.addr+1+Addr(h.payload), 0
		}
		type bit struct {
			a   Addr
			off int64
		}
		parts := []bit{}
		for off := int64(i % 5); off < headerSize; off += 5 {
			parts = append(parts, bit{h.addr, off})
		}
		for _, off := range []int{0, h.summary / 2, h.summary - 1} {
			if h.summary > 0 {
				parts = append(parts, bit{sumAt, sumOff + int64(off)})
			}
		}
		for _, p := range parts {
			s.flip(t, p.a, p.off)
			tail, err := s.scan(ScanOptions{})
			switch {
			case last && (err != nil || tail.Seq != h.seq-1 || tail.LastLSN != h.lastLSN()):
				t.Fatalf("last marker, byte %d: %v, tail %+v", p.off, err, tail)
			case !last:
				mustName(t, err, h, p.off)
				tail, err := s.scan(ScanOptions{AcceptLoss: true})
				if err != nil || tail.Seq != h.seq-1 || tail.NextLSN() != h.firstLSN || tail.Discarded == "" {
					t.Fatalf("accepting the loss of frame %d: %v, tail %+v", h.seq, err, tail)
				}
			}
			s.flip(t, p.a, p.off)
		}
		for b := range h.payload {
			s.flip(t, h.addr+1+Addr(b), 1234)
			if _, err := s.scan(ScanOptions{}); err != nil {
				t.Fatalf("payload of frame %d, known durable, fails the scan: %v", h.seq, err)
			}
			s.mustFailPayload(t, h, b)
			s.flip(t, h.addr+1+Addr(b), 1234)
		}
	}
	_, err := s.scan(ScanOptions{})
	must(t, err)
}

func mustName(t *testing.T, err error, h header, off int64) {
	t.Helper()
	if !fail.Is(err, fail.Corrupt) {
		t.Fatalf("%v frame %d, byte %d: %v", h.kind, h.seq, off, err)
	}
	for _, want := range []string{
		fmt.Sprintf("frame %d,", h.seq), fmt.Sprintf("with lsn %d", h.firstLSN),
		fmt.Sprintf("--accept-loss gives up what follows lsn %d", h.firstLSN-1),
	} {
		if !strings.Contains(err.Error(), want) {
			t.Fatalf("%q does not say %q", err, want)
		}
	}
}

func (s *sample) mustFailPayload(t *testing.T, h header, block int) {
	t.Helper()
	_, err := Scan(s.store, testPool, s.start, ScanOptions{}, func(f *Frame) error {
		err := f.ReadPayload(0, make([]byte, f.Blocks*BlockSize))
		if f.Position.Seq != h.seq {
			return err
		}
		want := fmt.Sprintf("segment %d block %d", h.addr.Segment(), int(h.addr.Block())+1+block)
		if !fail.Is(err, fail.Corrupt) || !strings.Contains(err.Error(), want) {
			return fmt.Errorf("payload block %d of frame %d: %v", block, h.seq, err)
		}
		return nil
	})
	must(t, err)
}

// Without a frame behind it, damage to the last frame looks like a torn write:
// it is discarded, and stays so.
func TestTornLastFrame(t *testing.T) {
	for _, part := range []string{"header", "summary", "payload"} {
		t.Run(part, func(t *testing.T) {
			s := makeSample(t)
			_, tail, err := readLog(t, s.store, s.start, ScanOptions{})
			must(t, err)
			l, err := Resume(testOptions(s.store), tail)
			must(t, err)
			rng := newRand(2)
			must(t, l.Commit(appendOp(t, l, "kept", piece(rng, Data, 2))))
			lost := appendOp(t, l, "lost", piece(rng, Data, 2))
			must(t, l.Commit(lost))
			at := l.Cut().Addr
			l.Abort()
			a, off := at, int64(9)
			switch part {
			case "summary":
				off = headerSize + 5
			case "payload":
				a, off = at+2, 99
			}
			s.flip(t, a, off)
			tail, err = s.scan(ScanOptions{})
			must(t, err)
			if tail.NextLSN() != lost || (part == "header") != (tail.Discarded == "") {
				t.Fatalf("tail %+v", tail)
			}
			l, err = Resume(testOptions(s.store), tail)
			must(t, err)
			if lsn := appendOp(t, l, "instead"); lsn != lost {
				t.Fatalf("lsn %d instead of %d", lsn, lost)
			}
			must(t, l.Close())
			s.flip(t, a, off) // the disk changes its mind
			ops, _, err := readLog(t, s.store, s.start, ScanOptions{})
			must(t, err)
			if got := ops[len(ops)-1].text; got != "instead" || int(lost) != len(ops) {
				t.Fatalf("the log ends with %q, %d operations", got, len(ops))
			}
		})
	}
}

func TestAcceptedLossStaysLost(t *testing.T) {
	for _, victim := range []int{1, 4, 7, 9, 12} { // also super roots, and the end of an incarnation
		s := makeSample(t)
		h := s.frames[victim]
		s.flip(t, h.addr, 20)
		tail, err := s.scan(ScanOptions{AcceptLoss: true})
		must(t, err)
		l, err := Resume(testOptions(s.store), tail)
		must(t, err)
		if lsn := appendOp(t, l, "after the loss"); lsn != h.firstLSN {
			t.Fatalf("victim %d: next lsn %d, want %d", victim, lsn, h.firstLSN)
		}
		must(t, l.Close())
		if tail.Addr.Segment() == h.addr.Segment() { // else its segment is gone
			s.flip(t, h.addr, 20) // the frame was whole after all
		}
		for range 2 {
			ops, tail, err := readLog(t, s.store, s.start, ScanOptions{})
			must(t, err)
			if ops[len(ops)-1].text != "after the loss" || uint64(len(ops)) != h.firstLSN {
				t.Fatalf("victim %d: the log ends at lsn %d with %q", victim, tail.LastLSN, ops[len(ops)-1].text)
			}
			r, err := FindSuperRoot(s.store, testPool)
			if tail.LastSuper == 0 && !fail.Is(err, fail.NotFound) || tail.LastSuper != 0 && (err != nil || r.Addr != tail.LastSuper) {
				t.Fatalf("victim %d: super root %v, %v; the tail says %v", victim, r.Addr, err, tail.LastSuper)
			}
			l, err := Resume(testOptions(s.store), tail)
			must(t, err)
			must(t, l.Close())
		}
	}
}

func TestSuperRootFallsBack(t *testing.T) {
	s := makeSample(t)
	var roots []header
	for _, h := range s.frames {
		if h.kind == FrameSuper {
			roots = append(roots, h)
		}
	}
	find := func(want header) {
		t.Helper()
		r, err := FindSuperRoot(s.store, testPool)
		must(t, err)
		if r.Addr != want.addr || r.Seq != want.seq || ParsePosition(r.Payload) != s.start {
			t.Fatalf("found %+v, want the one at %v", r.Position, want.addr)
		}
	}
	find(roots[1])
	must(t, s.store.SetHint([]byte("nonsense")))
	find(roots[1])
	must(t, setHint(s.store, testPool, roots[0].incarnation, roots[0].position()))
	find(roots[1])
	for _, off := range []int64{100, headerSize + 1, BlockSize + 10} { // header, summary, payload
		s.flip(t, roots[1].addr, off)
		find(roots[0])
		s.flip(t, roots[0].addr, off)
		if _, err := FindSuperRoot(s.store, testPool); !fail.Is(err, fail.Corrupt) {
			t.Errorf("both super roots damaged: %v", err)
		}
		s.flip(t, roots[0].addr, off)
		s.flip(t, roots[1].addr, off)
	}
	if _, err := FindSuperRoot(s.store, [16]byte{1}); !fail.Is(err, fail.NotFound) {
		t.Errorf("another pool's super root: %v", err)
	}
}

// A super root or a hint beyond the end of the chain is a witness too.
func TestWitnesses(t *testing.T) {
	s := makeSample(t)
	end := s.frames[len(s.frames)-1]
	tail, err := s.scan(ScanOptions{Attested: end.seq})
	must(t, err)
	if _, err := s.scan(ScanOptions{Attested: end.seq + 1}); !fail.Is(err, fail.Corrupt) {
		t.Errorf("attested beyond the end: %v", err)
	}
	beyond := end.position()
	beyond.Seq++
	for _, incarnation := range [][16]byte{{1}, tail.Incarnation} { // all of an incarnation may be lost
		must(t, setHint(s.store, testPool, incarnation, beyond))
		if _, err := s.scan(ScanOptions{}); !fail.Is(err, fail.Corrupt) {
			t.Errorf("hint beyond the end: %v", err)
		}
	}
	_, err = s.scan(ScanOptions{AcceptLoss: true})
	must(t, err)
}

// rewrite encodes h at its address, with a summary as it is.
func (s *sample) rewrite(t *testing.T, h header) {
	b := make([]byte, headerSize)
	h.encode(b)
	must(t, s.store.WriteAt(h.addr.Segment(), b, h.addr.offset()))
}

func TestForeignFramesAreIgnored(t *testing.T) {
	s := makeSample(t)
	end := s.frames[len(s.frames)-1]
	good := end
	good.addr += Addr(end.blocks())
	good.seq, good.prevCRC, good.through = end.seq+1, end.crc, end.seq
	s.rewrite(t, good)
	if tail, err := s.scan(ScanOptions{}); err != nil || tail.Seq != good.seq {
		t.Fatalf("a frame that continues the chain: %v, tail %+v", err, tail)
	}
	for name, change := range map[string]func(h *header){
		"pool":          func(h *header) { h.pool[0]++ },
		"incarnation":   func(h *header) { h.incarnation[0]++; h.through = 0 },
		"sequence":      func(h *header) { h.seq--; h.through = 0 },
		"previous":      func(h *header) { h.prevCRC++; h.through = 0 },
		"place":         func(h *header) { h.addr++ },
		"segment":       func(h *header) { h.addr = MakeAddr(1, h.addr.Block()) },
		"lsn":           func(h *header) { h.firstLSN++; h.through = 0 },
		"stranger":      func(h *header) { h.kind, h.prevIncarnation = FrameOpen, [16]byte{7}; h.incarnation[1]++ },
		"summary":       func(h *header) { h.summaryCRC++; h.through = 0 },
		"not the first": func(h *header) { h.kind, h.ops = FrameMarker, 1 },
	} {
		h := good
		change(&h)
		b := make([]byte, headerSize)
		h.encode(b)
		must(t, s.store.WriteAt(good.addr.Segment(), b, good.addr.offset()))
		tail, err := s.scan(ScanOptions{})
		if err != nil || tail.Seq != end.seq {
			t.Errorf("%s: %v, tail %+v", name, err, tail)
		}
	}
}

func TestNewerVersionIsRefused(t *testing.T) {
	s := makeSample(t)
	h := s.frames[5]
	b := make([]byte, headerSize)
	must(t, s.store.ReadAt(h.addr.Segment(), b, h.addr.offset()))
	b[8] = 2
	clear(b[ownCRC:])
	le32(b[ownCRC:], Checksum(b))
	must(t, s.store.WriteAt(h.addr.Segment(), b, h.addr.offset()))
	if _, err := s.scan(ScanOptions{AcceptLoss: true}); !fail.Is(err, fail.Unsupported) {
		t.Errorf("scan: %v", err)
	}
}

func le32(b []byte, v uint32) {
	for i := range 4 {
		b[i] = byte(v >> (8 * i))
	}
}

// An error of the disk is an error, wherever it strikes, and never the end of
// the log.
func TestReadErrors(t *testing.T) {
	s := makeSample(t)
	cause := fail.New(fail.IO, "unreadable")
	tap := &tapStore{Store: s.store}
	for name, read := range map[string]func() error{
		"Scan": func() error {
			_, err := Scan(tap, testPool, s.start, ScanOptions{}, func(*Frame) error { return nil })
			return err
		},
		"FindSuperRoot": func() error { _, err := FindSuperRoot(tap, testPool); return err },
		"Read":          func() error { return Read(tap, testPool, s.start, 8, func(*Frame) error { return nil }) },
		"Inspect":       func() error { return Inspect(tap, testPool, 1, func(Found) error { return nil }) },
	} {
		for fuse := 1; ; fuse++ {
			n := 0
			tap.set(func(op string, _ uint64) error {
				if n++; n == fuse {
					return cause
				}
				return nil
			})
			err := read()
			if n < fuse {
				must(t, err)
				if fuse < 3 {
					t.Errorf("%s reads only %d times", name, n)
				}
				break
			}
			if !errors.Is(err, cause) {
				t.Errorf("%s, read %d: %v", name, fuse, err)
			}
		}
	}
}

func TestVisitorsErrorsComeBack(t *testing.T) {
	s := makeSample(t)
	stop := errors.New("enough")
	n := 0
	visit := func(*Frame) error { n++; return stop }
	if _, err := Scan(s.store, testPool, s.start, ScanOptions{}, visit); err != stop || n != 1 {
		t.Errorf("Scan: %v after %d frames", err, n)
	}
	if err := Read(s.store, testPool, s.start, 5, visit); err != stop || n != 2 {
		t.Errorf("Read: %v after %d frames", err, n)
	}
}

func TestInspect(t *testing.T) {
	s := makeSample(t)
	inspect := func(store segstore.Store, seg uint64) (list []Found) {
		must(t, Inspect(store, testPool, seg, func(f Found) error { list = append(list, f); return nil }))
		return list
	}
	whole := inspect(s.store, 1)
	for i, f := range whole {
		if f.Err != nil || f.Beyond {
			t.Errorf("frame %d: %v, beyond %v", f.Frame.Position.Seq, f.Err, f.Beyond)
		}
		if i > 0 && f.Frame.Position.Addr != s.frames[i-1].addr {
			t.Errorf("frame %d at %v", f.Frame.Position.Seq, f.Frame.Position.Addr)
		}
	}
	s.flip(t, s.frames[1].addr, 200)
	damaged := inspect(s.store, 1)
	if len(damaged) != len(whole) || damaged[2].Err == nil || damaged[2].Beyond || damaged[2].Frame.Position.Addr != s.frames[1].addr || damaged[3].Beyond {
		t.Errorf("a damaged header shows as %+v", damaged[2])
	}
	s.flip(t, s.frames[1].addr, 200)
	long := 0
	for i, h := range s.frames {
		if summaryBlocks(h.summary) > 0 {
			long = i
		}
	}
	s.flip(t, s.frames[long].addr+1+Addr(s.frames[long].payload), 1)
	if f := inspect(s.store, 1)[long+1]; f.Err == nil || f.Beyond || f.Frame.Position.Seq != s.frames[long].seq {
		t.Errorf("a damaged summary shows as %+v", f)
	}
	end := s.frames[len(s.frames)-1]
	torn := end
	torn.addr += 2
	torn.seq, torn.through = end.seq+2, end.seq-1
	s.rewrite(t, torn)
	list := inspect(s.store, end.addr.Segment())
	if f := list[len(list)-1]; !f.Beyond || list[len(list)-2].Beyond {
		t.Errorf("a frame behind the end shows as %+v", f)
	}
	must(t, s.store.Recycle(1, 9))
	if list := inspect(s.store, 9); len(list) != 0 {
		t.Errorf("a recycled segment shows %d stale frames", len(list))
	}
}
