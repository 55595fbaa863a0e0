package engine_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"varve/internal/engine"
	"varve/internal/inode"
)

// share is the present or a past moment of a share.
type share interface {
	Look(func(inode.Reader) error) error
	ReadFile(ino uint64, p []byte, off uint64) error
	MapFile(ino, off, n uint64, fn func(engine.Span) bool) error
	Usage() (bytes, inodes uint64)
	Seed() uint64
	Floor() int64
}

// openShare opens the present of a share (lsn 0), or a moment.
func (s *sim) openShare(id, lsn uint64) (sh share, close func(), err error) {
	name := s.m.now()[id].name
	if lsn == 0 {
		h, err := s.e.AttachID(id, simCaller, func() {})
		if err != nil {
			return nil, nil, err
		}
		return h, h.Detach, nil
	}
	m, err := s.e.Resolve(name, atLSN(lsn))
	if err != nil {
		return nil, nil, err
	}
	var v *engine.View
	if lsn%2 == 0 { // as the handle of a file does
		v, err = s.e.OpenViewID(id, lsn)
	} else {
		v, err = s.e.OpenView(m)
	}
	if err != nil {
		return nil, nil, err
	}
	return v, v.Close, nil
}

// timeOf returns when an operation happened, by the log.
func (s *sim) timeOf(name string, lsn uint64) int64 {
	if s.m.times[lsn] == 0 {
		m, err := s.e.Resolve(name, atLSN(lsn))
		s.must("resolve", err)
		s.m.times[lsn] = m.Time.UnixNano()
	}
	return s.m.times[lsn]
}

// judgeShare compares a share with the model's: every object, name, attribute
// and byte.
type judgeShare struct {
	share
	want *disk
	time func(instant) int64
	buf  []byte
}

// sameShare compares a share with the model's, whose dataset is called name
// now.
func (s *sim) sameShare(sh share, want *disk, name string) error {
	j := judgeShare{share: sh, want: want, buf: make([]byte, engine.MaxWrite), time: func(t instant) int64 {
		if t.lsn == 0 {
			return t.ns
		}
		return s.timeOf(name, t.lsn)
	}}
	if err := j.figures(); err != nil {
		return err
	}
	for _, ino := range slices.Sorted(maps.Keys(want.files)) {
		if err := j.object(ino, want.files[ino]); err != nil {
			return fmt.Errorf("inode %d: %w", ino, err)
		}
	}
	return nil
}

func (j *judgeShare) figures() error {
	var used, inodes uint64
	var floor int64
	err := j.Look(func(inode.Reader) error {
		used, inodes = j.Usage()
		floor = j.Floor()
		return nil
	})
	switch want := uint64(j.want.mapped()) * block; {
	case err != nil:
		return err
	case inodes != uint64(len(j.want.files)):
		return fmt.Errorf("%d inodes, want %d", inodes, len(j.want.files))
	case used < want || used > want && !j.want.large:
		return fmt.Errorf("%d bytes are used, want %d", used, want)
	case floor != j.time(j.want.floor):
		return fmt.Errorf("the floor is %d, want %d", floor, j.time(j.want.floor))
	}
	return nil
}

// object compares one object, and what belongs to it.
func (j *judgeShare) object(ino uint64, o *object) error {
	var got inode.Inode
	err := j.Look(func(r inode.Reader) (err error) {
		if got, err = inode.Load(r, ino); err != nil {
			return err
		}
		switch {
		case o.isDir():
			err = j.names(r, ino, o)
		case o.kind() == inode.ModeLink:
			err = j.target(r, ino, o)
		}
		if err != nil {
			return err
		}
		return j.xattrs(r, ino, o)
	})
	if err != nil {
		return err
	}
	want := inode.Inode{
		Mode: o.mode, Nlink: o.links, UID: o.uid, GID: o.gid, Rdev: o.rdev, Size: o.size, Blocks: uint64(len(o.blocks)),
		Atime: j.time(o.atime), Mtime: j.time(o.mtime), Ctime: j.time(o.ctime), Btime: j.time(o.btime),
		Parent: o.parent, Entries: uint64(len(o.names)), Flags: o.flags, Verifier: o.verifier,
	}
	if o.kind() == inode.ModeLink {
		want.Blocks = 0
	}
	if got.Rough && j.want.large && got.Blocks >= want.Blocks && got.Blocks <= (got.Size+block-1)/block {
		want.Rough, want.Blocks = true, got.Blocks
	}
	if got != want {
		return fmt.Errorf("is  %+v\nwant %+v", got, want)
	}
	if o.isFile() {
		return j.data(ino, o)
	}
	return nil
}

// names compares a directory, as a list and name by name.
func (j *judgeShare) names(r inode.Reader, ino uint64, o *object) error {
	n, last := 0, uint64(0)
	var bad error
	err := inode.List(r, ino, 0, func(e inode.Entry) bool {
		want, ok := o.names[e.Name]
		switch {
		case !ok || e.Ino != want.ino || uint32(e.Type) != j.want.files[e.Ino].mode>>12:
			bad = fmt.Errorf("lists %+v, want %+v (%v)", e, want, ok)
		case want.cookie != 0 && want.cookie != e.Cookie:
			bad = fmt.Errorf("the cookie of %q has become %#x from %#x", e.Name, e.Cookie, want.cookie)
		case e.Cookie <= last:
			bad = fmt.Errorf("lists %q out of order", e.Name)
		}
		n, last = n+1, e.Cookie
		return bad == nil
	})
	if err != nil || bad != nil {
		return cmpErr(err, bad)
	}
	if n != len(o.names) {
		return fmt.Errorf("lists %d names, want %d", n, len(o.names))
	}
	for name, want := range o.names {
		e, ok, err := inode.Lookup(r, j.Seed(), ino, name)
		if err != nil {
			return err
		}
		if !ok || e.Ino != want.ino {
			return fmt.Errorf("%q is inode %d (%v), want %d", name, e.Ino, ok, want.ino)
		}
	}
	return nil
}

// cmpErr returns the reader's error, as it is, before one of a judgement.
func cmpErr(err, bad error) error {
	if err != nil {
		return err
	}
	return bad
}

func (j *judgeShare) target(r inode.Reader, ino uint64, o *object) error {
	got, err := inode.Target(r, ino)
	if err == nil && got != o.target {
		return fmt.Errorf("leads to %.60q (%d bytes), want %.60q (%d bytes)", got, len(got), o.target, len(o.target))
	}
	return err
}

func (j *judgeShare) xattrs(r inode.Reader, ino uint64, o *object) error {
	n := 0
	var bad error
	err := inode.Xattrs(r, ino, func(name string, size int) bool {
		n++
		if want, ok := o.xattrs[name]; !ok || len(want) != size {
			bad = fmt.Errorf("has xattr %q of %d bytes", name, size)
		}
		return true
	})
	if err != nil || bad != nil {
		return cmpErr(err, bad)
	}
	if n != len(o.xattrs) {
		return fmt.Errorf("has %d xattrs, want %d", n, len(o.xattrs))
	}
	for name, want := range o.xattrs {
		v, ok, err := inode.Xattr(r, j.Seed(), ino, name)
		if err != nil {
			return err
		}
		if !ok || string(v) != want {
			return fmt.Errorf("xattr %q is %.40q (%v), want %.40q", name, v, ok, want)
		}
	}
	return nil
}

// data compares the bytes of a file, and its holes: also what the blocks hold
// beyond its end, which must be zero.
func (j *judgeShare) data(ino uint64, o *object) error {
	end := (o.size+block-1)/block*block + block
	at, mapped := uint64(0), 0
	var spans []engine.Span
	err := j.MapFile(ino, 0, end, func(sp engine.Span) bool {
		spans = append(spans, sp)
		return true
	})
	if err != nil {
		return err
	}
	for _, sp := range spans {
		n := sp.Len
		if sp.Hole { // a look at its beginning is enough: the map has no data there
			n = min(n, 2*block)
		} else {
			mapped += int(n / block)
		}
		for off := at; off < at+n; off += uint64(len(j.buf)) {
			if err := j.blocks(ino, o, off, min(at+n-off, uint64(len(j.buf))), sp.Hole); err != nil {
				return err
			}
		}
		at += sp.Len
	}
	if at != end || mapped != len(o.blocks) {
		return fmt.Errorf("%d blocks of %d bytes are data, want %d of %d", mapped, at, len(o.blocks), end)
	}
	return j.unaligned(ino, o)
}

var noData [block]byte

func (j *judgeShare) blocks(ino uint64, o *object, off, n uint64, hole bool) error {
	p := j.buf[:n]
	if err := j.ReadFile(ino, p, off); err != nil {
		return err
	}
	for b := off / block; b*block < off+n; b++ {
		want := o.blocks[b]
		if (want == nil) != hole {
			return fmt.Errorf("block %d is a hole: %v, want %v", b, hole, !hole)
		}
		if want == nil {
			want = &noData
		}
		if got := p[b*block-off:][:block]; !bytes.Equal(got, want[:]) {
			return fmt.Errorf("block %d differs: starts with %x, want %x; ends with %x, want %x", b, got[:8], want[:8], got[block-8:], want[block-8:])
		}
	}
	return nil
}

// unaligned reads some bytes from the middle of a block on.
func (j *judgeShare) unaligned(ino uint64, o *object) error {
	off := o.size / 3
	p := j.buf[:block+100]
	if err := j.ReadFile(ino, p, off); err != nil {
		return err
	}
	for i, got := range p {
		at := off + uint64(i)
		want := byte(0)
		if data := o.blocks[at/block]; data != nil {
			want = data[at%block]
		}
		if got != want {
			return fmt.Errorf("byte %d is %#x, want %#x", at, got, want)
		}
	}
	return nil
}
