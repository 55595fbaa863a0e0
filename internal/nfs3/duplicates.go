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
//	begin --> in progress --> finish(reply) --> forgotten when old, or for room
//	               |
//	               +--> forget, if it may be tried again: it was refused, or failed
//
// What is in progress has no bound here but that of requests in flight. What is
// remembered has one of entries and one of bytes; room is made at the cost of
// the client that holds most, so that none can push out the requests of another
// that holds less. Requests of operations that the log had when the server
// started have no reply yet; it is made again from the operation when the
// client asks.
type duplicates struct {
	max   int
	bytes int

	mu      sync.Mutex
	byKey   map[requestKey]*entry
	done    chain // what is remembered, in the order of its ends
	holders holders
	unused  *entry // linked by ofAll
	n       int    // entries remembered
	used    int    // bytes of them
}

type entry struct {
	key    requestKey
	at     time.Time // of the beginning
	done   bool      // it is remembered
	logged *outcome
	reply  []byte // after the XID
	links  links
}

// outcome is what an operation did, as far as its reply tells.
type outcome struct{ dataset, ino uint64 }

func (d *duplicates) init() {
	d.max, d.bytes = maxDuplicates, duplicateMemory
	d.byKey = make(map[requestKey]*entry)
	d.holders.byClient = make(map[netip.Addr]*holder)
}

// verdict says what to do with a request.
type verdict uint8

const (
	isNew      verdict = iota // execute it, then finish or forget
	isRunning                 // drop it: the reply to the first will do
	isAnswered                // the reply is what begin appended
	isLogged                  // make the reply from the outcome, then finish or forget
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
			d.release(e)
			return isLogged, e, dst
		}
		return isAnswered, nil, append(dst, e.reply...)
	}
	return isNew, d.add(k, now), dst
}

// finish keeps the reply to a request that begin gave an entry.
func (d *duplicates) finish(e *entry, reply []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e.reply = append(e.reply[:0], reply...)
	e.logged = nil
	d.remember(e)
}

// forget lets a request be executed when it comes again.
func (d *duplicates) forget(e *entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.logged != nil {
		d.remember(e)
		return
	}
	d.recycle(e)
}

// add makes an entry in progress. d.mu is held.
func (d *duplicates) add(k requestKey, now time.Time) *entry {
	e := d.unused
	if e == nil {
		e = new(entry)
	} else {
		d.unused = e.links[ofAll].next
	}
	*e = entry{key: k, at: now, reply: e.reply[:0]}
	d.byKey[k] = e
	return e
}

// remember ends the progress of an entry, and makes room for it. d.mu is held.
func (d *duplicates) remember(e *entry) {
	e.done = true
	d.done.push(e, ofAll)
	d.holders.add(e)
	d.n++
	d.used += e.size()
	for d.n > d.max || d.used > d.bytes {
		d.drop(d.holders.victim())
	}
}

// release is the reverse of remember.
func (d *duplicates) release(e *entry) {
	e.done = false
	d.done.cut(e, ofAll)
	d.holders.remove(e)
	d.n--
	d.used -= e.size()
}

// size is what a remembered entry counts, in bytes.
func (e *entry) size() int { return requestAllotment + cap(e.reply) }

// drop ends an entry that is remembered. d.mu is held.
func (d *duplicates) drop(e *entry) {
	d.release(e)
	d.recycle(e)
}

// recycle ends an entry in progress. d.mu is held.
func (d *duplicates) recycle(e *entry) {
	delete(d.byKey, e.key)
	if cap(e.reply) > smallReply {
		e.reply = nil
	}
	e.links[ofAll].next, d.unused = d.unused, e
}

// expire drops what is old. d.mu is held.
func (d *duplicates) expire(now time.Time) {
	for d.done.first != nil && now.Sub(d.done.first.at) >= duplicateAge {
		d.drop(d.done.first)
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
	entry.logged = &outcome{op.Dataset, op.Ino}
	d.remember(entry)
}

var sumTable = crc64.MakeTable(crc64.ECMA)

// request identifies a call: its checksum covers what is asked, and the whole
// credential with its stamp and name of a machine, since several may share an
// address. A retransmission repeats all of that.
func (h *header) request(args []byte) oplog.Request {
	var what [20]byte
	p := put32(what[:0], h.prog)
	p = put32(p, h.vers)
	p = put32(p, h.proc)
	p = put32(p, h.flavor)
	p = put32(p, uint32(len(h.cred)))
	sum := crc64.Update(0, sumTable, p)
	sum = crc64.Update(sum, sumTable, h.cred)
	return oplog.Request{XID: h.xid, Sum: crc64.Update(sum, sumTable, args)}
}
