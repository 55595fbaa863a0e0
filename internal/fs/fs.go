// Package fs makes files of a share's log: POSIX over engine.Head.Change. It
// judges everything that depends on who asks: names, permissions, types, links,
// quota; and it knows handles, and the past of each directory in its
// .snapshot.
//
// Every change has one plan. Before the lock: is it the present, may the export
// be changed, is the name one. Under the dataset's lock, in a judge: load what
// is concerned, note its attributes, check existence, permissions, types and
// limits, fill in the operation. Then the engine logs and applies, and, in the
// same hold of the lock, the attributes after are noted. A judge may run
// several times, each time from scratch, and never waits.
//
// A change is in memory when its call returns, and durable after Commit. Names
// are compared as bytes; reading does not change the atime. ErrPerm refuses
// what only an owner may do, ErrAccess what the permission bits do not allow.
//
// Locks: FS.mu is a leaf; pastViews.mu is held while a view of the engine is
// closed. Neither is taken in a judge.
package fs

import (
	"log/slog"
	"sync"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/oplog"
)

// Options configures an FS.
type Options struct {
	Logger   *slog.Logger
	Location *time.Location   // of a WHEN without a zone; nil: the server's
	Now      func() time.Time // nil: time.Now
}

// FS is all shares of an engine. Safe for concurrent use.
type FS struct {
	e      *engine.Engine
	logger *slog.Logger
	loc    *time.Location
	now    func() time.Time
	pool   uint32
	past   pastViews

	mu     sync.RWMutex
	shares map[uint64]*share
	closed bool
}

// New makes the shares of e accessible. Close it before the engine.
func New(e *engine.Engine, o Options) *FS {
	f := &FS{e: e, logger: o.Logger, loc: o.Location, now: o.Now, pool: poolNumber(e.Identity()), shares: make(map[uint64]*share)}
	if f.logger == nil {
		f.logger = slog.New(slog.DiscardHandler)
	}
	if f.loc == nil {
		f.loc = time.Local
	}
	if f.now == nil {
		f.now = time.Now
	}
	f.past.open = e.OpenViewID
	return f
}

// Close lets all shares and moments go. Calls must have ended.
func (f *FS) Close() {
	f.mu.Lock()
	f.closed = true
	shares := f.shares
	f.shares = nil
	f.mu.Unlock()
	for _, s := range shares {
		s.head.Detach()
	}
	f.past.close()
}

// Commit returns when operation lsn of a call on h's share, and all before it,
// are durable; 0 is durable already.
func (f *FS) Commit(lsn uint64, h Handle) error {
	if lsn == 0 {
		return nil
	}
	s, err := f.share(h.Dataset)
	if err != nil {
		return err
	}
	return s.head.Commit(lsn)
}

// Flush returns when everything that was changed so far is durable.
func (f *FS) Flush(h Handle) error {
	if h.Moment != 0 {
		return nil
	}
	s, err := f.share(h.Dataset)
	if err != nil {
		return err
	}
	return s.head.Flush()
}

// Lend returns memory for the payload of one Write: see engine.Memory. Whoever
// lends it bounds how much.
func (f *FS) Lend() engine.Memory { return f.e.Lend() }

// Verifier changes whenever changes that were not committed may be lost.
func (f *FS) Verifier() uint64 { return f.e.Verifier() }

// server is who holds the shares: the server itself. Who changes something is
// in each call.
var server = engine.Caller{}

// share returns an attached share. ErrStale: it is not there any more.
func (f *FS) share(id uint64) (*share, error) {
	f.mu.RLock()
	s := f.shares[id]
	f.mu.RUnlock()
	if s == nil {
		return f.attach(id)
	}
	if s.head.Gone() {
		f.forget(s)
		return nil, ErrStale
	}
	return s, nil
}

func (f *FS) attach(id uint64) (*share, error) {
	s := &share{id: id}
	head, err := f.e.AttachID(id, server, func() { go f.forget(s) })
	switch {
	case fail.Is(err, fail.NotFound):
		return nil, ErrStale
	case err != nil:
		return nil, err
	case !head.IsShare():
		head.Detach()
		return nil, ErrStale
	}
	s.head = head
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		head.Detach()
		return nil, fail.New(fail.Canceled, "the server is ending")
	}
	if first := f.shares[id]; first != nil {
		head.Detach()
		return first, nil
	}
	f.shares[id] = s
	return s, nil
}

// forget lets a share go; whoever asks for it next attaches it anew, if it is
// there.
func (f *FS) forget(s *share) {
	f.mu.Lock()
	mine := f.shares[s.id] == s
	if mine {
		delete(f.shares, s.id)
	}
	f.mu.Unlock()
	if mine {
		s.head.Detach()
	}
}

// newOp begins an operation of a call.
func newOp(c *Call, kind oplog.Kind) *oplog.Op {
	return &oplog.Op{Kind: kind, Client: c.Client, Request: c.Req, UID: c.Cred.UID, GID: c.Cred.GID}
}

// settle tells what became of an operation on s: its own errors carry a code;
// a NotFound without one says that the share itself is gone.
func (f *FS) settle(s *share, err error) error {
	if err == nil || !fail.Is(err, fail.NotFound) {
		return err
	}
	if _, own := ownCode(err); own {
		return err
	}
	f.forget(s)
	return ErrStale
}
