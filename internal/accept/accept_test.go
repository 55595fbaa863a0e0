package accept

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// fake is a connection that ends when it is drained or hung up.
type fake struct {
	once sync.Once
	end  chan struct{}
	deaf bool // to Drain
}

func newFake(deaf bool) *fake { return &fake{end: make(chan struct{}), deaf: deaf} }

func (f *fake) Hangup() { f.once.Do(func() { close(f.end) }) }

func (f *fake) Drain() {
	if !f.deaf {
		f.Hangup()
	}
}

// shortage is a listener that has no descriptors left a few times, and then
// connections.
type shortage struct {
	net.Listener
	left int
}

func (s *shortage) Accept() (net.Conn, error) {
	if s.left--; s.left >= 0 {
		return nil, syscall.EMFILE
	}
	return s.Listener.Accept()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func dial(t *testing.T, l net.Listener) {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
}

// A server accepts on several listeners, also after a shortage, and ends when
// its connections have.
func TestLife(t *testing.T) {
	s := New[*fake]("test", slog.New(slog.DiscardHandler))
	admitted := make(chan *fake)
	admit := func(nc net.Conn) {
		defer nc.Close()
		s.Admit(nc, func(all map[*fake]struct{}) (*fake, func()) {
			if len(all) == 2 {
				return nil, nil
			}
			f := newFake(false)
			return f, func() {
				admitted <- f
				<-f.end
				s.Forget(f)
			}
		})
	}
	ended := make(chan error)
	ls := []net.Listener{listen(t), &shortage{listen(t), 3}}
	for _, l := range ls {
		go func() { ended <- s.Serve(l, admit) }()
		dial(t, l)
		<-admitted
	}
	dial(t, ls[0]) // is refused
	if n := s.Len(); n != 2 || len(s.All()) != 2 {
		t.Errorf("%d connections", n)
	}
	after := 0
	if err := s.Shutdown(t.Context(), func() { after++ }); err != nil || after != 1 || len(s.All()) != 0 {
		t.Errorf("%v, after called %d times, %d left", err, after, len(s.All()))
	}
	for range ls {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if err := s.Serve(listen(t), admit); err == nil {
		t.Error("served after the end")
	}
	a, b := net.Pipe()
	s.Admit(a, func(map[*fake]struct{}) (*fake, func()) { t.Error("admitted after the end"); return nil, nil })
	b.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := b.Read(make([]byte, 1)); errors.Is(err, context.DeadlineExceeded) || err == nil {
		t.Errorf("a connection after the end was not closed: %v", err)
	}
}

// A listener that fails ends Serve with its error.
func TestListenerFails(t *testing.T) {
	s := New[*fake]("test", slog.New(slog.DiscardHandler))
	l := listen(t)
	l.Close()
	if err := s.Serve(l, nil); err == nil {
		t.Error("no error")
	}
}

// Who does not end in time is cut, and what waits for the end comes later.
func TestShutdownCuts(t *testing.T) {
	s := New[*fake]("test", slog.New(slog.DiscardHandler))
	f, more := newFake(true), make(chan struct{})
	a, _ := net.Pipe()
	s.Admit(a, func(map[*fake]struct{}) (*fake, func()) {
		s.Go(func() { <-more })
		return f, func() { <-f.end; s.Forget(f) }
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	after := make(chan struct{})
	if err := s.Shutdown(ctx, func() { close(after) }); err == nil {
		t.Error("all had finished")
	}
	<-f.end
	select {
	case <-after:
		t.Error("it did not wait for what Go began")
	case <-time.After(10 * time.Millisecond):
	}
	close(more)
	<-after
}
