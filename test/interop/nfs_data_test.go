package interop

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	nfs "varve/test/nfsclient"
)

// TestNFSData: bytes of files against a model, and every way to write them.
func TestNFSData(t *testing.T) {
	s := newShore(t)
	c, root := s.home(t)
	t.Run("model", func(t *testing.T) { againstModel(t, c, root, 400) })
	t.Run("ends", func(t *testing.T) { testEnds(t, c, root) })
	t.Run("attributes", func(t *testing.T) { testWriteAttributes(t, c, root) })
	t.Run("many at once", func(t *testing.T) { testManyWriters(t, s, root) })
	s.finish()
}

// againstModel does random reads, writes and truncations of one file.
func againstModel(t *testing.T, c nfs.Client, dir nfs.FH, steps int) {
	const limit = 3 << 20
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	h := file(t, c, dir, "model", "")
	var want []byte
	resize := func(n int) {
		if n <= len(want) {
			want = want[:n:n]
		} else {
			want = append(want, make([]byte, n-len(want))...)
		}
	}
	for step := range steps {
		off := rng.IntN(limit / 2)
		n := 1 + rng.IntN(1<<uint(4+rng.IntN(16)))
		if rng.IntN(3) == 0 {
			off, n = off&^4095, (n+4095)&^4095
		}
		switch rng.IntN(10) {
		case 0:
			size := rng.IntN(limit)
			must(t, c.Setattr(h, nfs.Size(uint64(size)), nil))
			resize(size)
		case 1, 2, 3:
			r := must(t, c.Read(h, uint64(off), uint32(n)))
			end := min(len(want), off+n)
			var data []byte
			if off < end {
				data = want[off:end]
			}
			if !bytes.Equal(r.Data, data) || r.EOF != (off+n >= len(want)) {
				t.Fatalf("step %d: READ of %d at %d of %d: %d bytes, eof %v, same %v", step, n, off, len(want), len(r.Data), r.EOF, bytes.Equal(r.Data, data))
			}
		default:
			p := make([]byte, n)
			for i := range p {
				p[i] = byte(rng.Uint32())
			}
			r := write(t, c, h, uint64(off), p, nfs.Stable(rng.IntN(3)))
			resize(max(len(want), off+n))
			copy(want[off:], p)
			if r.Wcc.After == nil || r.Wcc.After.Size != uint64(len(want)) {
				t.Fatalf("step %d: after WRITE %+v, want a size of %d", step, r.Wcc.After, len(want))
			}
		}
	}
	holds(t, c, h, want)
}

func testEnds(t *testing.T, c nfs.Client, dir nfs.FH) {
	h := file(t, c, dir, "ends", "0123456789")
	for _, x := range []struct {
		off  uint64
		n    uint32
		want string
		eof  bool
	}{
		{0, 10, "0123456789", true}, {0, 9, "012345678", false}, {5, 100, "56789", true}, {9, 1, "9", true}, {10, 1, "", true},
		{11, 1, "", true}, {1 << 40, 10, "", true},
	} {
		if r := must(t, c.Read(h, x.off, x.n)); string(r.Data) != x.want || r.EOF != x.eof || r.Attr == nil {
			t.Errorf("READ of %d at %d: %q, eof %v", x.n, x.off, r.Data, r.EOF)
		}
	}
	must(t, c.Read(h, 0, 0))
	for _, off := range []uint64{1<<63 - 1, 1 << 63, 1<<64 - 1} {
		if r := expect(t, fmt.Sprintf("READ at %d", off), c.Read(h, off, 100), nfs.OK, nfs.ErrInval, nfs.ErrFbig); len(r.Data) != 0 {
			t.Errorf("READ at %d brings %q", off, r.Data)
		}
	}
	for _, off := range []uint64{1<<63 - 2, 1 << 63, 1<<64 - 2, 1<<64 - 1} {
		expect(t, fmt.Sprintf("WRITE at %d", off), c.Write(h, off, []byte("abc"), nfs.FileSync), nfs.ErrFbig, nfs.ErrInval)
		expect(t, fmt.Sprintf("COMMIT at %d", off), c.Commit(h, off, 1<<31), nfs.OK, nfs.ErrInval, nfs.ErrFbig)
	}
	if r := must(t, c.Write(h, 5, nil, nfs.FileSync)); r.Count != 0 {
		t.Errorf("WRITE of nothing takes %d", r.Count)
	}
	holds(t, c, h, []byte("0123456789"))
	big := bytes.Repeat([]byte("varve"), 1<<20/5+1)[:1<<20]
	write(t, c, h, 3, big, nfs.Unstable)
	if r := must(t, c.Read(h, 3, 1<<20)); !bytes.Equal(r.Data, big) {
		t.Error("1 MiB came back changed")
	}
	if r := must(t, c.Read(h, 0, 64<<20)); len(r.Data) == 0 || len(r.Data) > 1<<20 {
		t.Errorf("READ of 64 MiB brings %d", len(r.Data))
	}
	expect(t, "READ of a directory", c.Read(dir, 0, 10), nfs.ErrIsdir, nfs.ErrInval)
	expect(t, "WRITE of a directory", c.Write(dir, 0, []byte("x"), nfs.FileSync), nfs.ErrIsdir, nfs.ErrInval)

	// A count that is not that of the data: refused, or the data decide.
	args := getattr(h)
	args = append(args, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 2, 0, 0, 0, 4, 'e', 'v', 'i', 'l')
	results, _, err := c.Conn.Do(nfs.Call{XID: c.Conn.XID(), RPC: 2, Program: nfs.ProgramNFS, Version: 3, Procedure: nfs.ProcWrite, Cred: c.Cred, Args: args})
	if err == nil && bytes.HasPrefix(results, make([]byte, 4)) {
		if got := must(t, c.Read(h, 4, 96)).Data; !bytes.Equal(got, big[1:97]) {
			t.Error("a WRITE whose count is larger than its data wrote more than its data")
		}
	}
}

func testWriteAttributes(t *testing.T, c nfs.Client, dir nfs.FH) {
	h := made(t, c.CreateGuarded(dir, "attributes", nfs.Mode(0o666).WithOwner(5, 5)))
	must(t, c.Setattr(h, nfs.Mode(0o6777), nil))
	was := attr(t, c, h)
	r := write(t, c.As(6, 6), h, 100, []byte("x"), nfs.Unstable)
	wccRight(t, "WRITE", c, h, was, r.Wcc)
	now := attr(t, c, h)
	if now.Size != 101 || !was.Mtime.Before(now.Mtime) || !was.Ctime.Before(now.Ctime) || now.Mode&0o6000 != 0 {
		t.Errorf("after another's WRITE %+v, was %+v: the set-id bits go", now, was)
	}
	if rr := must(t, c.Commit(h, 0, 0)); rr.Wcc.Before == nil || rr.Wcc.After == nil || *rr.Wcc.After != now {
		t.Errorf("COMMIT: %+v", rr.Wcc)
	}
	if used := attr(t, c, h).Used; used == 0 || used > 64<<10 {
		t.Errorf("%d bytes used by one block", used)
	}
}

// testManyWriters: many clients write parts of one file that share its blocks.
func testManyWriters(t *testing.T, s *shore, dir nfs.FH) {
	const lanes, rounds, piece = 8, 60, 1000
	c := s.client(t)
	h := file(t, c, dir, "shared", "")
	var all sync.WaitGroup
	for lane := range lanes {
		c := s.client(t)
		all.Go(func() {
			for i := range rounds {
				p := bytes.Repeat([]byte{byte(1 + lane)}, piece)
				if err := c.Write(h, uint64(i*lanes+lane)*piece, p, nfs.Stable(i%3)).Want(nfs.OK); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	var want []byte
	for i := range lanes * rounds {
		want = append(want, bytes.Repeat([]byte{byte(1 + i%lanes)}, piece)...)
	}
	holds(t, c, h, want)
}

// TestNFSCommit: what COMMIT and stable writes promise is kept over a kill, and
// the verifier says whether anything that they did not may be lost.
func TestNFSCommit(t *testing.T) {
	s := newShore(t)
	c, root := s.home(t)
	h := file(t, c, root, "f", "")
	data := bytes.Repeat([]byte("layer on layer. "), 4096)
	first := write(t, c, h, 0, data, nfs.Unstable)
	if first.Committed > nfs.FileSync || first.Verf == (nfs.Verifier{}) {
		t.Errorf("%d, verifier %x", first.Committed, first.Verf)
	}
	for i, r := range []nfs.WriteRes{write(t, c, h, 0, data[:1], nfs.DataSync), write(t, s.client(t), h, 0, data[:1], nfs.FileSync)} {
		if r.Verf != first.Verf {
			t.Errorf("write %d: verifier %x, was %x", i, r.Verf, first.Verf)
		}
	}
	if r := must(t, c.Commit(h, 0, 0)); r.Verf != first.Verf {
		t.Errorf("COMMIT: verifier %x, was %x", r.Verf, first.Verf)
	}
	late := write(t, c, h, uint64(len(data)), data, nfs.Unstable)

	s.restart() // properly: nothing is lost, and clients need not write again
	c = s.client(t)
	if r := must(t, c.Commit(h, 0, 0)); r.Verf != late.Verf {
		t.Errorf("the verifier is %x after a proper restart and was %x", r.Verf, late.Verf)
	}
	holds(t, c, h, append(data[:len(data):len(data)], data...))

	seen := map[nfs.Verifier]bool{late.Verf: true}
	for round := range 3 {
		must(t, c.Setattr(h, nfs.Size(0), nil))
		write(t, c, h, 0, data, nfs.Unstable)
		must(t, c.Commit(h, 0, 0))
		for i, stable := range []nfs.Stable{nfs.DataSync, nfs.FileSync} {
			write(t, c, h, uint64((1+i)*len(data)), data, stable)
		}
		write(t, c, h, uint64(3*len(data)), data, nfs.Unstable) // not promised
		s.crash()
		c = s.client(t)
		r := must(t, c.Commit(h, 0, 0))
		if seen[r.Verf] {
			t.Errorf("round %d: the verifier after a kill is an old one, %x", round, r.Verf)
		}
		seen[r.Verf] = true
		kept := content(t, c, h)
		if want := bytes.Repeat(data, 3); !bytes.HasPrefix(kept, want) {
			t.Fatalf("round %d: what was promised is not in the %d bytes that are left", round, len(kept))
		}
	}
	s.finish()
}

// TestNFSExclusive: EXCLUSIVE is what makes a file exactly once however often
// it is asked, by the verifier alone.
func TestNFSExclusive(t *testing.T) {
	s := newShore(t)
	c, root := s.home(t)
	v, w := nfs.Verifier{1, 2, 3, 4, 5, 6, 7, 8}, nfs.Verifier{1, 2, 3, 4, 5, 6, 7, 9}
	was := attr(t, c, root)
	r := must(t, c.CreateExclusive(root, "f", v))
	h := made(t, r)
	wccRight(t, "CREATE", c, root, was, r.Dir)
	if a := attr(t, c, h); a.Type != nfs.Reg || a.Size != 0 || a.Mode&0o077 != 0 {
		t.Errorf("%+v: nobody else may use it before its attributes are set", a)
	}
	retry := func(when string) {
		t.Helper()
		if r := expect(t, when+", again", c.CreateExclusive(root, "f", v)); r.FH != h || r.Dir.After == nil {
			t.Errorf("%s: handle %x, want %x; %+v", when, r.FH, h, r.Dir)
		}
		before := attr(t, c, root)
		r := expect(t, when+", by another", c.CreateExclusive(root, "f", w), nfs.ErrExist)
		wccRight(t, "EXIST", c, root, before, r.Dir)
	}
	retry("at once")
	s.crash()
	c = s.client(t)
	retry("after a kill")
	s.restart()
	c = s.client(t)
	retry("after a restart")
	expect(t, "the usual SETATTR", c.Setattr(h, nfs.Sattr{AtimeHow: nfs.ServerTime, MtimeHow: nfs.ServerTime}.WithMode(0o644), nil))
	file(t, c, root, "g", "")
	expect(t, "EXCLUSIVE over a file that was made otherwise", c.CreateExclusive(root, "g", v), nfs.ErrExist)
	expect(t, "EXCLUSIVE over a file that was made otherwise, with no verifier", c.CreateExclusive(root, "g", nfs.Verifier{}), nfs.ErrExist)
	must(t, c.Mkdir(root, "d", nfs.Sattr{}))
	expect(t, "EXCLUSIVE over a directory", c.CreateExclusive(root, "d", v), nfs.ErrExist)
	s.finish()
}
