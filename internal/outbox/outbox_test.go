package outbox

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// parts is a message of several pieces.
type parts struct{ pieces [][]byte }

func (p *parts) Unsent(vec [][]byte) [][]byte { return append(vec, p.pieces...) }

func (p *parts) Sent(n int64) (counted int64, done bool) {
	for len(p.pieces) > 0 && (n-counted > 0 || len(p.pieces[0]) == 0) {
		k := min(n-counted, int64(len(p.pieces[0])))
		counted += k
		if p.pieces[0] = p.pieces[0][k:]; len(p.pieces[0]) == 0 {
			p.pieces = p.pieces[1:]
		}
	}
	return counted, len(p.pieces) == 0
}

func (p *parts) Len() (n int) {
	for _, piece := range p.pieces {
		n += len(piece)
	}
	return n
}

// sender numbers what departs, in the first byte of each message.
type sender struct {
	nc       net.Conn
	departed byte
	freed    atomic.Int32
}

func (s *sender) Free(*parts)   { s.freed.Add(1) }
func (s *sender) Hangup()       { s.nc.Close() }
func (s *sender) Awaited() bool { return false }
func (s *sender) Depart(batch []*parts) {
	for _, m := range batch {
		m.pieces[0][0] = s.departed
		s.departed++
	}
}

func pair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if far, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if near, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

func messageOf(i int) *parts {
	m := &parts{pieces: [][]byte{{0, byte(i)}}}
	for k := range i % 50 { // more pieces than one write takes
		m.pieces = append(m.pieces, bytes.Repeat([]byte{byte(k)}, (i*k)%3000))
	}
	return m
}

// What is sent and added arrives in order, numbered as it left, though the peer
// reads late and the socket takes only a part at a time.
func TestOrderAndNumbers(t *testing.T) {
	near, far := pair(t)
	s := &sender{nc: near}
	var o Outbox[*parts]
	o.Init(s, NewStream(near), time.Minute)
	ended := make(chan struct{})
	go func() { o.Run(); close(ended) }()
	const n = 400
	var want []byte
	for i := range n {
		m := messageOf(i)
		for _, piece := range m.pieces {
			want = append(want, piece...)
		}
		want[len(want)-m.Len()] = byte(i)
		if i%3 == 0 {
			o.Add(m)
		} else {
			o.Send(m) // never waits, although nobody reads yet
		}
	}
	o.Close()
	got := make([]byte, len(want))
	far.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(far, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the bytes that arrived are others")
	}
	<-ended
	if k := s.freed.Load(); k != n {
		t.Errorf("%d of %d messages were given back", k, n)
	}
}

// A peer that takes nothing is given up, and all messages come back.
func TestPeerThatTakesNothing(t *testing.T) {
	near, _ := pair(t)
	s := &sender{nc: near}
	var o Outbox[*parts]
	o.Init(s, NewStream(near), 50*time.Millisecond)
	ended := make(chan struct{})
	go func() { o.Run(); close(ended) }()
	const n = 20
	for range n {
		o.Send(&parts{pieces: [][]byte{make([]byte, 1<<20)}})
	}
	for range 100 {
		if o.Err() != nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if o.Err() != ErrTooSlow {
		t.Errorf("ended with %v, not for being too slow", o.Err())
	}
	o.Send(&parts{pieces: [][]byte{{1}}})
	o.Close()
	<-ended
	if k := s.freed.Load(); k != n+1 {
		t.Errorf("%d of %d messages were given back", k, n+1)
	}
}
