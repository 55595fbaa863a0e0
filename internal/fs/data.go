package fs

import (
	"varve/internal/engine"
	"varve/internal/inode"
	"varve/internal/oplog"
	"varve/internal/tree"
)

// Read fills p from byte off of a file and returns how many bytes there were,
// and whether the file ends with them. Who may execute a file may read it, and
// its owner always may. ErrIsDir, ErrInval, ErrAccess, ErrStale.
func (f *FS) Read(c *Call, h Handle, p []byte, off uint64) (n int, eof bool, a Attr, err error) {
	_, n, eof, a, err = f.read(c, h, p, off, true)
	return n, eof, a, err
}

// TryRead is Read that never waits for the disk to find data. Where it would
// have to, ok is false and nothing else means anything.
func (f *FS) TryRead(c *Call, h Handle, p []byte, off uint64) (ok bool, n int, eof bool, a Attr, err error) {
	if h.Moment != 0 {
		return false, 0, false, Attr{}, nil // to open the moment may take long
	}
	return f.read(c, h, p, off, false)
}

func (f *FS) read(c *Call, h Handle, p []byte, off uint64, wait bool) (ok bool, n int, eof bool, a Attr, err error) {
	at, err := f.place(h)
	if err != nil {
		return true, 0, false, Attr{}, err
	}
	defer at.close()
	size := uint64(0)
	n, ok, err = at.ReadJudged(h.Ino, p, off, wait, func(r inode.Reader) (int, error) {
		i, err := inode.Load(r, h.Ino)
		if err != nil {
			return 0, err
		}
		a, size = at.show(&i), i.Size
		return int(min(uint64(len(p)), size-min(size, off))), c.Cred.mayRead(&i)
	})
	return ok, n, err == nil && off+uint64(n) >= size, a, err
}

// mayRead says why the caller may not read a file's bytes.
func (c *Cred) mayRead(i *inode.Inode) error {
	switch {
	case i.IsDir():
		return ErrIsDir
	case !isRegular(i):
		return ErrInval
	case !c.mayReadFile(i):
		return ErrAccess
	}
	return nil
}

// Write writes p at byte off of a file. On return it is readable, and durable
// after Commit of the LSN returned. A write is atomic up to engine.MaxWrite;
// one that is several operations comes without attributes before it.
// The owner of a file may always write to it. ErrIsDir, ErrInval, ErrAccess,
// ErrFBig, ErrQuota, ErrReadOnly, ErrStale.
func (f *FS) Write(c *Call, h Handle, p []byte, off uint64) (Wcc, uint64, error) {
	at, err := f.present(c, h)
	if err != nil {
		return Wcc{}, 0, err
	}
	w := writer{place: at, c: c, limits: at.share.current().limits}
	if len(p) == 0 {
		return w.wcc, 0, f.settle(at.share, at.Look(func(r inode.Reader) error { return w.judge(r, off, 0) }))
	}
	lsn := uint64(0)
	for parts := 0; len(p) > 0; parts++ {
		n := min(uint64(len(p)), engine.MaxWrite-off%blockSize)
		lsn, err = w.write(p[:n], off)
		if parts > 0 { // others may have come in between
			w.wcc.Before = Pre{}
		}
		if err != nil {
			break
		}
		p, off = p[n:], off+n
	}
	return w.wcc, lsn, err
}

// writer is one call of Write at work.
type writer struct {
	place
	c      *Call
	limits limits
	wcc    Wcc
}

func (w *writer) write(p []byte, off uint64) (lsn uint64, err error) {
	op := newOp(w.c, oplog.WriteFile)
	op.Ino, op.Off = w.handle.Ino, off
	err = w.share.head.WriteFile(op, w.c.Memory, p,
		func(r inode.Reader) error { return w.judge(r, off, uint64(len(p))) },
		func(r inode.Reader) { w.wcc.after(&w.place, r, op.Ino) })
	if err != nil {
		return 0, w.f.settle(w.share, err)
	}
	return op.LSN, nil
}

func (w *writer) judge(r inode.Reader, off, n uint64) error {
	i, err := inode.Load(r, w.handle.Ino)
	if err != nil {
		return err
	}
	w.wcc.before(w.show(&i))
	switch {
	case i.IsDir():
		return ErrIsDir
	case !isRegular(&i):
		return ErrInval
	case !w.c.Cred.mayWrite(&i):
		return ErrAccess
	case off > inode.MaxSize || n > inode.MaxSize-off:
		return ErrFBig
	}
	return w.room(r, off, n)
}

// room refuses a write of n bytes that would go beyond the quota. What is there
// is only counted where all of the write would not fit.
func (w *writer) room(r inode.Reader, off, n uint64) error {
	first, end := off/blockSize, (off+n+blockSize-1)/blockSize
	if n == 0 || w.share.room(w.limits, (end-first)*blockSize, 0) == nil {
		return nil
	}
	there, err := mapped(r, w.handle.Ino, first, end)
	if err != nil {
		return err
	}
	return w.share.room(w.limits, (end-first-there)*blockSize, 0)
}

// mapped returns how many of the blocks [first, end) of a file have payload.
// The first byte of an extent's value counts its blocks, which never cross a
// border of oplog.MaxExtentBlocks.
func mapped(r inode.Reader, ino, first, end uint64) (n uint64, err error) {
	lo := first - first%oplog.MaxExtentBlocks
	err = r.Scan(inode.DataKey(ino, lo), inode.DataKey(ino, end), func(k tree.Key, v []byte) bool {
		if len(v) == 0 {
			return true // damage, which the write itself meets
		}
		_, block := k.Split()
		to := block + uint64(v[0])
		n += max(min(to, end), first) - max(min(block, end), first)
		return true
	})
	return n, err
}
