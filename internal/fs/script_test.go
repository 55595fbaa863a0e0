package fs

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"varve/internal/inode"
)

// step is one step of a random script: what somebody does with a path, or two.
// Every system that can take it says how it ended.
type step struct {
	n       int // its number: makes contents differ
	do      string
	who     *Call
	a, b    string
	mode    uint32
	uid     int // -1: stays
	gid     int
	off     uint64
	length  uint64
	time    int64
	name    string // of an xattr
	content []byte
}

func (s step) String() string {
	return fmt.Sprintf("step %d: uid %d: %s %s %s mode %o owner %d:%d off %d len %d %s", s.n, s.who.Cred.UID, s.do, s.a, s.b, s.mode, s.uid, s.gid, s.off, s.length, s.name)
}

// system is what a script runs on.
type system interface {
	run(s step) Code
	// dump describes every object by its path. Names of one object say so.
	dump() map[string]string
}

// object is how all systems describe an object.
type object struct {
	mode, uid, gid, nlink uint32
	size                  uint64
	sum                   string
	xattrs                []string
	first                 string // the first of the object's names, in order
}

func (o object) String() string {
	slices.Sort(o.xattrs)
	return fmt.Sprintf("mode %o owner %d:%d links %d size %d sum %s xattrs %q first %s", o.mode, o.uid, o.gid, o.nlink, o.size, o.sum, o.xattrs, o.first)
}

func sum(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b))[:16] }

// nowhere is where every symbolic link of a script leads: so a path through one
// leads to nothing.
const nowhere = "nowhere"

// scripter makes random steps.
type scripter struct {
	rng   *rand.Rand
	n     int
	who   []*Call
	modes []uint32
}

func (x *scripter) path() string {
	var parts []string
	for range 1 + x.rng.IntN(4) {
		parts = append(parts, string(rune('a'+x.rng.IntN(4))))
	}
	return strings.Join(parts, "/")
}

var allSteps = []string{
	"mkdir", "mkdir", "mkdir", "create", "create", "create", "open", "symlink", "mkfifo", "link", "link", "remove", "remove", "rmdir", "rename", "rename", "rename", "rename",
	"chmod", "chmod", "chown", "truncate", "write", "write", "write", "utimes", "touch", "setxattr", "setxattr", "rmxattr", "read", "list",
}

func (x *scripter) step() step {
	x.n++
	s := step{
		n: x.n, do: allSteps[x.rng.IntN(len(allSteps))], who: x.who[x.rng.IntN(len(x.who))], a: x.path(), b: x.path(),
		mode: x.modes[x.rng.IntN(len(x.modes))], uid: -1, gid: -1,
		off: x.rng.Uint64N(20000), length: x.rng.Uint64N(9000), time: int64(x.rng.IntN(1e9)) * 1e9, name: "user." + string(rune('a'+x.rng.IntN(3))),
	}
	if s.do == "mkdir" {
		s.mode &^= 0o6000 // mkdir(2) gives no set-id bits
	}
	if x.rng.IntN(3) == 0 {
		s.off = s.off / 4096 * 4096
	}
	if x.rng.IntN(2) == 0 {
		s.uid = int(x.who[x.rng.IntN(len(x.who))].Cred.UID)
	}
	if x.rng.IntN(2) == 0 {
		s.gid = int(x.who[x.rng.IntN(len(x.who))].Cred.GID)
	}
	if s.do == "chown" && s.uid < 0 && s.gid < 0 {
		s.uid = 0
	}
	s.content = make([]byte, s.length)
	for i := range s.content {
		s.content[i] = byte(s.n + i/100)
	}
	return s
}

// onVarve runs steps as an NFS client would: one call for each.
type onVarve struct {
	w    *world
	root Handle
}

// find follows a path as the caller may, to the directory it ends in.
func (v *onVarve) find(c *Call, path string) (dir Handle, name string, code Code) {
	parts := strings.Split(path, "/")
	dir = v.root
	for _, part := range parts[:len(parts)-1] {
		h, a, _, err := v.w.f.Lookup(c, dir, part)
		if err != nil {
			return dir, "", CodeOf(err)
		}
		if a.Mode&inode.ModeType == inode.ModeLink {
			return dir, "", CodeNoEnt // it leads nowhere
		}
		dir = h
	}
	return dir, parts[len(parts)-1], CodeNone
}

// target follows a path to an object, through a symbolic link at its end.
func (v *onVarve) target(c *Call, path string) (Handle, Code) {
	dir, name, code := v.find(c, path)
	if code != CodeNone {
		return Handle{}, code
	}
	h, a, _, err := v.w.f.Lookup(c, dir, name)
	if err == nil && a.Mode&inode.ModeType == inode.ModeLink {
		return Handle{}, CodeNoEnt
	}
	return h, CodeOf(err)
}

func (v *onVarve) run(s step) Code {
	switch s.do {
	case "mkdir", "create", "symlink", "mkfifo", "remove", "rmdir", "open":
		dir, name, code := v.find(s.who, s.a)
		if code != CodeNone {
			return code
		}
		return v.runName(s, dir, name)
	case "link", "rename":
		return v.runNames(s)
	case "chown":
		dir, name, code := v.find(s.who, s.a)
		if code != CodeNone {
			return code
		}
		h, _, _, err := v.w.f.Lookup(s.who, dir, name)
		if err != nil {
			return CodeOf(err)
		}
		set := SetAttr{}
		if u := uint32(s.uid); s.uid >= 0 {
			set.UID = &u
		}
		if g := uint32(s.gid); s.gid >= 0 {
			set.GID = &g
		}
		_, _, err = v.w.f.Setattr(s.who, h, set)
		return CodeOf(err)
	}
	h, code := v.target(s.who, s.a)
	if code != CodeNone {
		return code
	}
	return v.runObject(s, h)
}

func (v *onVarve) runName(s step, dir Handle, name string) (code Code) {
	var err error
	switch s.do {
	case "mkdir":
		_, err = v.w.f.Mkdir(s.who, dir, name, mode(s.mode))
	case "create":
		_, err = v.w.f.Create(s.who, dir, name, mode(s.mode), true, nil)
	case "open":
		h, a, _, lerr := v.w.f.Lookup(s.who, dir, name)
		switch {
		case lerr == nil && a.Mode&inode.ModeType != inode.ModeFile:
			return CodeExist // taken for all that is no file, by the other systems too
		case lerr == nil:
			if code := v.may(s.who, h, AccessModify); code != CodeNone {
				return code
			}
		}
		set := mode(s.mode)
		set.Size = new(uint64)
		_, err = v.w.f.Create(s.who, dir, name, set, false, nil)
	case "symlink":
		_, err = v.w.f.Symlink(s.who, dir, name, nowhere, SetAttr{})
	case "mkfifo":
		_, err = v.w.f.Mknod(s.who, dir, name, inode.ModeFIFO, 0, mode(s.mode))
	case "remove":
		_, _, err = v.w.f.Remove(s.who, dir, name)
	case "rmdir":
		_, _, err = v.w.f.Rmdir(s.who, dir, name)
	}
	return CodeOf(err)
}

func (v *onVarve) runNames(s step) Code {
	from, name, code := v.find(s.who, s.a)
	if code == CodeNone { // the first path is followed to its end before the second
		_, _, _, err := v.w.f.Lookup(s.who, from, ".")
		code = CodeOf(err)
	}
	if code != CodeNone {
		return code
	}
	if s.do == "rename" {
		to, toName, code := v.find(s.who, s.b)
		if code != CodeNone {
			return code
		}
		_, _, _, err := v.w.f.Rename(s.who, from, name, to, toName)
		return CodeOf(err)
	}
	h, _, _, err := v.w.f.Lookup(s.who, from, name)
	if err != nil {
		return CodeOf(err)
	}
	to, toName, code := v.find(s.who, s.b)
	if code != CodeNone {
		return code
	}
	_, _, _, err = v.w.f.Link(s.who, h, to, toName)
	return CodeOf(err)
}

// may asks, as a client does when a program opens a file.
func (v *onVarve) may(c *Call, h Handle, want uint32) Code {
	have, _, err := v.w.f.Access(c, h, want)
	if err == nil && have != want {
		return CodeAccess
	}
	return CodeOf(err)
}

func (v *onVarve) runObject(s step, h Handle) Code {
	typ := v.w.attr(h).Mode & inode.ModeType
	var err error
	switch s.do {
	case "chmod":
		_, _, err = v.w.f.Setattr(s.who, h, mode(s.mode))
	case "utimes":
		_, _, err = v.w.f.Setattr(s.who, h, SetAttr{Atime: &s.time, Mtime: &s.time})
	case "touch":
		_, _, err = v.w.f.Setattr(s.who, h, SetAttr{AtimeNow: true, MtimeNow: true})
	case "setxattr":
		_, err = v.w.f.SetXattr(s.who, h, s.name, s.content[:min(len(s.content), 100)], XattrSet)
	case "rmxattr":
		_, err = v.w.f.RemoveXattr(s.who, h, s.name)
	case "list":
		_, _, _, err = v.w.f.Readdir(s.who, h, 0, 10, false, nil)
	case "truncate":
		if typ == inode.ModeFile {
			if code := v.may(s.who, h, AccessModify); code != CodeNone {
				return code
			}
		}
		_, _, err = v.w.f.Setattr(s.who, h, SetAttr{Size: &s.off})
	case "write", "read":
		want, want2 := uint32(AccessModify), uint32(AccessRead)
		if s.do == "read" {
			want, want2 = want2, want
		}
		if typ == inode.ModeFIFO || typ == inode.ModeDir {
			return CodeInval // opening these is not what is compared
		}
		if code := v.may(s.who, h, want); code != CodeNone {
			return code
		}
		if s.do == "write" {
			_, _, err = v.w.f.Write(s.who, h, s.content, s.off)
		} else {
			_, _, _, err = v.w.f.Read(s.who, h, make([]byte, 100), s.off)
		}
	}
	return CodeOf(err)
}

func (v *onVarve) dump() map[string]string { return dumpVarve(v.w, v.root) }

// dumpVarve describes the tree below a directory, of the present or the past.
func dumpVarve(w *world, top Handle) map[string]string {
	objects := map[string]object{}
	firsts := map[uint64]string{}
	var walk func(dir Handle, prefix string)
	walk = func(dir Handle, prefix string) {
		names := w.list(dir, 3)
		slices.Sort(names)
		for _, name := range names {
			h, path := w.lookup(dir, name), prefix+name
			a := w.attr(h)
			o := object{mode: a.Mode, uid: a.UID, gid: a.GID, nlink: a.Nlink}
			switch a.Mode & inode.ModeType {
			case inode.ModeDir:
				walk(h, path+"/")
			case inode.ModeFile:
				o.size, o.sum = a.Size, sum([]byte(w.content(h)))
			case inode.ModeLink:
				target, _, err := w.f.Readlink(root, h)
				w.ok(err)
				o.sum = target
			}
			xattrs, err := w.f.Xattrs(root, h)
			w.ok(err)
			for _, x := range xattrs {
				v, err := w.f.Xattr(root, h, x)
				w.ok(err)
				o.xattrs = append(o.xattrs, x+"="+sum(v))
			}
			if firsts[h.Ino] == "" || path < firsts[h.Ino] {
				firsts[h.Ino] = path
			}
			o.first = fmt.Sprint(h.Ino)
			objects[path] = o
		}
	}
	walk(top, "")
	return described(objects, func(key string) string {
		var ino uint64
		fmt.Sscan(key, &ino)
		return firsts[ino]
	})
}

func described(objects map[string]object, first func(string) string) map[string]string {
	out := map[string]string{}
	for path, o := range objects {
		o.first = first(o.first)
		out[path] = o.String()
	}
	return out
}

// same compares two descriptions of what should be one tree.
func same(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for path, o := range want {
		if got[path] != o {
			t.Errorf("%s: %s is\n  %s, not\n  %s", what, path, got[path], o)
		}
	}
	for path, o := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%s: %s is too much: %s", what, path, o)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}
