package inode

import (
	"sync"

	"varve/internal/fail"
	"varve/internal/tree"
)

// A Reader is what reads a share: a tree.Tree, tree.Version or tree.Reader.
// The functions that read return its errors as they are, *tree.Miss too: load
// the node and call again.
type Reader interface {
	Get(k tree.Key, dst []byte) ([]byte, bool, error)
	Scan(lo, hi tree.Key, fn func(k tree.Key, v []byte) bool) error
}

// pieceSize is the length in bytes of the pieces in which values go that are
// longer than one item may be. All but the last of a value have it.
const pieceSize = 900

// Load reads an inode. It fails with Stale if there is none.
func Load(r Reader, ino uint64) (Inode, error) {
	i, ok, err := Find(r, ino)
	if err == nil && !ok {
		return Inode{}, fail.New(fail.Stale, "stale handle: inode %d is gone", ino)
	}
	return i, err
}

// Find is Load; ok is false if there is none.
func Find(r Reader, ino uint64) (i Inode, ok bool, err error) {
	buf := itemBuffers.Get().(*[inodeSize]byte)
	defer itemBuffers.Put(buf)
	return load(r, ino, buf[:0])
}

// itemBuffers are for items of inodes on their way to Parse, which keeps none
// of their bytes.
var itemBuffers = sync.Pool{New: func() any { return new([inodeSize]byte) }}

// load reads an inode by way of buf.
func load(r Reader, ino uint64, buf []byte) (i Inode, ok bool, err error) {
	v, ok, err := r.Get(Key(ino), buf)
	if err != nil || !ok {
		return Inode{}, false, err
	}
	if i, err = Parse(v); err != nil {
		return Inode{}, false, fail.Wrap(fail.Corrupt, err, "inode %d", ino)
	}
	return i, true, nil
}

// Target reads where a symlink leads. It fails with Stale if there is no such
// inode, and with Invalid if it is no symlink.
func Target(r Reader, ino uint64) (string, error) {
	i, err := Load(r, ino)
	if err != nil {
		return "", err
	}
	if i.Mode&ModeType != ModeLink {
		return "", fail.New(fail.Invalid, "inode %d is no symbolic link", ino)
	}
	var target []byte
	err = r.Scan(itemKey(ino, targetItem, 0), itemKey(ino, endItem, 0), func(_ tree.Key, v []byte) bool {
		target = append(target, v...)
		return uint64(len(target)) < i.Size
	})
	if err != nil {
		return "", err
	}
	if uint64(len(target)) != i.Size {
		return "", fail.New(fail.Corrupt, "symbolic link %d has a target of %d bytes, not %d", ino, len(target), i.Size)
	}
	return string(target), nil
}
