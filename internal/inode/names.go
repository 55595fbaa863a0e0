package inode

import (
	"strings"

	"varve/internal/fail"
)

// validName reports whether a directory may have an entry of this name.
func validName(name string) bool {
	return validXattr(name) && name != "." && name != ".." && strings.IndexByte(name, '/') < 0
}

func validXattr(name string) bool {
	return name != "" && len(name) <= MaxName && strings.IndexByte(name, 0) < 0
}

// where finds a name in a directory, or a place for it.
func (e *edit) where(dir uint64, name string) (spot, error) {
	if !validName(name) {
		return spot{}, e.bad("no name: %q", name)
	}
	first := e.entries(name)
	lo, hi := entryKey(dir, first), entryKey(dir, first+slots)
	e.reads = append(e.reads, span{lo, hi})
	return e.find(e.r, dir, name)
}

// vacant returns the cookie for a new name in a directory.
func (e *edit) vacant(dir uint64, name string) (cookie uint64, err error) {
	s, err := e.where(dir, name)
	switch {
	case err != nil:
		return 0, err
	case s.found:
		return 0, e.bad("%q in directory %d is inode %d", name, dir, s.entry.Ino)
	case s.full(e.entries(name)):
		return 0, errFull(dir, name)
	}
	return s.entry.Cookie, nil
}

func errFull(ino uint64, name string) error {
	return fail.New(fail.NoSpace, "inode %d has %d other names with the hash of %q", ino, slots, name).
		WithHint("choose another name")
}

// enter gives an object a name.
func (e *edit) enter(dir, cookie uint64, name string, o *held) error {
	d, err := e.directory(dir)
	if err != nil {
		return err
	}
	start := len(e.memory)
	entry := Entry{Ino: o.ino, Type: o.Type(), Name: name}
	e.memory = entry.append(e.memory)
	e.set(entryKey(dir, cookie), e.memory[start:])
	d.Entries++
	if o.IsDir() {
		d.Nlink++
	}
	d.Mtime, d.Ctime = e.op.Shows(), e.op.Shows()
	o.Parent, o.Ctime = dir, e.op.Shows()
	return nil
}

// leave takes the name of an object away and returns the cookie it had.
func (e *edit) leave(dir uint64, name string, o *held) (cookie uint64, err error) {
	d, err := e.directory(dir)
	if err != nil {
		return 0, err
	}
	s, err := e.where(dir, name)
	switch {
	case err != nil:
		return 0, err
	case !s.found:
		return 0, e.bad("there is no %q in directory %d", name, dir)
	case s.entry.Ino != o.ino || s.entry.Type != o.Type():
		return 0, e.bad("%q in directory %d is inode %d of type %d, not %d of type %d", name, dir, s.entry.Ino, s.entry.Type, o.ino, o.Type())
	case d.Entries == 0:
		return 0, e.bad("directory %d counts no entries, but has %q", dir, name)
	case o.IsDir() && d.Nlink <= 2:
		return 0, e.bad("directory %d counts no directories, but has %q", dir, name)
	}
	e.gone = append(e.gone, entryKey(dir, s.entry.Cookie))
	d.Entries--
	if o.IsDir() {
		d.Nlink--
	}
	d.Mtime, d.Ctime = e.op.Shows(), e.op.Shows()
	return s.entry.Cookie, nil
}

// unlink counts a name of an object less. With the last one the object goes.
func (e *edit) unlink(o *held) error {
	if o.IsDir() && o.Entries > 0 {
		return e.bad("directory %d has %d entries", o.ino, o.Entries)
	}
	if !o.IsDir() && o.Nlink > 1 {
		o.Nlink--
		o.Ctime = e.op.Shows()
		return nil
	}
	o.gone = true
	e.ranges = append(e.ranges, span{Key(o.ino), itemKey(o.ino, endItem, 0)})
	e.effect.Inodes--
	if o.Mode&ModeType == ModeFile && o.Blocks > 0 {
		e.cut(o, 0, blocksOf(o.Size))
	}
	return nil
}

// cut leaves the blocks of a file from from on to be cut; it had room for end.
func (e *edit) cut(o *held, from, end uint64) {
	e.effect.Cut, e.effect.Ino, e.effect.From = true, o.ino, from
	e.effect.Large = min(o.Blocks, end-from) > LargeCut
	o.Rough = o.Rough || e.effect.Large
}
