package redo

import (
	"strings"

	"varve/internal/fail"
	"varve/internal/oplog"
)

// leftOut is what operations left out changed last: what later operations may
// depend on. What is repeated over it takes it out again.
type leftOut struct {
	bytes   map[uint64]ranges
	n       int // ranges in all
	floor   int // how many there may be before they are made coarser again
	attrs   map[attrKey]uint64
	names   map[place]uint64
	dirs    map[uint64]uint64 // the last of names, by directory
	objects map[uint64]object
	clients map[string]bool // tainted
}

type attrKey struct {
	ino  uint64
	mask oplog.AttrMask // one bit; 0: the extended attribute of
	name string
}

type place struct {
	dir  uint64
	name string
}

// object is what an operation left out changed, or made.
type object struct {
	lsn uint64
	place
	made bool
}

// Limits on what is remembered. Bytes become coarser; the rest has an end.
const maxRanges = 1 << 20

// maxLeft bounds objects, names, attributes and clients that operations left out
// concern, and names and objects of those that are repeated; less in tests.
var maxLeft = 4 << 20

func newLeftOut() leftOut {
	return leftOut{
		bytes: map[uint64]ranges{}, attrs: map[attrKey]uint64{}, names: map[place]uint64{}, dirs: map[uint64]uint64{},
		objects: map[uint64]object{}, clients: map[string]bool{},
	}
}

// note remembers an operation that is left out.
func (l *leftOut) note(op *oplog.Op) error {
	if err := l.object(op); err != nil {
		return err
	}
	switch op.Kind {
	case oplog.Write, oplog.Trim, oplog.WriteFile:
		l.change(op.Ino, func(r ranges) ranges { return r.with(op.Off, op.Off+op.Len, op.LSN) })
	case oplog.Setattr:
		if op.Attr.Mask&oplog.SetSize != 0 {
			l.change(op.Ino, func(r ranges) ranges { return r.with(op.Attr.Size, endOfFile, op.LSN) })
		}
		for _, k := range attrsOf(op) {
			l.attrs[k] = op.LSN
		}
	case oplog.SetXattr, oplog.RemoveXattr:
		l.attrs[attrKey{op.Ino, 0, op.Name}] = op.LSN
	default:
		for _, n := range namesOf(op) {
			l.names[n], l.dirs[n.dir] = op.LSN, op.LSN
		}
	}
	return nil
}

// object remembers the object of an operation on files that is left out.
func (l *leftOut) object(op *oplog.Op) error {
	if len(l.attrs)+len(l.names)+len(l.objects)+len(l.clients) > maxLeft {
		return fail.New(fail.TooBig, "more than %d objects, names and attributes were changed by what is left out", maxLeft).
			WithHint("choose a smaller range")
	}
	if !op.Kind.OnFile() {
		return nil
	}
	o := l.objects[op.Ino]
	o.lsn = op.LSN
	switch op.Kind {
	case oplog.Create, oplog.Mkdir, oplog.Symlink, oplog.Mknod:
		o.place, o.made = place{op.Dir, op.Name}, true
	case oplog.Move:
		if o.made {
			o.place = place{op.Dir2, op.Name2}
		}
		if op.Ino2 != 0 && op.Ino2 != op.Ino {
			x := l.objects[op.Ino2]
			x.lsn = op.LSN
			l.objects[op.Ino2] = x
		}
	}
	l.objects[op.Ino] = o
	return nil
}

// change changes the bytes of a file that are remembered.
func (l *leftOut) change(ino uint64, fn func(ranges) ranges) {
	r := l.bytes[ino]
	l.n -= len(r)
	r = fn(r)
	l.n += len(r)
	if len(r) > 0 {
		l.bytes[ino] = r
	} else {
		delete(l.bytes, ino)
	}
	if l.n <= max(maxRanges, l.floor) {
		return
	}
	for ino, r := range l.bytes {
		l.bytes[ino] = r.coarse()
		l.n -= len(r) - len(l.bytes[ino])
	}
	l.floor = 2 * l.n // many files of few ranges become no coarser: not each time anew
}

// before returns what an operation depends on that was left out: bytes that it
// writes, attributes that it sets.
func (l *leftOut) before(op *oplog.Op) (cause string, lsn uint64) {
	switch op.Kind {
	case oplog.Write, oplog.Trim, oplog.WriteFile:
		if lsn = l.bytes[op.Ino].over(op.Off, op.Off+op.Len); lsn != 0 {
			return bytesOverlap, lsn
		}
	case oplog.Setattr:
		if op.Attr.Mask&oplog.SetSize != 0 {
			if lsn = l.bytes[op.Ino].over(op.Attr.Size, endOfFile); lsn != 0 {
				return bytesOverlap, lsn
			}
		}
		for _, k := range attrsOf(op) {
			if lsn = l.attrs[k]; lsn != 0 {
				return attrOverlap, lsn
			}
		}
	case oplog.SetXattr, oplog.RemoveXattr:
		if lsn = l.attrs[attrKey{op.Ino, 0, op.Name}]; lsn != 0 {
			return attrOverlap, lsn
		}
	}
	return "", 0
}

// repeated forgets what an operation that was repeated wrote over.
func (l *leftOut) repeated(op *oplog.Op) {
	switch op.Kind {
	case oplog.Write, oplog.Trim, oplog.WriteFile:
		if len(l.bytes[op.Ino]) > 0 {
			l.change(op.Ino, func(r ranges) ranges { return r.without(op.Off, op.Off+op.Len) })
		}
	case oplog.Setattr:
		if op.Attr.Mask&oplog.SetSize != 0 && len(l.bytes[op.Ino]) > 0 {
			l.change(op.Ino, func(r ranges) ranges { return r.without(op.Attr.Size, endOfFile) })
		}
		if len(l.attrs) > 0 {
			for _, k := range attrsOf(op) {
				delete(l.attrs, k)
			}
		}
	case oplog.SetXattr, oplog.RemoveXattr:
		delete(l.attrs, attrKey{op.Ino, 0, op.Name})
	}
}

// with returns the operation left out that changed a name or an object last.
func (l *leftOut) with(op *oplog.Op) uint64 {
	lsn := l.objects[op.Ino].lsn
	if op.Kind == oplog.Rmdir {
		lsn = l.dirs[op.Ino]
	}
	for _, n := range namesOf(op) {
		lsn = max(lsn, l.names[n])
	}
	for _, dir := range []uint64{op.Dir, op.Dir2} {
		if o := l.objects[dir]; o.made {
			lsn = max(lsn, o.lsn)
		}
	}
	return lsn
}

// tainted reports whether an operation changes what one left out had changed, or
// is of a client that has.
func (l *leftOut) tainted(t Taint, op *oplog.Op) bool {
	if t == ByClients && op.Client != nil && l.clients[clientOf(op.Client)] {
		return true
	}
	hit := false
	if op.Kind.OnFile() {
		_, hit = l.objects[op.Ino]
		for _, n := range namesOf(op) {
			hit = hit || l.names[n] != 0
		}
		if op.Ino2 != 0 {
			_, x := l.objects[op.Ino2]
			hit = hit || x
		}
	} else {
		hit = l.bytes[0].over(op.Off, op.Off+op.Len) != 0
	}
	if hit && t == ByClients && op.Client != nil {
		l.clients[clientOf(op.Client)] = true
	}
	return hit
}

// clientOf names a client over its connections: without the port.
func clientOf(c *oplog.Client) string {
	name := c.Name
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		name = name[:i]
	}
	return name
}

// attrsOf lists the attributes that a Setattr sets, but the size: of a time it is
// the same whether that is given or the operation's.
func attrsOf(op *oplog.Op) (out []attrKey) {
	for bit := oplog.SetMode; bit <= oplog.SetBtime; bit <<= 1 {
		if op.Attr.Mask&bit == 0 || bit == oplog.SetSize {
			continue
		}
		k := bit
		switch bit {
		case oplog.SetAtimeNow:
			k = oplog.SetAtime
		case oplog.SetMtimeNow:
			k = oplog.SetMtime
		}
		out = append(out, attrKey{op.Ino, k, ""})
	}
	return out
}

// namesOf lists the names that an operation binds or unbinds.
func namesOf(op *oplog.Op) []place {
	switch op.Kind {
	case oplog.Create, oplog.Mkdir, oplog.Symlink, oplog.Mknod, oplog.Link, oplog.Remove, oplog.Rmdir:
		return []place{{op.Dir, op.Name}}
	case oplog.Move:
		return []place{{op.Dir, op.Name}, {op.Dir2, op.Name2}}
	}
	return nil
}
