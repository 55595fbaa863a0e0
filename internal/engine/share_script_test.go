package engine_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"strings"

	"varve/internal/engine"
	"varve/internal/inode"
	"varve/internal/oplog"
)

// The part of the script that changes the files of shares. It drives the
// engine as a front end does, with judges that look at what is there.

// largeFile is the number of blocks from which on a file that goes may go to a
// dying list.
const largeFile = 4096

// scribe changes the files of one share.
type scribe struct {
	*sim
	id    uint64
	d     *disk
	quick bool // nothing may wait for the disk
}

func (s *sim) scribe(name string) *scribe {
	id, d := s.m.now().named(name)
	return &scribe{sim: s, id: id, d: d}
}

func (s *sim) createShare() {
	s.serial++
	name := fmt.Sprintf("h%d", s.serial)
	mode, uid, gid := s.rng.Uint32N(0o10000), s.rng.Uint32(), s.rng.Uint32N(100)
	d := &disk{name: name, next: inode.Root + 1, files: emptyShare(mode, uid, gid, s.m.last()+1)}
	var done engine.Done
	s.run("create", s.m.now().with(s.nextID(), d), nil, func() (err error) {
		done, err = s.e.CreateShare(simCaller, name, mode, uid, gid)
		return err
	})
	s.m.times[s.m.last()] = done.Time.UnixNano()
}

// setProperty sets a property of a share, or takes it away.
func (s *sim) setProperty(id uint64, d *disk) {
	key := []string{"quota", "quota-inodes", "anonuid"}[s.rng.IntN(3)]
	value := ""
	if n := s.rng.IntN(4); n > 0 {
		value = fmt.Sprint(n)
	}
	nd := *d
	nd.props = maps.Clone(d.props)
	if nd.props == nil {
		nd.props = map[string]string{}
	}
	nd.props[key] = value
	if value == "" {
		delete(nd.props, key)
	}
	s.run("set", s.m.now().with(id, &nd), nil, func() error {
		_, err := s.e.Set(simCaller, d.name, key, value)
		return err
	})
}

// step makes one operation on files, seldom a large file.
func (s *scribe) step() {
	if big := s.bigFiles(); len(big) > 0 && s.rng.IntN(3) == 0 {
		s.shrink(big[s.rng.IntN(len(big))])
		return
	}
	if s.rng.IntN(30) == 0 && len(s.bigFiles()) == 0 {
		s.big()
		return
	}
	s.small()
}

// small makes one operation on files.
func (s *scribe) small() {
	pick := s.rng.IntN(100)
	if len(s.d.files) > 40 && pick < 30 {
		pick = 36 // enough of them
	}
	switch {
	case pick < 14:
		s.create()
	case pick < 20:
		s.mkdir()
	case pick < 23:
		s.symlink()
	case pick < 26:
		s.mknod()
	case pick < 30:
		s.link()
	case pick < 38:
		s.remove()
	case pick < 40:
		s.rmdir()
	case pick < 50:
		s.move()
	case pick < 57:
		s.setattr()
	case pick < 66:
		s.truncate()
	case pick < 73:
		s.xattr()
	default:
		s.writeFile()
	}
}

// do takes one operation through the engine and the model.
func (s *scribe) do(phase string, op *oplog.Op, p []byte) {
	lsn := s.m.last() + 1
	w := s.m.now().with(s.id, s.d.after(op, lsn, p))
	s.intend(phase, w, nil)
	h, err := s.e.AttachID(s.id, simCaller, func() {})
	s.must("attach", err)
	defer h.Detach()
	judge := func(r inode.Reader) error { return s.judge(h, r, op) }
	var cookie uint64
	dir, name := op.Dir, op.Name
	if op.Kind == oplog.Move {
		dir, name = op.Dir2, op.Name2
	}
	after := func(r inode.Reader) {
		if e, ok, err := inode.Lookup(r, h.Seed(), dir, name); err == nil && ok {
			cookie = e.Cookie
		}
	}
	switch {
	case op.Kind == oplog.WriteFile:
		err = h.WriteFile(op, nil, p, judge, nil)
	case op.Kind == oplog.Setattr && op.Attr.Mask&oplog.SetSize != 0:
		err = h.Truncate(op, judge, nil)
	default:
		err = h.Change(op, judge, after)
	}
	s.must(phase, err)
	s.did(phase, w, false)
	if op.LSN != lsn || op.Time == 0 {
		s.t.Fatalf("%s: the operation has lsn %d, want %d, and time %d", phase, op.LSN, lsn, op.Time)
	}
	s.m.times[lsn] = op.Time
	s.d = w[s.id]
	if e, ok := s.nameOf(dir, name); ok && e.cookie == 0 {
		s.d.files[dir].names[name] = entry{e.ino, cookie}
	}
	if large := strings.HasPrefix(phase, "large"); !s.quick && (large || s.knob.IntN(2) == 0) { // as a server does before it answers
		s.must(phase, h.Commit(op.LSN))
		s.flushed = lsn
	}
}

func (s *scribe) nameOf(dir uint64, name string) (entry, bool) {
	o := s.d.files[dir]
	if o == nil {
		return entry{}, false
	}
	e, ok := o.names[name]
	return e, ok
}

// judge sees that the share is what the operation was chosen for.
func (s *scribe) judge(h *engine.Head, r inode.Reader, op *oplog.Op) error {
	created := false
	switch op.Kind {
	case oplog.Create, oplog.Mkdir, oplog.Symlink, oplog.Mknod:
		created = true
		if n := h.NextIno(); n != op.Ino {
			return fmt.Errorf("the next inode number is %d, want %d", n, op.Ino)
		}
	default:
		if _, err := inode.Load(r, op.Ino); err != nil {
			return err
		}
	}
	if op.Dir == 0 {
		return nil
	}
	want, wantIno := !created && op.Kind != oplog.Link, op.Ino
	if err := s.lookup(h, r, op.Dir, op.Name, want, wantIno); err != nil || op.Kind != oplog.Move {
		return err
	}
	return s.lookup(h, r, op.Dir2, op.Name2, op.Ino2 != 0, op.Ino2)
}

func (s *scribe) lookup(h *engine.Head, r inode.Reader, dir uint64, name string, want bool, ino uint64) error {
	e, ok, err := inode.Lookup(r, h.Seed(), dir, name)
	if err == nil && (ok != want || want && e.Ino != ino) {
		return fmt.Errorf("%q in directory %d is inode %d (%v), want %d (%v)", name, dir, e.Ino, ok, ino, want)
	}
	return err
}

// one draws one of some, the zero value of none.
func one[T any](s *sim, of []T) (x T, ok bool) {
	if len(of) == 0 {
		return x, false
	}
	return of[s.rng.IntN(len(of))], true
}

func whatever(*object) bool { return true }

// dir draws a directory.
func (s *scribe) dir() uint64 {
	dir, _ := one(s.sim, s.d.inos((*object).isDir))
	return dir
}

// newName makes a name that no directory has.
func (s *scribe) newName() string {
	s.serial++
	name := fmt.Sprintf("f%d", s.serial)
	switch s.rng.IntN(8) {
	case 0:
		name += strings.Repeat("~", inode.MaxName-len(name))
	case 1:
		name += "\xff\n \x01"
	}
	return name
}

// made is an operation that makes an object of a kind.
func (s *scribe) made(kind oplog.Kind, mode uint32) *oplog.Op {
	op := &oplog.Op{
		Kind: kind, Ino: s.d.next, Dir: s.dir(), Name: s.newName(), UID: 1000, GID: 100,
		Attr: oplog.Attr{
			Mask: oplog.SetMode | oplog.SetUID | oplog.SetGID,
			Mode: mode | s.rng.Uint32N(0o10000), UID: s.rng.Uint32(), GID: s.rng.Uint32N(5),
		},
	}
	if s.rng.IntN(3) == 0 {
		op.Request = &oplog.Request{XID: s.rng.Uint32(), Sum: s.rng.Uint64()}
		op.Attr.Mask |= oplog.SetVerifier
		op.Attr.Verifier = s.rng.Uint64()
	}
	return op
}

func (s *scribe) create() {
	op := s.made(oplog.Create, inode.ModeFile)
	if s.rng.IntN(6) == 0 {
		op.Attr.Mask |= oplog.SetSize | oplog.SetBtime
		op.Attr.Size, op.Attr.Btime = s.rng.Uint64N(100_000), s.rng.Int64()
	}
	s.do("file create", op, nil)
}

func (s *scribe) mkdir() {
	if len(s.d.inos((*object).isDir)) > 12 {
		s.rmdir()
		return
	}
	s.do("mkdir", s.made(oplog.Mkdir, inode.ModeDir), nil)
}

func (s *scribe) symlink() {
	op := s.made(oplog.Symlink, inode.ModeLink)
	n := 1 + s.rng.IntN(40)
	if s.rng.IntN(3) == 0 {
		n = 1 + s.rng.IntN(inode.MaxTarget)
	}
	op.Value = strings.Repeat(fmt.Sprintf("../%d/", s.serial), n)[:n]
	s.do("symlink", op, nil)
}

func (s *scribe) mknod() {
	modes := []uint32{inode.ModeFIFO, inode.ModeChar, inode.ModeBlock, inode.ModeSocket}
	op := s.made(oplog.Mknod, modes[s.rng.IntN(len(modes))])
	if k := op.Attr.Mode & inode.ModeType; k == inode.ModeChar || k == inode.ModeBlock {
		op.Attr.Mask |= oplog.SetRdev
		op.Attr.Rdev = s.rng.Uint64()
	}
	s.do("mknod", op, nil)
}

func (s *scribe) link() {
	at, ok := one(s.sim, s.d.places(func(o *object) bool { return !o.isDir() }))
	if !ok {
		s.create()
		return
	}
	s.do("link", &oplog.Op{Kind: oplog.Link, Ino: at.ino, Dir: s.dir(), Name: s.newName()}, nil)
}

func (s *scribe) remove() {
	at, ok := one(s.sim, s.d.places(func(o *object) bool { return !o.isDir() }))
	if !ok {
		s.create()
		return
	}
	s.removeAt(at)
}

func (s *scribe) removeAt(at dirent) {
	phase := "file remove"
	if o := s.d.files[at.ino]; o.links == 1 && len(o.blocks) > largeFile {
		phase = "large remove"
	}
	s.do(phase, &oplog.Op{Kind: oplog.Remove, Ino: at.ino, Dir: at.dir, Name: at.name}, nil)
}

func (s *scribe) rmdir() {
	at, ok := one(s.sim, s.d.places(func(o *object) bool { return o.isDir() && len(o.names) == 0 }))
	if !ok {
		s.create()
		return
	}
	s.do("rmdir", &oplog.Op{Kind: oplog.Rmdir, Ino: at.ino, Dir: at.dir, Name: at.name}, nil)
}

// move renames anything: to a new name or over what may be replaced, in its
// directory or into another.
func (s *scribe) move() {
	from, ok := one(s.sim, s.d.places(whatever))
	if !ok {
		s.create()
		return
	}
	s.moveAt(from, s.rng.IntN(2) == 0)
}

func (s *scribe) moveAt(from dirent, over bool) {
	moved := s.d.files[from.ino]
	op := &oplog.Op{Kind: oplog.Move, Ino: from.ino, Dir: from.dir, Name: from.name, Dir2: s.dir(), Name2: s.newName()}
	if moved.isDir() && s.d.within(op.Dir2, from.ino) {
		op.Dir2 = inode.Root
	}
	phase := "file rename"
	if over {
		to, ok := one(s.sim, s.d.places(func(o *object) bool {
			return o.isDir() == moved.isDir() && len(o.names) == 0 && (o != moved || !moved.isDir())
		}))
		if ok && !(moved.isDir() && s.d.within(to.dir, from.ino)) {
			phase = "rename over"
			op.Dir2, op.Name2, op.Ino2 = to.dir, to.name, to.ino
		}
	}
	s.do(phase, op, nil)
}

func (s *scribe) setattr() {
	ino, _ := one(s.sim, s.d.inos(whatever))
	op := &oplog.Op{Kind: oplog.Setattr, Ino: ino, Attr: oplog.Attr{
		Mode: s.rng.Uint32N(0o10000), UID: s.rng.Uint32N(3000), GID: s.rng.Uint32(), Flags: s.rng.Uint32(),
		Atime: s.rng.Int64(), Mtime: -s.rng.Int64(), Btime: int64(s.rng.Uint32()),
	}}
	const may = oplog.SetMode | oplog.SetUID | oplog.SetGID | oplog.SetFlags | oplog.SetAtime | oplog.SetMtime | oplog.SetBtime
	op.Attr.Mask = oplog.AttrMask(s.rng.Uint32()) & may
	switch s.rng.IntN(3) {
	case 0:
		op.Attr.Mask = op.Attr.Mask&^(oplog.SetAtime|oplog.SetMtime) | oplog.SetAtimeNow | oplog.SetMtimeNow
	}
	s.do("setattr", op, nil)
}

// truncate gives a file another size, shorter or longer.
func (s *scribe) truncate() {
	ino, ok := one(s.sim, s.d.inos((*object).isFile))
	if !ok {
		s.create()
		return
	}
	old := s.d.files[ino].size
	size := old
	switch s.rng.IntN(6) {
	case 0:
		size = 0
	case 1:
		size = old / 2
	case 2:
		size = old/2 + s.rng.Uint64N(3*block)
	case 3:
		size = old/block*block + s.rng.Uint64N(block)
	case 4:
		size = old + s.rng.Uint64N(5*block)
	case 5:
		size = s.rng.Uint64N(1 << (1 + s.rng.IntN(45)))
	}
	s.resizeTo(ino, size)
}

func (s *scribe) resizeTo(ino, size uint64) {
	op := &oplog.Op{Kind: oplog.Setattr, Ino: ino, Attr: oplog.Attr{Mask: oplog.SetSize, Size: size}}
	if s.rng.IntN(4) == 0 {
		op.Attr.Mask |= oplog.SetMode | oplog.SetMtime
		op.Attr.Mode, op.Attr.Mtime = s.rng.Uint32N(0o10000), s.rng.Int64()
	}
	phase := "truncate"
	room := func(size uint64) int { return int((size + block - 1) / block) }
	if o := s.d.files[ino]; min(len(o.blocks), room(o.size)-room(size)) > largeFile {
		phase = "large truncate"
	}
	s.do(phase, op, nil)
}

func (s *scribe) xattr() {
	has := func(o *object) bool { return len(o.xattrs) > 0 }
	if ino, ok := one(s.sim, s.d.inos(has)); ok && s.rng.IntN(2) == 0 {
		name, most := "", 0
		for n, v := range s.d.files[ino].xattrs {
			if len(v) > most || len(v) == most && n > name || name == "" {
				name, most = n, len(v)
			}
		}
		op := &oplog.Op{Kind: oplog.RemoveXattr, Ino: ino, Name: name}
		if s.rng.IntN(3) == 0 {
			op.Kind, op.Value = oplog.SetXattr, strings.Repeat("new", s.rng.IntN(900))
		}
		s.do("xattr", op, nil)
		return
	}
	ino, _ := one(s.sim, s.d.inos(whatever))
	op := &oplog.Op{Kind: oplog.SetXattr, Ino: ino, Name: "user." + s.newName()[:2]}
	n := s.rng.IntN(30)
	if s.rng.IntN(2) == 0 {
		n = s.rng.IntN(20_000) // of several items
	}
	op.Value = strings.Repeat("value", n/5+1)[:n]
	s.do("xattr", op, nil)
}

// payload makes bytes that no other write has, every block another.
func (s *sim) payload(n int) []byte {
	p := make([]byte, n)
	s.stamp++
	for i := 0; i < n; i += 8 {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], s.stamp<<20|uint64(i))
		copy(p[i:], b[:])
	}
	return p
}

// writeFile writes near what is there, mostly, or far beyond.
func (s *scribe) writeFile() {
	ino, ok := one(s.sim, s.d.inos((*object).isFile))
	if !ok {
		s.create()
		return
	}
	size := min(s.d.files[ino].size, 64*block)
	off := s.rng.Uint64N(size + 2*block)
	switch s.rng.IntN(8) {
	case 0:
		off = s.rng.Uint64N(1 << (10 + s.rng.IntN(36)))
	case 1, 2, 3:
		off = off / block * block
	case 4:
		off = s.d.files[ino].size // at the end
	}
	n := 1 + s.rng.IntN(3*block)
	switch s.rng.IntN(12) {
	case 0:
		n = 1 + s.rng.IntN(100*block)
	case 1:
		n = block * (1 + s.rng.IntN(3))
	}
	op := &oplog.Op{Kind: oplog.WriteFile, Ino: ino, Off: off, UID: s.rng.Uint32N(2)}
	s.do("file write", op, s.payload(n))
}

// bigFiles returns the names of the files that are large enough for a dying
// list.
func (s *scribe) bigFiles() []dirent {
	return s.d.places(func(o *object) bool { return len(o.blocks) >= largeFile })
}

// big makes a file of more blocks than are cut one by one, or of just that
// many.
func (s *scribe) big() {
	s.create()
	ino := s.d.next - 1
	p := s.payload(4 * block) // the model shares what repeats
	for len(p) < engine.MaxWrite {
		p = append(p, p...)
	}
	skew := s.rng.Uint64N(2) * s.rng.Uint64N(3*block)
	for i := range uint64(largeFile * block / engine.MaxWrite) {
		s.do("file write", &oplog.Op{Kind: oplog.WriteFile, Ino: ino, Off: skew + i*engine.MaxWrite}, p[:engine.MaxWrite])
	}
	if s.rng.IntN(4) > 0 {
		s.do("file write", &oplog.Op{Kind: oplog.WriteFile, Ino: ino, Off: skew + engine.MaxWrite*(16+s.rng.Uint64N(9))}, s.payload(1+s.rng.IntN(40*block)))
	}
	if s.rng.IntN(2) == 0 {
		at, _ := one(s.sim, s.bigFiles())
		s.shrink(at)
	}
}

// shrink takes all or some of a large file away at once.
func (s *scribe) shrink(at dirent) {
	switch o := s.d.files[at.ino]; s.rng.IntN(6) {
	case 0, 1:
		s.removeAt(at)
	case 2:
		s.resizeTo(at.ino, s.rng.Uint64N(50*block))
	case 3:
		s.resizeTo(at.ino, s.rng.Uint64N(min(o.size, 300*block)))
	case 4, 5:
		s.replace(at)
	}
}

// replace renames another file over one.
func (s *scribe) replace(at dirent) {
	from, ok := one(s.sim, s.d.places(func(o *object) bool { return o.isFile() && o != s.d.files[at.ino] }))
	if !ok {
		s.removeAt(at)
		return
	}
	s.do("large rename", &oplog.Op{
		Kind: oplog.Move, Ino: from.ino, Dir: from.dir, Name: from.name, Dir2: at.dir, Name2: at.name, Ino2: at.ino,
	}, nil)
}
