package nfs3

import "varve/internal/fs"

const (
	// dirHead is the length of what comes before the entries of a READDIR.
	dirHead = replyHead + 4 + postAttrSize + 8

	// dirFrame is what a READDIR's result needs beside its entries: attributes,
	// verifier, the end of the list, and whether that is the end of all.
	dirFrame = postAttrSize + 8 + 8

	entrySize = 4 + 8 + 4 + 8             // of an entry, without its name
	plusSize  = postAttrSize + postFHSize // what READDIRPLUS adds

	dirBatch = 64 // entries asked of fs at a time
)

func roomOfDir(a *args) int { return replyHead + 4 + int(min(a.count, maxDir)) + dirFrame }

// READDIR, RFC 1813 section 3.3.16.
func (t *task) readdir() { t.list(false) }

// READDIRPLUS, section 3.3.17.
func (t *task) readdirplus() { t.list(true) }

// list encodes entries into the reply until the next has no room.
func (t *task) list(plus bool) {
	defer t.look()
	left := int(min(t.args.count, maxDir)) - dirFrame
	names := int64(t.args.dirCount)
	if left < 0 {
		t.refuse(errTooSmall)
		return
	}
	each := entrySize
	if plus {
		each += plusSize
	}
	p, after := t.dst[:dirHead], t.args.off
	for {
		ask := min(max(left/(each+8), 1), dirBatch)
		ents, eof, dir, err := t.c.srv.files.Readdir(&t.call, t.h, after, ask, plus, t.dirents[:0])
		t.dirents = ents[:0]
		switch {
		case err != nil && len(p) > dirHead: // tell what there was; the next call meets the error
			t.n = len(p) - dirHead
			return
		case err != nil:
			t.fail(err)
			return
		}
		t.attr.set(dir)
		for i := range ents {
			e := &ents[i]
			name := len(e.Name) + padding(len(e.Name))
			left -= each + name
			names -= int64(entrySize + name)
			if left < 0 || names < 0 && len(p) > dirHead {
				eof, ents = false, ents[:i]
				break
			}
			p = t.putEntry(p, e, plus)
			after = e.Cookie
		}
		clear(t.dirents[:cap(ents)]) // the names
		full := left < 0 || names < 0
		if t.n = len(p) - dirHead; t.n == 0 && full {
			t.refuse(errTooSmall)
		}
		if t.eof = eof; eof || full || len(ents) == 0 {
			return
		}
	}
}

func (t *task) putEntry(p []byte, e *fs.Dirent, plus bool) []byte {
	p = putFlag(p, true)
	p = put64(p, e.FileID)
	p = putOpaque(p, e.Name)
	p = put64(p, e.Cookie)
	if !plus {
		return p
	}
	there := e.Attr.Mode != 0 // it may have gone meanwhile
	p = putPostAttr(p, &e.Attr, there)
	p = putFlag(p, there)
	if there {
		p = t.putHandle(p, e.Handle)
	}
	return p
}

// putDir encodes what surrounds the entries. The attributes are there when
// there are entries.
func (t *task) putDir(p []byte) []byte {
	p = t.putAttrOf(putStatus(p, t.status))
	if t.status != nfsOK {
		return p
	}
	p = put64(p, 0) // the cookie verifier
	p = p[:len(p)+t.n]
	return putFlag(putFlag(p, false), t.eof)
}
