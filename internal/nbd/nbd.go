// Package nbd serves disks over the Network Block Device protocol: fixed
// newstyle handshake, simple and structured replies, metadata contexts. It knows
// nothing of logs and trees; a Backend gives it the disks.
//
// Five kinds of goroutines share the work, and none of them is started for a
// request:
//
//	reader   one per connection; parses requests out of its input buffer,
//	         executes what does not wait, and sends its own replies
//	writer   one per connection; sends what the socket did not take at once,
//	         and the replies of the other two
//	commits  at most one per connection; one Flush for every FLUSH and FUA
//	         that arrived since its last
//	queue    at most one per connection; a write that must wait, for room or for
//	         the disk, and the changes and FLUSHes behind it, in order
//	workers  a fixed number per server; reads that must wait for the disk,
//	         and maps of it
//
// A connection's mutexes (outbox, commits, queue) and the workers' are leaves:
// none is held while another is taken, nor across a call of the Backend.
package nbd

import (
	"context"
	"time"

	"varve/internal/vol"
)

// Export describes a disk as clients see it.
type Export struct {
	Name        string
	Size        uint64 // bytes; fixed while a client is connected
	ReadOnly    bool
	Description string // for people; may be empty
}

// Client says who is at the other end of a connection.
type Client struct {
	Addr  string    // "127.0.0.1:40112", or "unix:pid=4711,uid=0" by SO_PEERCRED
	Since time.Time // when the connection was accepted
}

// Backend gives the server its disks. Its methods may be called concurrently.
// The errors are *fail.Error; their text reaches the client.
type Backend interface {
	// List returns the exports to show to clients that ask for a list.
	List(ctx context.Context) ([]Export, error)

	// Open opens a disk for a client until its Close. The name "" means the
	// default export, if there is exactly one. The backend may call kick at
	// any time, from any goroutine, any number of times, to disconnect the
	// client; kick returns at once, and Close follows when the requests in
	// flight have returned. ctx ends when the connection is cut.
	Open(ctx context.Context, name string, c Client, kick func()) (Disk, error)
}

// Disk is an open disk. The goroutines of one connection use it concurrently.
// Every range it is given is not empty and lies within Info().Size; offsets
// and lengths are bytes and need no alignment. Buffers are the caller's again
// when a method returns.
type Disk interface {
	// Info describes the disk. Name is the canonical name.
	Info() Export

	// ReadAt fills p, with zeros where nothing is stored, and may wait for
	// the disk. Where spans is not nil, it appends the map of p.
	ReadAt(p []byte, off uint64, spans *[]Span) error

	// TryReadAt is ReadAt for a caller that must not wait: where ReadAt would,
	// it returns false, and what p and spans then hold is of no account.
	TryReadAt(p []byte, off uint64, spans *[]Span) (ok bool, err error)

	// WriteAt returns when p is in memory and readable. It may wait while the
	// backend has too much that is not yet written. TryWriteAt is for a caller that
	// must not wait: false where WriteAt would, or would fail, and nothing has happened.
	WriteAt(p []byte, off uint64) error
	TryWriteAt(p []byte, off uint64) bool

	// Trim forgets a range, of any length; it reads as zeros afterwards.
	// It does not wait for the disk.
	Trim(off, n uint64) error

	// Zero makes a range, of any length, read as zeros, and with noHole keeps
	// space for it. It does not wait for the disk.
	Zero(off, n uint64, noHole bool) error

	// Flush returns when every request that had returned before the call, of
	// any client of this disk, is durable.
	Flush() error

	// Cache reads a range ahead. It may wait for the disk.
	Cache(off, n uint64) error

	// Map visits the spans of a range, in order, until visit returns false.
	// It may wait for the disk.
	Map(off, n uint64, visit func(Span) bool) error

	// Contexts lists the disk's own metadata contexts, those beside
	// base:allocation, for a client that wants to know. The query "" asks for
	// a few words on what there is; else the names are returned that the
	// query names or stands for, a bounded number of them.
	Contexts(query string) []string

	// OpenContext opens one of the disk's own metadata contexts, whether
	// Contexts lists it or not, until its Close. An error means that the
	// disk does not offer it; the client is not told why.
	OpenContext(name string) (Context, error)

	// Close is called once, when no other call is under way and every Context
	// is closed.
	Close() error
}

// Context says something about every range of a disk. The goroutines of one
// connection use it concurrently.
type Context interface {
	// Status visits the pieces of a range, in order and without gaps, until
	// visit returns false: their length in bytes, and flags that the context
	// defines. It may wait for the disk.
	Status(off, n uint64, visit func(n uint64, flags uint32) bool) error

	// Close is called once, when no other call is under way.
	Close()
}

// Span is a piece of a disk: stored data, or a hole. The spans of a read or a
// map follow each other without gaps.
type Span = vol.Span
