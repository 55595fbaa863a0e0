package nfs3

import "varve/internal/fs"

const (
	attrSize     = 84                // fattr3
	postAttrSize = 4 + attrSize      // post_op_attr that is there
	postFHSize   = 8 + fs.HandleSize // post_op_fh3 that is there
)

func putStatus(p []byte, s status) []byte { return put32(p, uint32(s)) }

// putAttr encodes an fattr3.
func putAttr(p []byte, a *fs.Attr) []byte {
	p = put32(p, typeOfMode[a.Mode>>12&15])
	p = put32(p, a.Mode&0o7777)
	p = put32(p, a.Nlink)
	p = put32(p, a.UID)
	p = put32(p, a.GID)
	p = put64(p, a.Size)
	p = put64(p, a.Used)
	p = put64(p, a.Rdev)
	p = put64(p, a.FSID)
	p = put64(p, a.FileID)
	p = putTime(p, a.Atime)
	p = putTime(p, a.Mtime)
	return putTime(p, a.Ctime)
}

// putTime encodes nanoseconds as an nfstime3, which begins in 1970 and ends in
// 2106.
func putTime(p []byte, ns int64) []byte {
	ns = min(max(ns, 0), (1<<32-1)*1e9)
	return put32(put32(p, uint32(ns/1e9)), uint32(ns%1e9))
}

func putPostAttr(p []byte, a *fs.Attr, ok bool) []byte {
	p = putFlag(p, ok)
	if ok {
		p = putAttr(p, a)
	}
	return p
}

func putWcc(p []byte, w *fs.Wcc) []byte {
	p = putFlag(p, w.Before.OK)
	if w.Before.OK {
		p = put64(p, w.Before.Size)
		p = putTime(p, w.Before.Mtime)
		p = putTime(p, w.Before.Ctime)
	}
	return putPostAttr(p, &w.After, w.AfterOK)
}

func (t *task) putHandle(p []byte, h fs.Handle) []byte {
	b := t.c.srv.files.Encode(h)
	return putOpaque(p, b[:])
}

func (t *task) putAttrOf(p []byte) []byte { return putPostAttr(p, &t.attr.Attr, t.attr.ok) }
