package nfs3

import "varve/internal/fs"

// look sets the attributes of the object, for a reply that tells of an error.
func (t *task) look() {
	if !t.attr.ok {
		if a, err := t.c.srv.files.Getattr(&t.call, t.h); err == nil {
			t.attr.set(a)
		}
	}
}

// settle completes what a reply tells of h: its attributes after the call and,
// where the call was refused and so has changed nothing, before it.
func (t *task) settle(w *fs.Wcc, h fs.Handle) {
	if w.AfterOK && (w.Before.OK || t.status == nfsOK) {
		return
	}
	a, err := t.c.srv.files.Getattr(&t.call, h)
	if err != nil {
		return
	}
	w.After, w.AfterOK = a, true
	if t.status != nfsOK {
		w.Before = fs.Pre{Size: a.Size, Mtime: a.Mtime, Ctime: a.Ctime, OK: true}
	}
}

// GETATTR (RFC 1813 section 3.3.1), and all that others need.
func (t *task) getattr() {
	a, err := t.c.srv.files.Getattr(&t.call, t.h)
	if err != nil {
		t.fail(err)
		return
	}
	t.attr.set(a)
}

func (t *task) putGetattr(p []byte) []byte {
	p = putStatus(p, t.status)
	if t.status == nfsOK {
		p = putAttr(p, &t.attr.Attr)
	}
	return p
}

// SETATTR, section 3.3.2.
func (t *task) setattr() {
	if !t.goodTimes() {
		t.settle(&t.wcc, t.h)
		return
	}
	w, lsn, err := t.c.srv.files.Setattr(&t.call, t.h, t.args.set)
	t.wcc = w
	if err != nil {
		t.fail(err)
	}
	t.settle(&t.wcc, t.h)
	t.changed(lsn, t.h)
}

func (t *task) goodTimes() bool {
	return !t.args.badTime || t.refuse(errInval)
}

// putChanged encodes the result of a procedure that tells how one object has
// changed and no more.
func (t *task) putChanged(p []byte) []byte {
	return putWcc(putStatus(p, t.status), &t.wcc)
}

// ACCESS, section 3.3.4.
func (t *task) checkAccess() {
	got, a, err := t.c.srv.files.Access(&t.call, t.h, t.args.how)
	if err != nil {
		t.fail(err)
		t.look()
		return
	}
	t.access = got & t.args.how
	t.attr.set(a)
}

func (t *task) putAccess(p []byte) []byte {
	p = t.putAttrOf(putStatus(p, t.status))
	if t.status == nfsOK {
		p = put32(p, t.access)
	}
	return p
}

// FSSTAT, section 3.3.18.
func (t *task) fsstat() {
	st, err := t.c.srv.files.Statfs(&t.call, t.h)
	if err != nil {
		t.fail(err)
		t.look()
		return
	}
	t.stat = st
	t.attr.set(st.Attr)
}

func (t *task) putFsstat(p []byte) []byte {
	p = t.putAttrOf(putStatus(p, t.status))
	if t.status != nfsOK {
		return p
	}
	s := &t.stat
	for _, v := range [...]uint64{s.Total, s.Free, s.Avail, s.Inodes, s.InodesFree, s.InodesFree} {
		p = put64(p, v)
	}
	return put32(p, 0) // may change at once
}

// FSINFO, section 3.3.19.
func (t *task) putFsinfo(p []byte) []byte {
	p = t.putAttrOf(putStatus(p, t.status))
	if t.status != nfsOK {
		return p
	}
	const (
		block = 4096

		hasLinks, hasSymlinks, homogeneous, canSetTime = 1, 2, 8, 16
	)
	for _, v := range [...]uint32{maxIO, maxIO, block, maxIO, maxIO, block, prefDir} {
		p = put32(p, v)
	}
	p = put64(p, maxFileSize)
	p = put32(put32(p, 0), 1) // times have nanoseconds
	return put32(p, hasLinks|hasSymlinks|homogeneous|canSetTime)
}

// PATHCONF, section 3.3.20.
func (t *task) putPathconf(p []byte) []byte {
	p = t.putAttrOf(putStatus(p, t.status))
	if t.status != nfsOK {
		return p
	}
	p = put32(put32(p, maxLinks), maxName)
	p = putFlag(p, true)    // longer names are refused
	p = putFlag(p, true)    // only root gives files away
	p = putFlag(p, false)   // names differ by case
	return putFlag(p, true) // and keep it
}
