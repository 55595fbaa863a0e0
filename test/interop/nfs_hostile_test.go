package interop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	nfs "varve/test/nfsclient"
)

// TestNFSOutOfOrder: replies on one connection come as they are ready; what
// waits for the disk holds up nothing else.
func TestNFSOutOfOrder(t *testing.T) {
	s := newShore(t)
	c, root := s.home(t)
	h := file(t, c, root, "f", "")
	piece := make([]byte, 1<<20)
	for round := range 20 {
		for i := range piece {
			piece[i] = byte(rand.Uint32())
		}
		for i := range 16 {
			write(t, c, h, uint64(i)<<20, piece, nfs.Unstable)
		}
		const quick = 200
		orders := make(chan uint64, quick)
		commit := make(chan nfs.CommitRes, 1)
		go func() { commit <- c.Commit(h, 0, 0) }()
		for range quick {
			go func() { orders <- c.Getattr(h).Order }()
		}
		slow := must(t, <-commit).Order
		overtook := 0
		for range quick {
			if o := <-orders; o > 0 && o < slow {
				overtook++
			}
		}
		if overtook >= quick/2 {
			t.Logf("round %d: %d of %d replies overtook a COMMIT", round, overtook, quick)
			s.finish()
			return
		}
	}
	t.Error("no replies overtook a COMMIT of 16 MiB")
}

// witness is a good client beside bad ones: it measures how long it waits.
type witness struct {
	stop  chan struct{}
	done  chan error
	worst atomic.Int64 // nanoseconds
	calls atomic.Int64
}

func (s *shore) witness(t *testing.T) *witness {
	t.Helper()
	c, root := s.home(t)
	w := &witness{stop: make(chan struct{}), done: make(chan error, 1)}
	h := file(t, c, root, fmt.Sprintf("witness-%d", rand.Uint64()), "x")
	go func() {
		for i := 0; ; i++ {
			select {
			case <-w.stop:
				w.done <- nil
				return
			default:
			}
			began := time.Now()
			for _, r := range []result{c.Getattr(h), c.Write(h, 0, []byte{byte(i)}, nfs.FileSync), c.Read(h, 0, 1), c.Lookup(root, "nothing")} {
				if err := r.Want(nfs.OK, nfs.ErrNoent); err != nil {
					w.done <- err
					return
				}
			}
			if took := int64(time.Since(began)); took > w.worst.Load() {
				w.worst.Store(took)
			}
			w.calls.Add(4)
			time.Sleep(time.Millisecond)
		}
	}()
	return w
}

// served ends the witness, and the test if it was not served well.
func (w *witness) served(t *testing.T) {
	t.Helper()
	for w.calls.Load() < 40 {
		select {
		case err := <-w.done:
			t.Fatalf("a good client beside: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	close(w.stop)
	if err := <-w.done; err != nil {
		t.Fatalf("a good client beside: %v", err)
	}
	worst := time.Duration(w.worst.Load())
	t.Logf("a good client beside: %d calls, four in a row took at most %v", w.calls.Load(), worst.Round(time.Millisecond))
	if worst > 5*time.Second {
		t.Errorf("a good client beside waited for %v", worst)
	}
}

// wire opens a connection for bytes that no client would send.
func (s *shore) wire(t *testing.T) *nfs.Wire {
	t.Helper()
	w, err := nfs.DialWire(s.addr, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// hungUp returns when the server has closed the connection.
func hungUp(t *testing.T, what string, w *nfs.Wire) {
	t.Helper()
	if err := w.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for {
		_, err := w.Receive()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection is still open", what)
			return
		}
		if err != nil {
			return
		}
	}
}

// What the server may take for bad clients, in bytes, beside what each
// connection may have for itself.
const (
	hostileMemory = 160 << 20
	ownMemory     = 5 << 19
)

// TestNFSHostile: clients that break every rule get nothing but themselves
// thrown out.
func TestNFSHostile(t *testing.T) {
	s := newShore(t)
	c, root := s.home(t)
	h := file(t, c, root, "f", strings.Repeat("x", 1000))
	before := rss(t, s.server.PID())
	good := s.witness(t)
	null := nfs.Call{XID: 1, RPC: 2, Program: nfs.ProgramNFS, Version: 3}
	get := nfs.Call{XID: 2, RPC: 2, Program: nfs.ProgramNFS, Version: 3, Procedure: nfs.ProcGetattr, Cred: nfs.Sys("x", 0, 0), Args: getattr(h)}

	t.Run("fragments", func(t *testing.T) {
		for _, n := range []int{1, 2, 3, 7, 40} { // odd, but right
			w := s.wire(t)
			if _, err := w.Write(nfs.Record(get.Bytes(), n)); err != nil {
				t.Fatal(err)
			}
			msg, err := w.Receive()
			if err != nil {
				t.Fatalf("a call in fragments of %d bytes: %v", n, err)
			}
			if _, _, err := nfs.ParseReply(msg); err != nil {
				t.Errorf("a call in fragments of %d bytes: %v", n, err)
			}
		}
		for _, mark := range []uint32{0x7fffffff, 0xffffffff, 1<<31 | 64<<20, 1<<31 | 3, 1 << 31} {
			w := s.wire(t)
			if _, err := w.Write(binary.BigEndian.AppendUint32(nil, mark)); err != nil {
				t.Fatal(err)
			}
			if mark&0x7fffffff > 8<<20 {
				hungUp(t, fmt.Sprintf("a fragment marked %#x", mark), w)
			}
		}
		w := s.wire(t)
		go func() { // an endless record of small fragments
			piece := nfs.Record(make([]byte, 4096), 64)
			binary.BigEndian.PutUint32(piece[len(piece)-68:], 64) // not the last
			for range 4000 {
				if _, err := w.Write(piece); err != nil {
					return
				}
			}
		}()
		hungUp(t, "a record of 16 MiB in small fragments", w)
	})
	t.Run("noise", func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		for range 300 {
			w := s.wire(t)
			msg := get.Bytes()
			switch rng.IntN(4) {
			case 0:
				msg = msg[:rng.IntN(len(msg))]
			case 1:
				for range 1 + rng.IntN(8) {
					msg[rng.IntN(len(msg))] = byte(rng.Uint32())
				}
			case 2:
				binary.BigEndian.PutUint32(msg[20:], uint32(rng.IntN(24))) // another procedure
			default:
				msg = make([]byte, rng.IntN(500))
				for i := range msg {
					msg[i] = byte(rng.Uint32())
				}
			}
			if _, err := w.Write(nfs.Record(msg, 1<<20)); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(nfs.Record(null.Bytes(), 1<<20)); err == nil {
				replies(t, w, time.Millisecond, io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET)
			}
			w.Close()
		}
	})
	t.Run("a reply sent to the server", func(t *testing.T) {
		w := s.wire(t)
		if err := w.Send([]byte{0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}); err != nil {
			t.Fatal(err)
		}
	})
	good.served(t)
	must(t, c.Getattr(h))
	if grown := rss(t, s.server.PID()) - before; grown > hostileMemory {
		t.Errorf("the server grew by %d MiB", grown>>20)
	}
	s.finish()
}

// TestNFSHalfOpen: many clients that begin and do not go on, or do not read
// what they asked for, hold up nobody and fill nothing.
func TestNFSHalfOpen(t *testing.T) {
	s := newShore(t)
	c, root := s.home(t)
	h := file(t, c, root, "f", "")
	piece := make([]byte, 1<<20)
	for i := range 8 {
		write(t, c, h, uint64(i)<<20, piece, nfs.FileSync)
	}
	before := rss(t, s.server.PID())
	good := s.witness(t)
	const crowd, greedy = 200, 20
	var bad []*nfs.Wire
	for i := range crowd {
		w := s.wire(t)
		bad = append(bad, w)
		var start []byte
		switch i % 4 {
		case 0: // nothing at all
		case 1: // half a mark
			start = []byte{0x80, 0}
		case 2: // the promise of a long WRITE, and its beginning
			start = append(binary.BigEndian.AppendUint32(nil, 1<<31|1<<20), make([]byte, 100)...)
		case 3: // most of one
			start = append(binary.BigEndian.AppendUint32(nil, 1<<31|1<<20), make([]byte, 1000<<10)...)
		}
		_ = w.SetWriteDeadline(time.Now().Add(2 * time.Second)) // the server need not take it
		_, _ = w.Write(start)
	}
	for i := range greedy { // asks for 400 MiB and reads none
		w := s.wire(t)
		bad = append(bad, w)
		args := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(getattr(h), uint64(i%8)<<20), 1<<20)
		_ = w.SetWriteDeadline(time.Now().Add(2 * time.Second))
		for n := range 400 {
			call := nfs.Call{XID: uint32(n), RPC: 2, Program: nfs.ProgramNFS, Version: 3, Procedure: nfs.ProcRead, Cred: nfs.Sys("x", 0, 0), Args: args}
			if err := w.Send(call.Bytes()); err != nil {
				break
			}
		}
	}
	time.Sleep(time.Second) // for the server to do what it would do with all that
	grown := rss(t, s.server.PID()) - before
	t.Logf("the server grew by %d MiB", grown>>20)
	if grown > hostileMemory+(crowd+greedy)*ownMemory {
		t.Errorf("the server grew by %d MiB for clients that send and read nothing", grown>>20)
	}
	good.served(t)
	fresh, again := s.home(t) // and there is room for one more
	must(t, fresh.Getattr(again))
	for _, w := range bad {
		w.Close() // else the server gives their requests time at the end
	}
	s.finish()
}
