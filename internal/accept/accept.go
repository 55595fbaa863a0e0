// Package accept has what servers of every protocol do with their connections:
// accept them from any number of listeners, know all there are, and let them
// finish when the server ends.
package accept

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"varve/internal/fail"
)

// Conn is a connection that is served.
type Conn interface {
	comparable

	// Drain lets what is in flight finish and the answers go out, and then the
	// connection end.
	Drain()

	// Hangup cuts the connection.
	Hangup()
}

// Conns are the connections of a server. Its methods may be called
// concurrently.
type Conns[C Conn] struct {
	protocol string
	log      *slog.Logger

	mu        sync.Mutex
	closing   bool
	listeners map[net.Listener]struct{}
	all       map[C]struct{}
	handlers  sync.WaitGroup
}

// New returns the connections of a server of a protocol ("NBD"), of which there
// are none.
func New[C Conn](protocol string, log *slog.Logger) *Conns[C] {
	return &Conns[C]{
		protocol:  protocol,
		log:       log,
		listeners: map[net.Listener]struct{}{},
		all:       map[C]struct{}{},
	}
}

// Serve accepts connections, and hands each to admit, until Shutdown, when it
// returns nil, or until the listener fails. It closes the listener.
func (s *Conns[C]) Serve(l net.Listener, admit func(net.Conn)) error {
	defer l.Close()
	if !s.listen(l) {
		return fail.New(fail.Canceled, "the %s server is shut down", s.protocol)
	}
	defer s.unlisten(l)
	var pause time.Duration
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			admit(nc)
		case s.isClosing():
			return nil
		case IsTemporary(err):
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.log.Warn("accepting connections", "protocol", s.protocol, "error", err, "pause", pause)
			time.Sleep(pause)
		default:
			return fail.Wrap(fail.IO, err, "accepting %s connections on %s", s.protocol, l.Addr())
		}
	}
}

// Admit decides what becomes of a new connection: choose is called with all
// there are, which it must not change, and returns the connection and what
// begins to serve it, or nil if it has refused it. What serves it ends with
// Forget, perhaps on another goroutine. A server that is shut down closes it.
// choose must call no other method of s than Go.
func (s *Conns[C]) Admit(nc net.Conn, choose func(all map[C]struct{}) (c C, serve func())) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		nc.Close()
		return
	}
	c, serve := choose(s.all)
	if serve == nil {
		return
	}
	s.all[c] = struct{}{}
	s.handlers.Add(1)
	go serve()
}

// Forget is told of the end of a connection of Admit.
func (s *Conns[C]) Forget(c C) {
	s.mu.Lock()
	delete(s.all, c)
	s.mu.Unlock()
	s.handlers.Done()
}

// Go runs f, which choose of Admit may call it with, beside the connections:
// Shutdown waits for its end.
func (s *Conns[C]) Go(f func()) { s.handlers.Go(f) }

// Wait waits for all connections to end.
func (s *Conns[C]) Wait() { s.handlers.Wait() }

// All lists the connections, in no order.
func (s *Conns[C]) All() []C {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]C, 0, len(s.all))
	for c := range s.all {
		list = append(list, c)
	}
	return list
}

// Len is how many connections there are.
func (s *Conns[C]) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// Shutdown closes the listeners, drains the connections, and calls after when
// all have ended. When ctx ends first, it cuts those there are and returns at
// once with an error; after is still called. No Serve is possible afterwards.
func (s *Conns[C]) Shutdown(ctx context.Context, after func()) error {
	s.mu.Lock()
	s.closing = true
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.all {
		c.Drain()
	}
	s.mu.Unlock()

	done := make(chan struct{})
	go func() {
		s.Wait()
		after()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	left := s.All()
	for _, c := range left {
		c.Hangup()
	}
	return fail.Wrap(fail.Canceled, ctx.Err(), "%s: %d connections had not finished", s.protocol, len(left))
}

func (s *Conns[C]) listen(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Conns[C]) unlisten(l net.Listener) {
	s.mu.Lock()
	delete(s.listeners, l)
	s.mu.Unlock()
}

func (s *Conns[C]) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// IsTemporary reports whether accepting may work later: there were no
// descriptors left, and others may close some.
func IsTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}
