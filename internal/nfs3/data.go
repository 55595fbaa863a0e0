package nfs3

import "varve/internal/fs"

// readHead is the length of what comes before the data in the reply to a READ.
const readHead = replyHead + 4 + postAttrSize + 12

func roomOfRead(a *args) int { return readHead + int(min(a.count, maxIO)) + 3 }

// READ, RFC 1813 section 3.3.6. It reads into the reply.
func (t *task) read() {
	n := int(min(t.args.count, maxIO))
	p := t.dst[readHead : readHead+n]
	files := t.c.srv.files
	if t.try {
		ok, n, eof, a, err := files.TryRead(&t.call, t.h, p, t.args.off)
		if t.waits = !ok; ok {
			t.wasRead(n, eof, a, err)
		}
		return
	}
	t.wasRead(files.Read(&t.call, t.h, p, t.args.off))
}

func (t *task) wasRead(n int, eof bool, a fs.Attr, err error) {
	if err != nil {
		t.fail(err)
		t.look()
		return
	}
	t.n, t.eof = n, eof
	t.attr.set(a)
	t.c.bytesRead.Add(uint64(n))
}

func (t *task) putRead(p []byte) []byte {
	p = t.putAttrOf(putStatus(p, t.status))
	if t.status != nfsOK {
		return p
	}
	p = putFlag(put32(p, uint32(t.n)), t.eof)
	p = put32(p, uint32(t.n))
	p = p[:len(p)+t.n]
	return append(p, "\x00\x00\x00"[:padding(t.n)]...)
}

// WRITE, section 3.3.7.
func (t *task) write() {
	p, off := t.args.data, t.args.off
	if off > maxFileSize || uint64(len(p)) > maxFileSize-off {
		t.refuse(errFBig)
		t.settle(&t.wcc, t.h)
		return
	}
	if t.in.lent {
		t.call.Memory = &t.in.memory // if it is taken, so is what is left of the call
	}
	w, lsn, err := t.c.srv.files.Write(&t.call, t.h, p, off)
	t.wcc = w
	if err != nil {
		t.fail(err)
		t.settle(&t.wcc, t.h)
		return
	}
	t.n = len(p)
	t.c.bytesWritten.Add(uint64(t.n))
	if t.args.how != unstable {
		t.stable = fileSync
		t.changed(lsn, t.h)
	}
}

func (t *task) putWritten(p []byte) []byte {
	p = t.putChanged(p)
	if t.status != nfsOK {
		return p
	}
	p = put32(put32(p, uint32(t.n)), t.stable)
	return put64(p, t.c.srv.files.Verifier())
}

// COMMIT, section 3.3.21. Everything becomes durable, whatever the range.
func (t *task) flush() {
	t.getattr()
	if t.status != nfsOK {
		return
	}
	a := &t.attr.Attr
	t.wcc = fs.Wcc{Before: fs.Pre{Size: a.Size, Mtime: a.Mtime, Ctime: a.Ctime, OK: true}, After: *a, AfterOK: true}
	if t.h.Moment == 0 { // else there is nothing to wait for, and for others to rely on
		t.sync = syncAll
	}
}

func (t *task) putFlushed(p []byte) []byte {
	p = t.putChanged(p)
	if t.status == nfsOK {
		p = put64(p, t.c.srv.files.Verifier())
	}
	return p
}
