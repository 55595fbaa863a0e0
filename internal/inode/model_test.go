package inode

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"varve/internal/oplog"
)

// A thing is an object as plain maps have it.
type thing struct {
	Inode
	target string
	xattrs map[string]string
	names  map[string]uint64 // of a directory
	data   map[uint64]bool   // blocks
}

// A model is a share as plain maps have it, beside one in a tree.
type model struct {
	*world
	*rapid.T
	things  map[uint64]*thing
	cookies map[string]uint64 // of "directory/name", since it came
}

func (m *model) Helper()                   {}
func (m *model) Fatal(args ...any)         { m.T.Fatal(args...) }
func (m *model) Fatalf(f string, a ...any) { m.T.Fatalf(f, a...) }
func (m *model) Errorf(f string, a ...any) { m.T.Errorf(f, a...) }

// draw

var drawnNames = []string{"a", "b", "c", "d", "e", "f", "g", "h", strings.Repeat("long", 63) + "abc", "\xff\x01", " "}

func (m *model) name() string { return rapid.SampledFrom(drawnNames).Draw(m.T, "name") }

// pick draws the number of a thing that is as wanted; 0 if none is.
func (m *model) pick(label string, want func(*thing) bool) uint64 {
	var all []uint64
	for _, ino := range slices.Sorted(maps.Keys(m.things)) {
		if want(m.things[ino]) {
			all = append(all, ino)
		}
	}
	if len(all) == 0 {
		return 0
	}
	return all[rapid.IntRange(0, len(all)-1).Draw(m.T, label)]
}

func (m *model) dir() uint64 { return m.pick("directory", func(o *thing) bool { return o.IsDir() }) }

func (m *model) file() uint64 {
	return m.pick("file", func(o *thing) bool { return o.Mode&ModeType == ModeFile })
}

func (m *model) any() uint64 { return m.pick("object", func(*thing) bool { return true }) }

// entry draws a name that is there.
func (m *model) entry() (dir uint64, name string, ino uint64) {
	dir = m.pick("directory with names", func(o *thing) bool { return len(o.names) > 0 })
	if dir == 0 {
		return 0, "", 0
	}
	names := slices.Sorted(maps.Keys(m.things[dir].names))
	name = rapid.SampledFrom(names).Draw(m.T, "entry")
	return dir, name, m.things[dir].names[name]
}

func (m *model) attr(mask oplog.AttrMask) oplog.Attr {
	a := oplog.Attr{
		Mask: oplog.AttrMask(rapid.Uint16Range(0, 1<<12-1).Draw(m.T, "mask"))&mask | mask&oplog.SetMode,
		Mode: rapid.Uint32Range(0, modeBits).Draw(m.T, "mode"), UID: rapid.Uint32().Draw(m.T, "uid"), GID: rapid.Uint32().Draw(m.T, "gid"),
		Flags: rapid.Uint32().Draw(m.T, "flags"), Size: rapid.Uint64Range(0, 9*blockSize).Draw(m.T, "size"),
		Atime: rapid.Int64().Draw(m.T, "atime"), Mtime: rapid.Int64().Draw(m.T, "mtime"), Btime: rapid.Int64().Draw(m.T, "btime"),
		Rdev: rapid.Uint64().Draw(m.T, "rdev"), Verifier: rapid.Uint64().Draw(m.T, "verifier"),
	}
	return a
}

// operations: each is done to both

const (
	setTimes = oplog.SetAtime | oplog.SetMtime | oplog.SetAtimeNow | oplog.SetMtimeNow
	setAll   = oplog.SetUID | oplog.SetGID | oplog.SetFlags | oplog.SetVerifier | oplog.SetBtime | setTimes
)

func (m *model) set(o *thing, a oplog.Attr, now int64) {
	has := func(bit oplog.AttrMask) bool { return a.Mask&bit != 0 }
	if has(oplog.SetMode) {
		o.Mode = o.Mode&ModeType | a.Mode&0o7777
	}
	if has(oplog.SetUID) {
		o.UID = a.UID
	}
	if has(oplog.SetGID) {
		o.GID = a.GID
	}
	if has(oplog.SetSize) {
		o.Size = a.Size
	}
	if has(oplog.SetFlags) {
		o.Flags = a.Flags
	}
	if has(oplog.SetVerifier) {
		o.Verifier = a.Verifier
	}
	if has(oplog.SetRdev) {
		o.Rdev = a.Rdev
	}
	if has(oplog.SetBtime) {
		o.Btime = a.Btime
	}
	if has(oplog.SetAtime) {
		o.Atime = a.Atime
	}
	if has(oplog.SetAtimeNow) {
		o.Atime = now
	}
	if has(oplog.SetMtime) {
		o.Mtime = a.Mtime
	}
	if has(oplog.SetMtimeNow) {
		o.Mtime = now
	}
	o.Ctime = now
}

func (m *model) make() {
	dir, name := m.dir(), m.name()
	if m.things[dir].names[name] != 0 {
		return
	}
	op := &oplog.Op{Dir: dir, Name: name, Ino: m.ino()}
	o := &thing{xattrs: map[string]string{}, data: map[uint64]bool{}}
	o.Nlink, o.Parent = 1, dir
	mask := setAll | oplog.SetMode
	switch rapid.IntRange(0, 4).Draw(m.T, "kind") {
	case 0, 1:
		op.Kind, o.Mode = oplog.Create, ModeFile
		mask |= oplog.SetSize
	case 2:
		op.Kind, o.Mode = oplog.Mkdir, ModeDir
		o.Nlink, o.names = 2, map[string]uint64{}
	case 3:
		op.Kind, o.Mode = oplog.Symlink, ModeLink
		op.Value = strings.Repeat("t", rapid.SampledFrom([]int{1, 899, 900, 901, 1800, MaxTarget}).Draw(m.T, "target"))
		o.target = op.Value
	default:
		op.Kind = oplog.Mknod
		o.Mode = rapid.SampledFrom([]uint32{ModeFIFO, ModeChar, ModeBlock, ModeSocket}).Draw(m.T, "type")
		mask |= oplog.SetRdev
	}
	op.Attr = m.attr(mask)
	op.Attr.Mode |= o.Mode
	m.effect(op, Effect{Inodes: 1})

	o.Atime, o.Mtime, o.Btime = m.now, m.now, m.now
	m.set(o, op.Attr, m.now)
	if o.target != "" {
		o.Size = uint64(len(o.target))
	}
	m.things[op.Ino] = o
	m.arrive(dir, name, op.Ino)
}

// effect does an operation to the tree.
func (m *model) effect(op *oplog.Op, want Effect) {
	if got := m.do(op); got != want {
		m.Fatalf("%v: effect %+v, not %+v", op, got, want)
	}
}

func (m *model) arrive(dir uint64, name string, ino uint64) {
	d := m.things[dir]
	d.names[name] = ino
	d.Entries++
	d.Mtime, d.Ctime = m.now, m.now
	if m.things[ino].IsDir() {
		d.Nlink++
	}
}

func (m *model) depart(dir uint64, name string) {
	d := m.things[dir]
	if m.things[d.names[name]].IsDir() {
		d.Nlink--
	}
	delete(d.names, name)
	delete(m.cookies, fmt.Sprint(dir, "/", name))
	d.Entries--
	d.Mtime, d.Ctime = m.now, m.now
}

// goes says what the effect of taking a name from an object is.
func (m *model) goes(ino uint64) Effect {
	o := m.things[ino]
	if o == nil || !o.IsDir() && o.Nlink > 1 {
		return Effect{}
	}
	if len(o.data) > 0 {
		return Effect{Cut: true, Ino: ino, Inodes: -1}
	}
	return Effect{Inodes: -1}
}

func (m *model) unlink(ino uint64) {
	o := m.things[ino]
	if o == nil {
		return
	}
	if o.IsDir() || o.Nlink == 1 {
		delete(m.things, ino)
		return
	}
	o.Nlink--
	o.Ctime = m.now
}

func (m *model) link() {
	dir, name := m.dir(), m.name()
	ino := m.pick("to link", func(o *thing) bool { return !o.IsDir() })
	if ino == 0 || m.things[dir].names[name] != 0 {
		return
	}
	m.effect(&oplog.Op{Kind: oplog.Link, Dir: dir, Name: name, Ino: ino}, Effect{})
	o := m.things[ino]
	o.Nlink++
	o.Ctime, o.Parent = m.now, dir
	m.arrive(dir, name, ino)
}

func (m *model) remove() {
	dir, name, ino := m.entry()
	if ino == 0 || len(m.things[ino].names) > 0 {
		return
	}
	kind := oplog.Remove
	if m.things[ino].IsDir() {
		kind = oplog.Rmdir
	}
	m.effect(&oplog.Op{Kind: kind, Dir: dir, Name: name, Ino: ino}, m.goes(ino))
	m.depart(dir, name)
	m.unlink(ino)
}

// above reports whether directory a is at or above b.
func (m *model) above(a, b uint64) bool {
	for b != a && b != Root {
		b = m.things[b].Parent
	}
	return a == b
}

func (m *model) move() {
	dir, name, ino := m.entry()
	dir2, name2 := m.dir(), m.name()
	if ino == 0 {
		return
	}
	o, was := m.things[ino], m.things[dir2].names[name2]
	if o.IsDir() && m.above(ino, dir2) || was != 0 && (o.IsDir() != m.things[was].IsDir() || len(m.things[was].names) > 0) {
		return
	}
	op := &oplog.Op{Kind: oplog.Move, Dir: dir, Name: name, Ino: ino, Dir2: dir2, Name2: name2, Ino2: was}
	if was == ino {
		if dir == dir2 && name == name2 && rapid.Bool().Draw(m.T, "replaces nothing") {
			op.Ino2 = 0
		}
		m.effect(op, Effect{})
		return
	}
	m.effect(op, m.goes(was))
	m.depart(dir, name)
	if was != 0 {
		cookie := m.cookies[fmt.Sprint(dir2, "/", name2)]
		m.depart(dir2, name2)
		m.cookies[fmt.Sprint(dir2, "/", name2)] = cookie // the new one takes its place
	}
	m.unlink(was)
	o.Ctime, o.Parent = m.now, dir2
	m.arrive(dir2, name2, ino)
}

func (m *model) setattr() {
	ino := m.any()
	o := m.things[ino]
	mask := setAll | rapid.SampledFrom([]oplog.AttrMask{0, oplog.SetMode}).Draw(m.T, "with mode")
	if o.Mode&ModeType == ModeFile {
		mask |= oplog.SetSize
	}
	op := &oplog.Op{Kind: oplog.Setattr, Ino: ino, Attr: m.attr(mask)}
	want := Effect{}
	before := o.Size
	old := (before + blockSize - 1) / blockSize
	end := (op.Attr.Size + blockSize - 1) / blockSize
	sized := op.Attr.Mask&oplog.SetSize != 0
	if sized && end < old && len(o.data) > 0 {
		want = Effect{Cut: true, Ino: ino, From: end}
	}
	m.effect(op, want)
	if sized {
		o.Mtime = m.now
		maps.DeleteFunc(o.data, func(b uint64, _ bool) bool { return b >= end })
	}
	m.set(o, op.Attr, m.now)
}

func (m *model) write() {
	ino := m.file()
	if ino == 0 {
		return
	}
	o := m.things[ino]
	block := rapid.Uint64Range(0, 8).Draw(m.T, "block")
	m.fill(ino, block, 1)
	o.data[block] = true
	m.written(o, (block+1)*blockSize, 0)
}

// writeBytes is a write of any length by any user; its payload does not count
// here.
func (m *model) writeBytes() {
	ino := m.file()
	if ino == 0 {
		return
	}
	op := &oplog.Op{
		Kind: oplog.WriteFile, Ino: ino, UID: rapid.Uint32Range(0, 1).Draw(m.T, "who"),
		Off: rapid.Uint64Range(0, 9*blockSize).Draw(m.T, "off"), Len: rapid.Uint64Range(0, 5000).Draw(m.T, "len"),
	}
	m.effect(op, Effect{})
	end := op.Off + op.Len
	if op.Len == 0 {
		end = 0
	}
	m.written(m.things[ino], end, op.UID)
}

func (m *model) written(o *thing, end uint64, uid uint32) {
	o.Size = max(o.Size, end)
	o.Mtime, o.Ctime = m.now, m.now
	if uid != 0 {
		o.Mode &^= 0o4000
		if o.Mode&0o010 != 0 {
			o.Mode &^= 0o2000
		}
	}
}

func (m *model) setXattr() {
	ino, name := m.any(), rapid.SampledFrom([]string{"user.a", "user.b", "user.c", strings.Repeat("n", MaxName)}).Draw(m.T, "xattr")
	n := rapid.SampledFrom([]int{0, 1, 641, 642, 643, 644, 890, 891, 892, 893, 1800, 5000, MaxXattr}).Draw(m.T, "length")
	value := strings.Repeat(string(rune('a'+m.now/1000%26)), n)
	m.effect(&oplog.Op{Kind: oplog.SetXattr, Ino: ino, Name: name, Value: value}, Effect{})
	m.things[ino].xattrs[name] = value
	m.things[ino].Ctime = m.now
}

func (m *model) removeXattr() {
	ino := m.pick("with xattrs", func(o *thing) bool { return len(o.xattrs) > 0 })
	if ino == 0 {
		return
	}
	name := rapid.SampledFrom(slices.Sorted(maps.Keys(m.things[ino].xattrs))).Draw(m.T, "xattr")
	m.effect(&oplog.Op{Kind: oplog.RemoveXattr, Ino: ino, Name: name}, Effect{})
	delete(m.things[ino].xattrs, name)
	m.things[ino].Ctime = m.now
}

// compare

func (m *model) compare() {
	blocks := uint64(0)
	for ino, o := range m.things {
		o.Blocks = uint64(len(o.data))
		blocks += o.Blocks
		if got := m.inode(ino); got != o.Inode {
			m.Fatalf("inode %d is\n%+v, not\n%+v", ino, got, o.Inode)
		}
		m.compareXattrs(ino, o)
		if o.IsDir() {
			m.compareNames(ino, o)
		}
		if o.target != "" {
			must(m, m.retry(func() error {
				got, err := Target(m.tree, ino)
				if err == nil && got != o.target {
					m.Fatalf("symlink %d leads to %d bytes, not %d", ino, len(got), len(o.target))
				}
				return err
			}))
		}
	}
	if got, want := m.sound(), (Totals{uint64(len(m.things)), blocks * blockSize}); got != want {
		m.Fatalf("counted %+v, not %+v", got, want)
	}
}

func (m *model) compareNames(dir uint64, o *thing) {
	got, last := map[string]uint64{}, uint64(255)
	for _, e := range m.entries(dir) {
		if e.Cookie <= last || e.Type != m.things[e.Ino].Type() {
			m.Fatalf("directory %d lists %+v after cookie %#x", dir, e, last)
		}
		last = e.Cookie
		got[e.Name] = e.Ino
		at := fmt.Sprint(dir, "/", e.Name)
		if c, ok := m.cookies[at]; ok && c != e.Cookie {
			m.Fatalf("the cookie of %q was %#x, is %#x", at, c, e.Cookie)
		}
		m.cookies[at] = e.Cookie
	}
	if !maps.Equal(got, o.names) {
		m.Fatalf("directory %d has %v, not %v", dir, got, o.names)
	}
	for _, name := range drawnNames {
		e, ok := m.named(dir, name)
		if ino, want := o.names[name]; ok != want || ok && (e.Ino != ino || e.Name != name || e.Cookie != m.cookies[fmt.Sprint(dir, "/", name)]) {
			m.Fatalf("%q in directory %d: %+v %v, not %d", name, dir, e, ok, ino)
		}
	}
}

func (m *model) compareXattrs(ino uint64, o *thing) {
	sizes := map[string]int{}
	must(m, m.retry(func() error {
		clear(sizes)
		return Xattrs(m.tree, ino, func(name string, size int) bool {
			sizes[name] = size
			return true
		})
	}))
	if len(sizes) != len(o.xattrs) {
		m.Fatalf("inode %d has xattrs %v, not %d", ino, sizes, len(o.xattrs))
	}
	for name, want := range o.xattrs {
		must(m, m.retry(func() error {
			got, ok, err := m.xattr(m.tree, ino, name)
			if err == nil && (!ok || string(got) != want || sizes[name] != len(want)) {
				m.Fatalf("xattr %q of inode %d: %d bytes %v, listed %d, not %d", name, ino, len(got), ok, sizes[name], len(want))
			}
			return err
		}))
	}
	must(m, m.retry(func() error {
		_, ok, err := m.xattr(m.tree, ino, "user.none")
		if ok {
			m.Fatalf("inode %d has an xattr that nobody set", ino)
		}
		return err
	}))
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Few bits of hash: all names collide.
		p := places{seed: 7, bits: rapid.SampledFrom([]uint{hashBits, 2}).Draw(t, "bits")}
		m := &model{T: t, things: map[uint64]*thing{}, cookies: map[string]uint64{}}
		m.world = newWorld(t, p)
		defer func() { m.close() }()
		m.fillDisk()
		m.things[Root] = &thing{Inode: m.inode(Root), names: map[string]uint64{}, xattrs: map[string]string{}}
		t.Repeat(map[string]func(*rapid.T){
			"make": func(*rapid.T) { m.make() }, "make more": func(*rapid.T) { m.make() },
			"link": func(*rapid.T) { m.link() }, "remove": func(*rapid.T) { m.remove() },
			"move": func(*rapid.T) { m.move() }, "move more": func(*rapid.T) { m.move() },
			"setattr": func(*rapid.T) { m.setattr() }, "write": func(*rapid.T) { m.write() },
			"write bytes": func(*rapid.T) { m.writeBytes() }, "set xattr": func(*rapid.T) { m.setXattr() },
			"remove xattr": func(*rapid.T) { m.removeXattr() },
			"evict":        func(*rapid.T) { m.evict() }, "write out": func(*rapid.T) { m.freeze().Close() },
			"": func(*rapid.T) { m.compare() },
		})
	})
}
