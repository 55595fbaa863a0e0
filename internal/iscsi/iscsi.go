// Package iscsi is an iSCSI target (RFC 7143): sessions of one connection, error
// recovery level 0. What a command does is internal/scsi's; here it is brought,
// with its data, and answered. See docs/iscsi.md.
//
// Four kinds of goroutines share the work, and none of them is started for a
// command:
//
//	reader   one per connection; parses PDUs out of its input buffer, executes
//	         what does not wait, and sends its own replies
//	writer   one per connection; sends what the socket did not take at once, and
//	         the replies of workers
//	workers  a fixed number per server; what must wait for the disk, flushes,
//	         and task management
//	clock    one per server; asks silent initiators whether they are there
//
// Locks: sessions.mu and Server.mu are leaves; taskSet.mu is held over calls of
// the workers and of outbox, whose mutexes are leaves.
package iscsi

import (
	"cmp"
	"log/slog"
	"runtime"
	"time"
)

// Options tune a Server. The zero value of each field means its default.
type Options struct {
	Logger   *slog.Logger // default: no log
	MaxConns int          // connections at a time; default 256; from one address a quarter before they log in
	Workers  int          // commands that wait for the disk at a time; default 64

	// Memory bounds the bytes of data in flight that the connections share, beside
	// what each has of its own; default 256 MiB, at least 64 MiB.
	Memory int64

	// LoginTimeout bounds a whole login, and in it the wait for the session
	// before to end; default 15 s.
	LoginTimeout time.Duration

	// StallTimeout is how long an initiator may make no progress within a
	// transfer, or in taking its replies, before it is cut off; default 60 s. It
	// must be done after that time and a second for each 64 KiB.
	StallTimeout time.Duration

	// Gather is how long commands of an initiator that has many under way may
	// be let come together; default 200 us, negative: they are not.
	Gather time.Duration

	// Processors is how many the machine has for the server: at most half as many
	// connections let commands come together at a time; default GOMAXPROCS.
	Processors int

	// Observe, where not nil, is told of every command answered: its name (see
	// OpNames), the time from parsing to reply, its data in bytes, and its error.
	// It is called concurrently and must not wait.
	Observe func(op string, d time.Duration, bytes int, err error)
}

// maxStrangers bounds the connections from one address that have not logged in: one
// that only connects, again and again, leaves room for others.
func (o Options) maxStrangers() int { return max(o.MaxConns/4, 4) }

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.MaxConns = cmp.Or(o.MaxConns, 256)
	o.Workers = cmp.Or(o.Workers, 64)
	o.Memory = cmp.Or(o.Memory, 256<<20)
	o.LoginTimeout = cmp.Or(o.LoginTimeout, 15*time.Second)
	o.StallTimeout = cmp.Or(o.StallTimeout, 60*time.Second)
	o.Gather = cmp.Or(o.Gather, 200*time.Microsecond)
	o.Processors = cmp.Or(o.Processors, runtime.GOMAXPROCS(0))
	o.Memory = max(o.Memory, connMemory)
	return o
}
