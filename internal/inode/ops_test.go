package inode

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"varve/internal/fail"
	"varve/internal/oplog"
)

// Operations that contradict the share are refused before they are logged, and
// change nothing.
func TestContradictions(t *testing.T) {
	w := newWorld(t, placesOf(1))
	defer w.close()
	f, d := w.create(Root, "f"), w.mkdir(Root, "d")
	sub := w.mkdir(d, "sub")
	before := w.tree.Freeze(100)
	defer before.Close()
	size := func(n uint64) oplog.Attr { return oplog.Attr{Mask: oplog.SetSize, Size: n} }
	long := strings.Repeat("x", MaxName+1)
	for name, op := range map[string]*oplog.Op{
		"not of files":                {Kind: oplog.Trim},
		"make what is there":          made(oplog.Create, ModeFile, Root, "d", 9),
		"make with a used number":     made(oplog.Create, ModeFile, Root, "new", f),
		"make with a low number":      made(oplog.Create, ModeFile, Root, "new", 1),
		"make in no directory":        made(oplog.Create, ModeFile, 77, "new", 9),
		"make in a file":              made(oplog.Create, ModeFile, f, "new", 9),
		"make another type":           made(oplog.Create, ModeDir, Root, "new", 9),
		"make no type":                {Kind: oplog.Create, Dir: Root, Name: "new", Ino: 9, Attr: oplog.Attr{Mode: ModeFile}},
		"make strange bits":           made(oplog.Create, ModeFile|1<<20, Root, "new", 9),
		"make too large":              {Kind: oplog.Create, Dir: Root, Name: "new", Ino: 9, Attr: oplog.Attr{Mask: oplog.SetMode | oplog.SetSize, Mode: ModeFile, Size: MaxSize + 1}},
		"make a device with a size":   {Kind: oplog.Mknod, Dir: Root, Name: "new", Ino: 9, Attr: oplog.Attr{Mask: oplog.SetMode | oplog.SetSize, Mode: ModeChar, Size: 1}},
		"make a file as a device":     made(oplog.Mknod, ModeFile, Root, "new", 9),
		"symlink to nowhere":          made(oplog.Symlink, ModeLink, Root, "new", 9),
		"name with a slash":           made(oplog.Create, ModeFile, Root, "a/b", 9),
		"name with a NUL":             made(oplog.Create, ModeFile, Root, "a\x00b", 9),
		"name .":                      made(oplog.Mkdir, ModeDir, Root, ".", 9),
		"name ..":                     made(oplog.Mkdir, ModeDir, Root, "..", 9),
		"name of nothing":             made(oplog.Create, ModeFile, Root, "", 9),
		"name too long":               made(oplog.Create, ModeFile, Root, long, 9),
		"link a directory":            {Kind: oplog.Link, Ino: d, Dir: Root, Name: "new"},
		"link nothing":                {Kind: oplog.Link, Ino: 77, Dir: Root, Name: "new"},
		"link over a name":            {Kind: oplog.Link, Ino: f, Dir: Root, Name: "d"},
		"remove nothing":              {Kind: oplog.Remove, Ino: f, Dir: Root, Name: "none"},
		"remove another":              {Kind: oplog.Remove, Ino: f, Dir: Root, Name: "d"},
		"remove a directory":          {Kind: oplog.Remove, Ino: sub, Dir: d, Name: "sub"},
		"rmdir a file":                {Kind: oplog.Rmdir, Ino: f, Dir: Root, Name: "f"},
		"rmdir with entries":          {Kind: oplog.Rmdir, Ino: d, Dir: Root, Name: "d"},
		"move nothing":                {Kind: oplog.Move, Ino: f, Dir: d, Name: "f", Dir2: Root, Name2: "g"},
		"move over an unnamed":        {Kind: oplog.Move, Ino: f, Dir: Root, Name: "f", Dir2: Root, Name2: "d"},
		"move over another":           {Kind: oplog.Move, Ino: f, Dir: Root, Name: "f", Dir2: d, Name2: "sub", Ino2: d},
		"move over entries":           {Kind: oplog.Move, Ino: f, Dir: Root, Name: "f", Dir2: Root, Name2: "d", Ino2: d},
		"move into itself":            {Kind: oplog.Move, Ino: d, Dir: Root, Name: "d", Dir2: d, Name2: "g"},
		"move the root":               {Kind: oplog.Move, Ino: Root, Dir: Root, Name: "d", Dir2: d, Name2: "g"},
		"setattr of nothing":          {Kind: oplog.Setattr, Ino: 77},
		"setattr to another type":     {Kind: oplog.Setattr, Ino: f, Attr: oplog.Attr{Mask: oplog.SetMode, Mode: ModeDir}},
		"setattr to strange bits":     {Kind: oplog.Setattr, Ino: f, Attr: oplog.Attr{Mask: oplog.SetMode, Mode: 1 << 20}},
		"size of a directory":         {Kind: oplog.Setattr, Ino: d, Attr: size(1)},
		"size too large":              {Kind: oplog.Setattr, Ino: f, Attr: size(MaxSize + 1)},
		"write to a directory":        {Kind: oplog.WriteFile, Ino: d, Len: 1},
		"write beyond the end of all": {Kind: oplog.WriteFile, Ino: f, Off: MaxSize, Len: 1},
		"write around the end of all": {Kind: oplog.WriteFile, Ino: f, Off: 1 << 63, Len: 1 << 63},
		"xattr of nothing":            {Kind: oplog.SetXattr, Ino: 77, Name: "user.a"},
		"xattr without a name":        {Kind: oplog.SetXattr, Ino: f},
		"xattr with a long name":      {Kind: oplog.SetXattr, Ino: f, Name: long},
		"xattr with a long value":     {Kind: oplog.SetXattr, Ino: f, Name: "user.a", Value: strings.Repeat("x", MaxXattr+1)},
		"remove no xattr":             {Kind: oplog.RemoveXattr, Ino: f, Name: "user.a"},
	} {
		_, err := w.try(op)
		if !fail.Is(err, fail.Corrupt) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !strings.Contains(err.Error(), op.Kind.String()) {
			t.Errorf("%s: the error does not name the operation: %v", name, err)
		}
		if _, err := w.apply(w.tree, op); !fail.Is(err, fail.Corrupt) {
			t.Errorf("%s: applied: %v", name, err)
		}
	}
	after := w.tree.Freeze(101)
	defer after.Close()
	if got, want := dump(t, after), dump(t, before); !maps.Equal(got, want) {
		t.Errorf("refused operations changed the share: %v, not %v", got, want)
	}
	w.sound()
}

// Whatever operation Prepare lets through, the share stays sound. (That no
// directory moves below itself is for who judges: it would take a walk.)
func TestAnyOperation(t *testing.T) {
	kinds := []oplog.Kind{oplog.WriteFile, oplog.Create, oplog.Mkdir, oplog.Symlink, oplog.Mknod, oplog.Link, oplog.Remove,
		oplog.Rmdir, oplog.Move, oplog.Setattr, oplog.SetXattr, oplog.RemoveXattr}
	accepted := map[oplog.Kind]int{}
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, places{seed: 1, bits: rapid.SampledFrom([]uint{hashBits, 1}).Draw(t, "bits")})
		defer func() { w.close() }()
		newSample(w)
		ino := rapid.SampledFrom([]uint64{0, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 5, 5, 6, 7, 8, 9, 10, 11, 12})
		name := rapid.SampledFrom([]string{"dir", "sub", "low", "file", "linked", "other", "link", "new", "user.x", ""})
		for range 30 {
			op := &oplog.Op{
				Kind: rapid.SampledFrom(kinds).Draw(t, "kind"),
				Ino:  ino.Draw(t, "ino"), Dir: ino.Draw(t, "dir"), Name: name.Draw(t, "name"),
				Dir2: ino.Draw(t, "dir2"), Name2: name.Draw(t, "name2"),
				Off: rapid.Uint64().Draw(t, "off"), Len: rapid.Uint64().Draw(t, "len"), UID: 1,
				Value: rapid.SampledFrom([]string{"", "v", strings.Repeat("v", 3000)}).Draw(t, "value"),
				Attr: oplog.Attr{
					Mask: oplog.AttrMask(rapid.Uint16Range(0, 1<<12-1).Draw(t, "mask")),
					Mode: rapid.SampledFrom([]uint32{ModeFile, ModeDir, ModeLink, ModeFIFO, 0, 3 << 12}).Draw(t, "type") | 0o6777,
					Size: rapid.Uint64().Draw(t, "size"),
				},
			}
			w.makeLikely(t, op)
			if op.Kind == oplog.Move && w.isBelow(op.Dir2, op.Ino) {
				continue
			}
			if _, err := w.try(op); err == nil {
				accepted[op.Kind]++
				w.sound()
			} else if !fail.Is(err, fail.Corrupt) {
				t.Fatal(err)
			}
		}
	})
	for _, k := range kinds {
		if accepted[k] == 0 {
			t.Errorf("no %v was accepted: %v", k, accepted)
		}
	}
}

// makeLikely makes most operations fit what is there, more or less.
func (w *world) makeLikely(t *rapid.T, op *oplog.Op) {
	if e, ok := w.named(op.Dir2, op.Name2); ok {
		op.Ino2 = e.Ino
	}
	if rapid.IntRange(0, 9).Draw(t, "unlikely") == 0 {
		return
	}
	op.Off, op.Len, op.Attr.Size = op.Off>>50, op.Len>>50, op.Attr.Size>>50
	switch op.Kind {
	case oplog.Create, oplog.Mkdir, oplog.Symlink, oplog.Mknod:
		op.Attr.Mode = map[oplog.Kind]uint32{oplog.Create: ModeFile, oplog.Mkdir: ModeDir, oplog.Symlink: ModeLink, oplog.Mknod: ModeFIFO}[op.Kind]
		op.Attr.Mask = op.Attr.Mask&^oplog.SetSize | oplog.SetMode
		op.Ino = w.next
		w.next++
	case oplog.Remove, oplog.Rmdir, oplog.Move:
		all := slices.DeleteFunc(w.entries(op.Dir), func(e Entry) bool {
			return op.Kind != oplog.Move && (op.Kind == oplog.Rmdir) != (e.Type == dirType)
		})
		if len(all) > 0 {
			e := rapid.SampledFrom(all).Draw(t, "entry")
			op.Name, op.Ino = e.Name, e.Ino
		}
	case oplog.Setattr:
		op.Attr.Mask &^= oplog.SetMode
	case oplog.RemoveXattr:
		_ = Xattrs(w.tree, op.Ino, func(name string, _ int) bool {
			op.Name = name
			return false
		})
	}
}

// isBelow reports whether a directory is at or below another.
func (w *world) isBelow(dir, top uint64) bool {
	for dir != top && dir != Root {
		var i Inode
		err := w.retry(func() (err error) {
			i, err = Load(w.tree, dir)
			return err
		})
		if err != nil {
			return false
		}
		dir = i.Parent
	}
	return dir == top
}
