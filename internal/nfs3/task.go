package nfs3

import (
	"time"

	"varve/internal/fs"
	"varve/internal/oplog"
)

// sync says what has to become durable before a reply goes out.
type syncKind uint8

const (
	syncNone syncKind = iota
	syncOp            // what the task did
	syncAll           // everything
)

// task is one call on its way:
//
//	parse    its header and arguments; what is wrong with these is answered
//	run      execute it: memory, perhaps reads of the disk
//	commit   wait until it is durable, where that is promised
//	encode   the reply
//
// Its goroutine is the reader's, until that gives it away.
type task struct {
	c     *conn
	start time.Time

	in    *buffer // where the call lies
	out   *buffer // where the reply is to go, if it needs memory before run
	dst   []byte  // the same: empty, with room for the reply
	lent  bool    // out has earlier replies too: it is the reader's
	dec   decoder
	proc  *procedure
	head  header
	args  args
	call  fs.Call
	req   oplog.Request
	dup   *entry   // to be told of the reply
	redo  *outcome // answer from it instead of executing
	again []byte   // the reply is known: without its fragment's length and XID

	try   bool // run must not wait for data from the disk:
	waits bool // it would have had to, and left nothing

	passed chan struct{} // the reader's successor needs nothing more of the task

	refused   uint32 // an accept status other than success, or rpcDenied
	low, high uint32 // rpcMismatch

	// what run leaves
	h, h2     fs.Handle
	status    status
	err       error // where it came from, if from fs
	attr, dir postAttr
	wcc, wcc2 fs.Wcc
	sync      syncKind
	lsn       uint64
	lsnOf     fs.Handle
	n         int // bytes read, or written
	eof       bool
	access    uint32
	stable    uint32
	text      string
	stat      fs.Stat
	dirents   []fs.Dirent
	exports   []exported
	mounts    []mount
}

// postAttr is a post_op_attr.
type postAttr struct {
	fs.Attr
	ok bool
}

func (p *postAttr) set(a fs.Attr) { *p = postAttr{a, true} }

// newTask returns a task for a call that lies in b.
func (c *conn) newTask(b *buffer) *task {
	t, ok := c.srv.tasks.Get().(*task)
	if !ok {
		t = &task{passed: make(chan struct{}, 1)}
	}
	t.c, t.in, t.start = c, b, time.Now()
	return t
}

// end gives back what t holds, but for memory of its reply.
func (t *task) end() {
	c := t.c
	if t.in != nil {
		c.release(t.in)
	}
	*t = task{passed: t.passed, dirents: t.dirents[:0], again: t.again[:0]}
	c.srv.tasks.Put(t)
}

// parse takes the call apart. ok is false where it is none. The task is to be
// executed unless t.refused is set.
func (t *task) parse(p []byte) (ok bool) {
	d := &t.dec
	d.p = p
	if t.refused, ok = t.head.parse(d); !ok || t.refused != rpcSuccess {
		return ok
	}
	if t.proc, t.refused, t.low, t.high = find(&t.head); t.proc == nil {
		return true
	}
	args := d.p
	t.proc.decode(&t.args, d)
	if d.bad {
		t.refused = rpcGarbageArgs
		return true
	}
	if t.proc.once {
		t.req = t.head.request(args)
	}
	return true
}

// run executes the call.
func (t *task) run() {
	switch {
	case t.proc.run == nil:
	case !t.proc.handle:
		t.proc.run(t)
	case !t.enter():
	case t.redo != nil:
		t.repeat()
	default:
		t.proc.run(t)
	}
}

// enter judges whether the caller may use what the handles name, and sets who
// asks.
func (t *task) enter() bool {
	files, c := t.c.srv.files, t.c
	var err error
	if t.h, err = files.Decode(t.args.fh); err != nil {
		return t.refuse(statusOf(err))
	}
	share, err := files.ShareOf(t.h)
	if err != nil {
		return t.refuse(statusOf(err))
	}
	r := c.srv.exports.rule(share)
	if !c.allowed(r) {
		return t.refuse(errAcces)
	}
	r.become(&t.call.Cred, &t.head)
	t.call.Client, t.call.ReadOnly = c.name, r.readOnly
	if t.proc.once {
		t.call.Req = &t.req
	}
	if t.args.fh2 == nil {
		return true
	}
	if t.h2, err = files.Decode(t.args.fh2); err != nil {
		return t.refuse(statusOf(err))
	}
	if t.h2.Dataset != t.h.Dataset { // whose rule may be another
		return t.refuse(errXDev)
	}
	return true
}

func (t *task) refuse(s status) bool {
	t.status = s
	return false
}

// fail sets the status that err stands for.
func (t *task) fail(err error) {
	t.err, t.status = err, statusOf(err)
}

// commit waits until what the reply promises is durable.
func (t *task) commit() {
	var err error
	files := t.c.srv.files
	switch t.sync {
	case syncOp:
		err = files.Commit(t.lsn, t.lsnOf)
	case syncAll:
		err = files.Flush(t.h)
	}
	t.committed(err)
}

// committed notes the end of a commit.
func (t *task) committed(err error) {
	t.sync = syncNone
	if err != nil {
		t.fail(err)
	}
}

// changed notes an operation that has to be durable before the reply.
func (t *task) changed(lsn uint64, h fs.Handle) {
	if lsn != 0 {
		t.sync, t.lsn, t.lsnOf = syncOp, lsn, h
	}
}

// encode appends the reply, of at most t.room() bytes, to the empty p, and
// remembers it where that is to be: refusals and failures take no room from
// what was done.
func (t *task) encode(p []byte) []byte {
	switch {
	case t.refused != rpcSuccess:
		return seal(putRefusal(p, t.head.xid, t.refused, t.low, t.high))
	case len(t.again) > 0:
		return seal(append(put32(put32(p, 0), t.head.xid), t.again...))
	}
	p = putHead(p, t.head.xid, rpcSuccess)
	if t.proc.encode != nil {
		p = t.proc.encode(t, p)
	}
	p = seal(p)
	switch {
	case t.dup == nil:
	case t.status == nfsOK:
		t.c.srv.seen.finish(t.dup, p[8:])
	default: // it changed nothing, or nothing durable
		t.c.srv.seen.forget(t.dup)
	}
	return p
}

// room bounds the bytes of the reply.
func (t *task) room() int {
	if t.refused != rpcSuccess || t.proc.room == nil {
		return smallReply
	}
	return t.proc.room(&t.args)
}
