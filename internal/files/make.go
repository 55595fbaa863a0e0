package files

import (
	"bytes"

	"varve/internal/engine"
	"varve/internal/fs"
	"varve/internal/inode"
)

// spansAtOnce is how many spans of a file are looked up before they are copied.
const spansAtOnce = 1024

// make makes a copy of an inode, and of what is below it, under a name that is
// free.
func (k *copier) make(dir fs.Handle, name string, ino uint64, i inode.Inode) (fs.Handle, error) {
	if first, ok := k.links[ino]; ok {
		_, _, lsn, err := k.f.fs.Link(k.call, first, dir, name)
		if err == nil {
			k.done.Files++
		}
		return first, k.did(lsn, err)
	}
	made, err := k.bare(dir, name, ino, i)
	if err = k.did(made.LSN, err); err != nil {
		return made.Handle, err
	}
	if !i.IsDir() && i.Nlink > 1 {
		k.links[ino] = made.Handle
	}
	if i.IsDir() {
		err = k.children(ino, func(e inode.Entry, i inode.Inode) error {
			_, err := k.make(made.Handle, e.Name, e.Ino, i)
			return err
		})
	} else if i.Mode&inode.ModeType == inode.ModeFile {
		err = k.fill(made.Handle, ino, i.Size)
	}
	if err == nil {
		err = k.dress(made.Handle, ino, i)
	}
	if err == nil {
		k.done.Files++
		k.tell(k.done)
	}
	return made.Handle, err
}

// bare makes an object of the right type with nothing in it, which nobody but
// root may look at.
func (k *copier) bare(dir fs.Handle, name string, ino uint64, i inode.Inode) (fs.Made, error) {
	mode, root := uint32(0o600), uint32(0)
	set := fs.SetAttr{Mode: &mode, UID: &root, GID: &root}
	switch i.Mode & inode.ModeType {
	case inode.ModeFile:
		return k.f.fs.Create(k.call, dir, name, set, true, nil)
	case inode.ModeDir:
		mode = 0o700
		return k.f.fs.Mkdir(k.call, dir, name, set)
	case inode.ModeLink:
		var target string
		err := k.src.Look(func(r inode.Reader) (err error) {
			target, err = inode.Target(r, ino)
			return err
		})
		if err != nil {
			return fs.Made{}, err
		}
		return k.f.fs.Symlink(k.call, dir, name, target, set)
	}
	return k.f.fs.Mknod(k.call, dir, name, i.Mode&inode.ModeType, i.Rdev, set)
}

// fill writes what is in a file, but for its holes.
func (k *copier) fill(to fs.Handle, ino, size uint64) error {
	for off := uint64(0); off < size; {
		var spans []engine.Span
		err := k.view.MapFile(ino, off, size-off, func(s engine.Span) bool {
			spans = append(spans, s)
			return len(spans) < spansAtOnce
		})
		if err != nil {
			return err
		}
		for _, s := range spans {
			if !s.Hole {
				if err := k.span(to, ino, off, s.Len); err != nil {
					return err
				}
			}
			off += s.Len
		}
	}
	_, lsn, err := k.f.fs.Setattr(k.call, to, fs.SetAttr{Size: &size})
	return k.did(lsn, err)
}

// span copies the bytes [off, off+n).
func (k *copier) span(to fs.Handle, ino, off, n uint64) error {
	for n > 0 {
		if err := k.ctx.Err(); err != nil {
			return err
		}
		p := k.buf[:min(n, readSize-off%readSize)]
		if err := k.view.ReadFile(ino, p, off); err != nil {
			return err
		}
		_, lsn, err := k.f.fs.Write(k.call, to, p, off)
		if err := k.did(lsn, err); err != nil {
			return err
		}
		off, n = off+uint64(len(p)), n-uint64(len(p))
		k.done.Bytes += uint64(len(p))
		k.tell(k.done)
	}
	return nil
}

// dress gives an object the extended attributes, owner, mode and times of an
// inode, as far as it does not have them, in the order in which none takes
// another away.
func (k *copier) dress(to fs.Handle, ino uint64, i inode.Inode) error {
	if err := k.xattrs(to, ino); err != nil {
		return err
	}
	a, err := k.f.fs.Getattr(k.call, to)
	if err != nil {
		return err
	}
	if a.UID != i.UID || a.GID != i.GID {
		w, lsn, err := k.f.fs.Setattr(k.call, to, fs.SetAttr{UID: &i.UID, GID: &i.GID})
		if err := k.did(lsn, err); err != nil {
			return err
		}
		a = w.After // without its set-id bits
	}
	if a.Mode == i.Mode && a.Atime == i.Atime && a.Mtime == i.Mtime && a.Flags == i.Flags {
		return nil
	}
	mode := i.Mode &^ inode.ModeType
	set := fs.SetAttr{Mode: &mode, Atime: &i.Atime, Mtime: &i.Mtime, Flags: &i.Flags}
	_, lsn, err := k.f.fs.Setattr(k.call, to, set)
	return k.did(lsn, err)
}

// xattrs makes the extended attributes of an object those of an inode.
func (k *copier) xattrs(to fs.Handle, ino uint64) error {
	want, err := k.wanted(ino)
	if err != nil {
		return err
	}
	have, err := k.f.fs.Xattrs(k.call, to)
	if err != nil {
		return err
	}
	for _, name := range have {
		value, keep := want[name]
		if keep {
			now, err := k.f.fs.Xattr(k.call, to, name)
			if err != nil {
				return err
			}
			if bytes.Equal(now, value) {
				delete(want, name)
			}
			continue
		}
		lsn, err := k.f.fs.RemoveXattr(k.call, to, name)
		if err := k.did(lsn, err); err != nil {
			return err
		}
	}
	for name, value := range want {
		lsn, err := k.f.fs.SetXattr(k.call, to, name, value, fs.XattrSet)
		if err := k.did(lsn, err); err != nil {
			return err
		}
	}
	return nil
}

// wanted reads the extended attributes of an inode of the source.
func (k *copier) wanted(ino uint64) (map[string][]byte, error) {
	want := make(map[string][]byte)
	err := k.src.Look(func(r inode.Reader) error {
		var names []string
		err := inode.Xattrs(r, ino, func(name string, _ int) bool {
			names = append(names, name)
			return true
		})
		for _, name := range names {
			if err != nil {
				break
			}
			want[name], _, err = inode.Xattr(r, k.src.Seed(), ino, name)
		}
		return err
	})
	return want, err
}
