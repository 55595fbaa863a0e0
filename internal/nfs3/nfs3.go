// Package nfs3 serves shares over NFS version 3 (RFC 1813) and MOUNT, on one
// TCP port, and answers as a portmapper for the two. It knows nothing of logs
// and trees, and judges no permission but that of a client to use a share;
// package fs does the rest.
//
// Four kinds of goroutines share the work, and none of them is started for a
// call that goes its usual way:
//
//	reader   one per connection; takes calls out of its input buffer, executes
//	         them, and sends the replies in batches
//	writer   one per connection; sends what the socket did not take at once
//	commits  at most one per connection; one commit for all calls that came
//	         since its last and have promised durability
//	workers  a fixed number per server; calls of connections that were slow
//	         lately, many at a time
//
// A call that keeps the reader for longer than a moment loses it to a
// successor, and goes on by itself; see baton. So calls of one connection run
// side by side, and are answered as they finish.
//
// All mutexes here are leaves: none is held while another is taken, nor across
// a call of fs.
package nfs3

import (
	"cmp"
	"log/slog"
	"time"

	"varve/internal/engine"
	"varve/internal/fs"
)

// Options tune a Server. The zero value of each field means its default.
type Options struct {
	Logger  *slog.Logger // default: no log
	Workers int          // calls given away that run at a time; default 64

	// MaxConns bounds the connections at a time; default 256. When there are
	// as many, those from addresses that no share allows give way first.
	MaxConns int

	// MaxRequests bounds the calls in flight of all connections, beside the one
	// that each may always have; default 8192. One connection has at most 128.
	MaxRequests int

	// Memory bounds the bytes of calls and replies in flight that the
	// connections share, beside the 2.5 MiB that each has of its own; default
	// 256 MiB.
	Memory int64

	// StallTimeout is how long a client may make no progress within a large
	// call, or in taking its replies, before it is cut off; default 60 s. It
	// must be done after that time and a second for each 64 KiB.
	StallTimeout time.Duration

	// Observe, where not nil, is told of every call executed: its procedure
	// ("read", "lookup", "mount.mnt"), the time from its arrival to its reply,
	// the bytes read or written, and the error that its status stands for, if
	// that came from package fs. It is called concurrently and must not wait.
	Observe func(op string, d time.Duration, bytes int, err error)
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.MaxConns = cmp.Or(o.MaxConns, 256)
	o.Workers = cmp.Or(o.Workers, 64)
	o.MaxRequests = cmp.Or(o.MaxRequests, 8192)
	o.Memory = cmp.Or(o.Memory, 256<<20)
	o.StallTimeout = cmp.Or(o.StallTimeout, 60*time.Second)
	return o
}

// files is what the server needs of *fs.FS.
type files interface {
	Encode(h fs.Handle) [fs.HandleSize]byte
	Decode(b []byte) (fs.Handle, error)
	Share(name string) (fs.Share, error)
	Shares() []fs.Share
	ShareOf(h fs.Handle) (fs.Share, error)
	Walk(c *fs.Call, path string) (fs.Handle, fs.Attr, error)
	Getattr(c *fs.Call, h fs.Handle) (fs.Attr, error)
	Setattr(c *fs.Call, h fs.Handle, set fs.SetAttr) (fs.Wcc, uint64, error)
	Lookup(c *fs.Call, dir fs.Handle, name string) (fs.Handle, fs.Attr, fs.Attr, error)
	Access(c *fs.Call, h fs.Handle, want uint32) (uint32, fs.Attr, error)
	Readlink(c *fs.Call, h fs.Handle) (string, fs.Attr, error)
	Read(c *fs.Call, h fs.Handle, p []byte, off uint64) (int, bool, fs.Attr, error)
	TryRead(c *fs.Call, h fs.Handle, p []byte, off uint64) (ok bool, n int, eof bool, a fs.Attr, err error)
	Write(c *fs.Call, h fs.Handle, p []byte, off uint64) (fs.Wcc, uint64, error)
	Create(c *fs.Call, dir fs.Handle, name string, set fs.SetAttr, exclusive bool, verifier *uint64) (fs.Made, error)
	Mkdir(c *fs.Call, dir fs.Handle, name string, set fs.SetAttr) (fs.Made, error)
	Symlink(c *fs.Call, dir fs.Handle, name, target string, set fs.SetAttr) (fs.Made, error)
	Mknod(c *fs.Call, dir fs.Handle, name string, mode uint32, rdev uint64, set fs.SetAttr) (fs.Made, error)
	Remove(c *fs.Call, dir fs.Handle, name string) (fs.Wcc, uint64, error)
	Rmdir(c *fs.Call, dir fs.Handle, name string) (fs.Wcc, uint64, error)
	Rename(c *fs.Call, from fs.Handle, fromName string, to fs.Handle, toName string) (fs.Wcc, fs.Wcc, uint64, error)
	Link(c *fs.Call, file, dir fs.Handle, name string) (fs.Attr, fs.Wcc, uint64, error)
	Readdir(c *fs.Call, h fs.Handle, after uint64, max int, plus bool, dst []fs.Dirent) ([]fs.Dirent, bool, fs.Attr, error)
	Statfs(c *fs.Call, h fs.Handle) (fs.Stat, error)
	Commit(lsn uint64, h fs.Handle) error
	Flush(h fs.Handle) error
	Verifier() uint64
	Lend() engine.Memory
}
