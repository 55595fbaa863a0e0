package outbox

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"time"
)

// got is what a read returned.
type got struct {
	n      int
	waited Waited
	err    error
}

// wait fails the test if the read does not end.
func wait(t *testing.T, read func() (int, Waited, error)) got {
	t.Helper()
	c := make(chan got, 1)
	go func() {
		n, w, err := read()
		c <- got{n, w, err}
	}()
	select {
	case g := <-c:
		return g
	case <-time.After(20 * time.Second):
		t.Fatal("a read sleeps although there is data")
	}
	return got{}
}

func TestReadMany(t *testing.T) {
	near, far := pair(t)
	s := NewStream(near)
	p := make([]byte, 8192)
	many := func(want int, limit time.Duration) func() (int, Waited, error) {
		return func() (int, Waited, error) { return s.ReadMany(p, want, limit) }
	}
	one := func() (int, Waited, error) { return s.ReadSpin(p, 0) }
	send := func(n int, after time.Duration) {
		time.AfterFunc(after, func() { far.Write(bytes.Repeat([]byte{1}, n)) })
	}

	for i := range 10 {
		send(100, time.Duration(i)*time.Millisecond)
	}
	if g := wait(t, many(1000, time.Minute)); g.n != 1000 || g.waited == Asleep || g.err != nil {
		t.Errorf("waiting for 1000 bytes: %+v", g)
	}

	send(10, 0)
	if g := wait(t, one); g.n != 10 || g.err != nil {
		t.Errorf("a read after one that waited for many: %+v", g)
	}

	send(100, 0)
	start := time.Now()
	if g := wait(t, many(1000, 50*time.Millisecond)); g.n != 100 || g.waited != Asleep || g.err != nil {
		t.Errorf("waiting for 1000 bytes of which 100 come: %+v", g)
	}
	if d := time.Since(start); d < 50*time.Millisecond {
		t.Errorf("it gave up after %v", d)
	}

	send(1, 100*time.Millisecond)
	if g := wait(t, many(1000, time.Millisecond)); g.n != 1 || g.waited != Asleep || g.err != nil {
		t.Errorf("one byte, long after the time for many: %+v", g)
	}

	s.ReadUntil(time.Now().Add(50 * time.Millisecond))
	if g := wait(t, many(1000, time.Millisecond)); !errors.Is(g.err, os.ErrDeadlineExceeded) {
		t.Errorf("nothing until the deadline: %+v", g)
	}
	s.ReadUntil(time.Time{})

	time.AfterFunc(10*time.Millisecond, func() { far.Close() })
	if g := wait(t, many(1000, time.Millisecond)); g.err != io.EOF {
		t.Errorf("the peer's end: %+v", g)
	}
}

// TestLingerAfterMany: what comes after a read that waited for many bytes is thrown
// away as it comes, so that closing resets nothing.
func TestLingerAfterMany(t *testing.T) {
	for range 10 {
		if lingers(t) {
			return
		}
	}
	t.Fatal("this machine is too slow to send anything while the other end lingers")
}

// lingers reports whether what is sent late was sent well before the end.
func lingers(t *testing.T) bool {
	near, far := pair(t)
	s := NewStream(near)
	far.Write(make([]byte, 1000))
	if n, _, err := s.ReadMany(make([]byte, 8192), 1000, time.Minute); n != 1000 || err != nil {
		t.Fatalf("read %d bytes, %v", n, err)
	}
	sent := make(chan time.Time, 1)
	time.AfterFunc(lingerTime/5, func() {
		far.Write(make([]byte, 100))
		sent <- time.Now()
	})
	s.Linger(1 << 20)
	end := time.Now()
	s.Close()
	if end.Sub(<-sent) < lingerTime/5 {
		return false
	}
	if err := far.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := far.Read(make([]byte, 10)); err != io.EOF {
		t.Errorf("the peer reads %d bytes, %v, want the end", n, err)
	}
	time.Sleep(10 * time.Millisecond)
	if _, err := far.Write([]byte{1}); err != nil { // the reset of a close with unread data
		t.Errorf("the connection was reset: %v", err)
	}
	return true
}
