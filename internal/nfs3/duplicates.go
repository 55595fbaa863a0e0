package nfs3

import (
	"hash/crc64"
	"net/netip"
	"strings"
	"sync"
	"time"

	"varve/internal/engine"
	"varve/internal/oplog"
)

// Bounds of the duplicate request cache.
const (
	duplicateAge     = 2 * time.Minute
	maxDuplicates    = 64 << 10
	duplicateMemory  = 32 << 20 // bytes of replies
	requestAllotment = 256      // bytes that an entry counts, beside its reply
)

// requestKey names a request over its retransmissions: a client that
// reconnects has another port, and XIDs may come again.
type requestKey struct {
	client netip.Addr
	oplog.Request
}

// duplicates remembers the requests that must not be executed twice, and what
// was answered:
//
//	begin --> in progress --> done(reply) --> forgotten when old, or for room
//	               |
//	               +--> forget, if it may be tried again
//
// Entries are in a list in the order of their beginnings. Those of operations
// that the log had when the server started have no reply yet; it is made
// again from the operation when the client asks.
type duplicates struct {
	max   int
	bytes int

	mu          sync.Mutex
	byKey       map[requestKey]*entry
	first, last *entry
	unused      *entry
	used        int // bytes
}

type entry struct {
	key        requestKey
	at         time.Time // of the beginning
	done       bool
	logged     *outcome
	reply      []byte // after the XID
	prev, next *entry
}

// outcome is what an operation did, as far as its reply tells.
type outcome struct{ dataset, ino uint64 }

func (d *duplicates) init() {
	d.max, d.bytes = maxDuplicates, duplicateMemory
	d.byKey = make(map[requestKey]*entry)
}

// verdict says what to do with a request.
type verdict uint8

const (
	isNew      verdict = iota // execute it, then done or forget
	isRunning                 // drop it: the reply to the first will do
	isAnswered                // the reply is what begin appended
	isLogged                  // make the reply from the outcome, then done or forget
)

// begin judges a request. A reply that is there is appended to dst.
func (d *duplicates) begin(k requestKey, now time.Time, dst []byte) (verdict, *entry, []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expire(now)
	if e := d.byKey[k]; e != nil {
		switch {
		case !e.done:
			return isRunning, nil, dst
		case e.logged != nil:
			e.done = false
			return isLogged, e, dst
		}
		return isAnswered, nil, append(dst, e.reply...)
	}
	return isNew, d.add(k, now), dst
}

// done keeps the reply to a request that begin gave an entry.
func (d *duplicates) done(e *entry, reply []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.used -= cap(e.reply)
	e.reply = append(e.reply[:0], reply...)
	d.used += cap(e.reply)
	e.done, e.logged = true, nil
}

// forget lets a request be executed when it comes again.
func (d *duplicates) forget(e *entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.logged != nil {
		e.done = true
		return
	}
	d.drop(e)
}

// add appends an entry. d.mu is held.
func (d *duplicates) add(k requestKey, now time.Time) *entry {
	e := d.unused
	if e == nil {
		e = new(entry)
	} else {
		d.unused = e.next
	}
	*e = entry{key: k, at: now, reply: e.reply[:0]}
	d.used += requestAllotment + cap(e.reply)
	d.byKey[k] = e
	d.link(e)
	return e
}

func (d *duplicates) link(e *entry) {
	e.prev, e.next = d.last, nil
	if d.last == nil {
		d.first = e
	} else {
		d.last.next = e
	}
	d.last = e
}

func (d *duplicates) unlink(e *entry) {
	if e.prev == nil {
		d.first = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		d.last = e.prev
	} else {
		e.next.prev = e.prev
	}
}

func (d *duplicates) drop(e *entry) {
	d.unlink(e)
	delete(d.byKey, e.key)
	d.used -= requestAllotment + cap(e.reply)
	if cap(e.reply) > smallReply {
		e.reply = nil
	}
	e.next, d.unused = d.unused, e
}

// expire drops what is old or has no room. What is in progress stays, and
// moves to the end: there is less of it than may be remembered.
func (d *duplicates) expire(now time.Time) {
	for range len(d.byKey) {
		e := d.first
		if now.Sub(e.at) < duplicateAge && len(d.byKey) < d.max && d.used < d.bytes {
			return
		}
		if e.done {
			d.drop(e)
			continue
		}
		d.unlink(e)
		e.at = now
		d.link(e)
	}
}

// load takes over the requests of the log's last operations.
func (d *duplicates) load(e *engine.Engine, now time.Time) error {
	return e.Recent(duplicateAge, func(op *oplog.Op) { d.recall(op, now) })
}

// recall remembers one operation of the log, if an NFS client asked for it.
func (d *duplicates) recall(op *oplog.Op, now time.Time) {
	if op.Request == nil || op.Client == nil {
		return
	}
	addr, ok := strings.CutPrefix(op.Client.Name, clientPrefix)
	if !ok {
		return
	}
	ip := addrOf(addr)
	if !ip.IsValid() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expire(now)
	k := requestKey{ip, *op.Request}
	if d.byKey[k] != nil {
		return
	}
	entry := d.add(k, now)
	entry.done, entry.logged = true, &outcome{op.Dataset, op.Ino}
}

var sumTable = crc64.MakeTable(crc64.ECMA)

// request identifies a call: its checksum covers what is asked, and for whom.
func (h *header) request(args []byte) oplog.Request {
	var who [20]byte
	p := put32(who[:0], h.prog)
	p = put32(p, h.vers)
	p = put32(p, h.proc)
	p = put32(p, h.uid)
	p = put32(p, h.gid)
	sum := crc64.Update(0, sumTable, p)
	return oplog.Request{XID: h.xid, Sum: crc64.Update(sum, sumTable, args)}
}
