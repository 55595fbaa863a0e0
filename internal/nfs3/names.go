package nfs3

import "varve/internal/fs"

// shortNames refuses names that no directory can hold, before anybody makes
// strings of them.
func (t *task) shortNames() bool {
	if max(len(t.args.name), len(t.args.name2)) > maxName || len(t.args.target) > maxTarget {
		return t.refuse(errNameTooLong)
	}
	return true
}

// LOOKUP, RFC 1813 section 3.3.3.
func (t *task) lookup() {
	if t.shortNames() {
		h, a, dir, err := t.c.srv.files.Lookup(&t.call, t.h, string(t.args.name))
		if err == nil {
			t.h2 = h
			t.attr.set(a)
			t.dir.set(dir)
			return
		}
		t.fail(err)
	}
	t.look()
	t.dir = t.attr
}

func (t *task) putLookup(p []byte) []byte {
	p = putStatus(p, t.status)
	if t.status == nfsOK {
		p = t.putAttrOf(t.putHandle(p, t.h2))
	}
	return putPostAttr(p, &t.dir.Attr, t.dir.ok)
}

// READLINK, section 3.3.5.
func (t *task) readlink() {
	text, a, err := t.c.srv.files.Readlink(&t.call, t.h)
	if err == nil && len(text) > maxTarget {
		t.refuse(errServerFault)
	} else if err == nil {
		t.text = text
		t.attr.set(a)
		return
	} else {
		t.fail(err)
	}
	t.look()
}

func roomOfTarget(*args) int { return smallReply + maxTarget }

func (t *task) putReadlink(p []byte) []byte {
	p = t.putAttrOf(putStatus(p, t.status))
	if t.status == nfsOK {
		p = putOpaque(p, t.text)
	}
	return p
}

// make runs what makes an object in the directory t.h.
func (t *task) make(do func(name string) (fs.Made, error)) {
	if t.shortNames() && t.goodTimes() {
		m, err := do(string(t.args.name))
		t.wcc = m.Dir
		if err == nil {
			t.h2 = m.Handle
			t.attr.set(m.Attr)
			t.changed(m.LSN, t.h)
		} else {
			t.fail(err)
		}
	}
	t.settle(&t.wcc, t.h)
}

// CREATE, section 3.3.8. What is made exclusively has mode 0600 until the
// client sets another.
func (t *task) create() {
	a, files := &t.args, t.c.srv.files
	var verifier *uint64
	if a.how == createExclusive {
		verifier = &a.verifier
		a.mode = 0o600
		a.set = fs.SetAttr{Mode: &a.mode}
	}
	t.make(func(name string) (fs.Made, error) {
		return files.Create(&t.call, t.h, name, a.set, a.how == createGuarded, verifier)
	})
}

// MKDIR, section 3.3.9.
func (t *task) mkdir() {
	t.make(func(name string) (fs.Made, error) {
		return t.c.srv.files.Mkdir(&t.call, t.h, name, t.args.set)
	})
}

// SYMLINK, section 3.3.10.
func (t *task) symlink() {
	t.make(func(name string) (fs.Made, error) {
		return t.c.srv.files.Symlink(&t.call, t.h, name, string(t.args.target), t.args.set)
	})
}

// MKNOD, section 3.3.11.
func (t *task) mknod() {
	mode := specialModes[t.args.how]
	if mode == 0 {
		t.refuse(errBadType)
		t.settle(&t.wcc, t.h)
		return
	}
	t.make(func(name string) (fs.Made, error) {
		return t.c.srv.files.Mknod(&t.call, t.h, name, mode, t.args.rdev, t.args.set)
	})
}

func (t *task) putMade(p []byte) []byte {
	p = putStatus(p, t.status)
	if t.status == nfsOK {
		p = t.putHandle(putFlag(p, true), t.h2)
		p = t.putAttrOf(p)
	}
	return putWcc(p, &t.wcc)
}

// REMOVE, section 3.3.12.
func (t *task) remove() { t.drop(t.c.srv.files.Remove) }

// RMDIR, section 3.3.13.
func (t *task) rmdir() { t.drop(t.c.srv.files.Rmdir) }

func (t *task) drop(do func(*fs.Call, fs.Handle, string) (fs.Wcc, uint64, error)) {
	if t.shortNames() {
		w, lsn, err := do(&t.call, t.h, string(t.args.name))
		t.wcc = w
		if err != nil {
			t.fail(err)
		} else {
			t.changed(lsn, t.h)
		}
	}
	t.settle(&t.wcc, t.h)
}

// RENAME, section 3.3.14.
func (t *task) rename() {
	if t.shortNames() {
		from, to, lsn, err := t.c.srv.files.Rename(&t.call, t.h, string(t.args.name), t.h2, string(t.args.name2))
		t.wcc, t.wcc2 = from, to
		if err != nil {
			t.fail(err)
		} else {
			t.changed(lsn, t.h)
		}
	}
	t.settle(&t.wcc, t.h)
	t.settle(&t.wcc2, t.h2)
}

func (t *task) putRenamed(p []byte) []byte { return putWcc(t.putChanged(p), &t.wcc2) }

// LINK, section 3.3.15. The first handle is the file's.
func (t *task) link() {
	if t.shortNames() {
		a, w, lsn, err := t.c.srv.files.Link(&t.call, t.h, t.h2, string(t.args.name))
		t.wcc = w
		if err != nil {
			t.fail(err)
		} else {
			t.attr.set(a)
			t.changed(lsn, t.h2)
		}
	}
	t.look()
	t.settle(&t.wcc, t.h2)
}

func (t *task) putLinked(p []byte) []byte {
	p = t.putAttrOf(putStatus(p, t.status))
	return putWcc(p, &t.wcc)
}

// repeat makes the reply to a request that was executed before the server
// started, with the attributes of today.
func (t *task) repeat() {
	object := fs.Handle{Dataset: t.redo.dataset, Ino: t.redo.ino}
	dir := t.h
	switch t.head.proc {
	case procCreate, procMkdir, procSymlink, procMknod:
		t.h2 = object
		if a, err := t.c.srv.files.Getattr(&t.call, object); err == nil {
			t.attr.set(a)
		}
	case procRename:
		t.settle(&t.wcc2, t.h2)
	case procLink:
		t.look()
		dir = t.h2
	}
	t.settle(&t.wcc, dir)
}
