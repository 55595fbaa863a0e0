package nbd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"varve/internal/fail"
)

// checkStatus checks the form of a good reply to a BLOCK_STATUS.
func checkStatus(t testing.TB, r request, a answer, contexts int) {
	t.Helper()
	if a.code != 0 || len(a.status) != contexts {
		t.Fatalf("BLOCK_STATUS: %+v, want %d contexts", a, contexts)
	}
	var ids []uint32
	for _, s := range a.status {
		sum := uint64(0)
		for i, p := range s.pieces {
			if p.n == 0 || i > 0 && p.flags == s.pieces[i-1].flags {
				t.Fatalf("pieces %v", s.pieces)
			}
			sum += uint64(p.n)
		}
		if len(s.pieces) == 0 || sum > uint64(r.n) || r.flags&flagReqOne != 0 && len(s.pieces) != 1 {
			t.Fatalf("%d pieces for %d bytes of %d", len(s.pieces), sum, r.n)
		}
		ids = append(ids, s.id)
	}
	slices.Sort(ids)
	if len(slices.Compact(ids)) != contexts {
		t.Fatalf("IDs %v", ids)
	}
}

// open selects contexts of an export and enters it.
func open(t testing.TB, addr, export string, contexts ...string) *client {
	t.Helper()
	c := negotiate(t, addr)
	if got := c.meta(optSetMetaContext, export, contexts...); len(got) != len(contexts) {
		t.Fatalf("contexts %q", got)
	}
	c.enterGo(export)
	return c
}

// expectPieces is the map of a range of blocks, by a test's own means.
func expectPieces(marked []bool, off, n uint64, yes, no uint32) (list []piece) {
	for at := off; at < off+n; at++ {
		flags := no
		if marked[at/blockSize] {
			flags = yes
		}
		if k := len(list); k > 0 && list[k-1].flags == flags {
			list[k-1].n++
		} else {
			list = append(list, piece{1, flags})
		}
	}
	return list
}

func TestBlockStatus(t *testing.T) {
	const size = 1 << 20
	d := newMemDisk("d", size)
	rng := rand.New(rand.NewPCG(3, 3))
	marks := make([]bool, len(d.stored))
	for i := range d.stored {
		d.stored[i], marks[i] = rng.IntN(3) > 0, rng.IntN(4) == 0
	}
	d.marked = map[string][]bool{"dawn": marks}
	_, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{})
	c := open(t, addr, "d", "varve:changed@dawn", "base:allocation")
	ranges := [][2]uint64{{0, size}, {0, 1}, {4095, 2}, {size - 1, 1}, {5000, 20_000}}
	for range 40 {
		off := rng.Uint64N(size)
		ranges = append(ranges, [2]uint64{off, 1 + rng.Uint64N(size-off)})
	}
	for _, x := range ranges {
		off, n := x[0], x[1]
		changed, stored := expectPieces(marks, off, n, stateChanged, 0), expectPieces(d.stored, off, n, 0, stateHole|stateZero)
		r := request{cmd: cmdBlockStatus, cookie: 77, off: off, n: uint32(n)}
		a := c.do(r, nil)
		checkStatus(t, r, a, 2)
		want := []statusChunk{{1, changed}, {2, stored}}
		if fmt.Sprint(a.status) != fmt.Sprint(want) {
			t.Fatalf("%d at %d:\n got %v\nwant %v", n, off, a.status, want)
		}
		r.flags = flagReqOne | flagFUA
		want = []statusChunk{{1, changed[:1]}, {2, stored[:1]}}
		if a := c.do(r, nil); fmt.Sprint(a.status) != fmt.Sprint(want) {
			t.Fatalf("%d at %d, REQ_ONE:\n got %v\nwant %v", n, off, a.status, want)
		}
	}
}

// A reply has at most so many pieces; a client that asks on gets all.
func TestBlockStatusIsBounded(t *testing.T) {
	const blocks = 70_000
	d := newMemDisk("d", 0)
	d.info.Size, d.stored = blocks*blockSize, make([]bool, blocks)
	for i := range d.stored {
		d.stored[i] = i%2 == 0
	}
	d.marked = map[string][]bool{"dawn": d.stored}
	s, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{})
	for contexts, limit := range map[int]int{1: 65_533, 2: 32_765} {
		c := open(t, addr, "d", []string{"base:allocation", "varve:changed@dawn"}[:contexts]...)
		var off uint64
		for replies := 1; off < d.info.Size; replies++ {
			r := request{cmd: cmdBlockStatus, off: off, n: uint32(d.info.Size - off)}
			a := c.do(r, nil)
			checkStatus(t, r, a, contexts)
			for i, s := range a.status {
				if want := min(limit, blocks-int(off/blockSize)); len(s.pieces) != want {
					t.Fatalf("context %d of %d, reply %d: %d pieces, want %d", i, contexts, replies, len(s.pieces), want)
				}
			}
			for _, p := range a.status[0].pieces {
				if hole := p.flags != 0; p.n != blockSize || hole != (off/blockSize%2 == 1) {
					t.Fatalf("at %d: %+v", off, p)
				}
				off += uint64(p.n)
			}
		}
	}
	eventually(t, "all memory to be free again", func() bool { return s.memory.TryAcquire(s.opt.Memory) })
}

// The longest range there is, all in one state.
func TestBlockStatusLongest(t *testing.T) {
	d := &hugeDisk{newMemDisk("huge", 4096)}
	d.info.Size = 1 << 50
	_, addr := startServer(t, oneDisk{d}, Options{})
	c := open(t, addr, "huge", "base:allocation")
	a := c.do(request{cmd: cmdBlockStatus, off: 1 << 49, n: 1<<32 - 1}, nil)
	if want := []statusChunk{{1, []piece{{1<<32 - 1, stateHole | stateZero}}}}; fmt.Sprint(a.status) != fmt.Sprint(want) {
		t.Errorf("%+v, want %v", a, want)
	}
}

// hugeDisk is all hole, and tells of more than it is asked for.
type hugeDisk struct{ *memDisk }

func (d *hugeDisk) Map(off, n uint64, visit func(Span) bool) error {
	if visit(Span{Len: 0}) && visit(Span{Len: n / 2, Hole: true}) {
		visit(Span{Len: 1 << 40, Hole: true})
	}
	return nil
}

type oneDisk struct{ disk Disk }

func (b oneDisk) List(context.Context) ([]Export, error) { return []Export{b.disk.Info()}, nil }
func (b oneDisk) Open(context.Context, string, Client, func()) (Disk, error) {
	return b.disk, nil
}

func TestBlockStatusErrors(t *testing.T) {
	b := markedDisks()
	_, addr := startServer(t, b, Options{})
	c := open(t, addr, "disk0", "base:allocation", "varve:changed@dawn")
	const size = 1 << 20
	for _, tt := range []struct {
		name   string
		broken string
		r      request
		want   uint32
	}{
		{"nothing", "", request{}, nbdEINVAL},
		{"past the end", "", request{off: 1, n: size}, nbdEINVAL},
		{"far past the end", "", request{off: 1<<64 - 1, n: 1<<32 - 1}, nbdEINVAL},
		{"DF", "", request{flags: flagDF, n: 1}, nbdEINVAL},
		{"NO_HOLE", "", request{flags: flagNoHole, n: 1}, nbdEINVAL},
		{"the first context fails", "map", request{n: size}, nbdEIO},
		{"the second context fails", "status", request{n: size}, nbdEIO},
	} {
		b.disks[0].broken.Store(brokenOp{tt.broken, fail.New(fail.Corrupt, "a node is damaged")})
		tt.r.cmd, tt.r.cookie = cmdBlockStatus, 5
		a := c.do(tt.r, nil)
		if a.code != tt.want || a.msg == "" || len(a.status) != 0 {
			t.Errorf("%s: %+v, want code %d", tt.name, a, tt.want)
		}
	}
	b.disks[0].broken.Store(brokenOp{})
	checkStatus(t, request{n: size}, c.do(request{cmd: cmdBlockStatus, n: size}, nil), 2)
}

// A map that waits for the disk holds up neither the requests behind it nor
// the end of the connection, which closes contexts and disk last.
func TestBlockStatusWaits(t *testing.T) {
	b := markedDisks()
	d := b.disks[0]
	d.mapGate = make(chan struct{})
	d.entered = make(chan string, 1)
	_, addr := startServer(t, b, Options{})
	c := open(t, addr, "disk0", "varve:changed@dawn", "base:allocation")
	c.request(request{cmd: cmdBlockStatus, cookie: 1, n: 4096}, nil)
	<-d.entered
	for i := range uint64(10) {
		if a := c.do(request{cmd: cmdRead, cookie: 2 + i, n: 100}, nil); a.code != 0 {
			t.Fatalf("a read behind it: %+v", a)
		}
	}
	c.request(request{cmd: cmdDisc}, nil)
	if d.closes.Load() != 0 || d.contextsClosed.Load() != 0 {
		t.Error("closed under a request")
	}
	d.mapGate <- struct{}{}
	a := c.reply(0, 0)
	checkStatus(t, request{n: 4096}, a, 2)
	c.expectEnd()
	allClosed(t, b)

	// Cut off meanwhile.
	c = open(t, addr, "disk0", "varve:changed@dawn", "base:allocation")
	c.request(request{cmd: cmdBlockStatus, n: 4096}, nil)
	<-d.entered
	b.kicks[len(b.kicks)-1]()
	c.expectEnd()
	if d.closes.Load() != 1 {
		t.Error("closed under a request")
	}
	close(d.mapGate)
	allClosed(t, b)
}
