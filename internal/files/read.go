package files

import (
	"context"
	"io"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/inode"
)

// readSize is how much is read in one go: bytes.
const readSize = 1 << 20

// Open opens a regular file for reading. Close it.
func (f *Files) Open(ctx context.Context, p Place) (*File, error) {
	s, err := f.open(ctx, p.Share, p.When)
	if err != nil {
		return nil, err
	}
	ino, i, err := s.find(p.Path)
	if err == nil {
		err = s.mustBeFile(p.Path, ino, &i)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return &File{state: s, ino: ino, Moment: s.moment}, nil
}

// mustBeFile says what stands in the way of reading something.
func (s *state) mustBeFile(path string, ino uint64, i *inode.Inode) error {
	switch i.Mode & inode.ModeType {
	case inode.ModeFile:
		return nil
	case inode.ModeDir:
		return fail.New(fail.Invalid, "%s of %s is a directory", path, s.share).WithHint("varve ls lists it")
	case inode.ModeLink:
		e, err := s.entry(path, ino)
		if err != nil {
			return err
		}
		return fail.New(fail.Invalid, "%s of %s is a symbolic link to %s", path, s.share, e.Target).WithHint("read what it leads to")
	}
	return fail.New(fail.Invalid, "%s of %s is a %s, not a file", path, s.share, typeNames[i.Mode&inode.ModeType])
}

// File is a file that is open for reading. Not for concurrent use.
type File struct {
	Moment *engine.Moment // nil: the present
	state  *state
	ino    uint64
}

// Close gives it back.
func (f *File) Close() { f.state.close() }

// Copy writes the bytes of the file to w. In the present it reads what is there
// when it comes to it, up to the end that it finds then.
func (f *File) Copy(ctx context.Context, w io.Writer) error {
	buf := make([]byte, readSize)
	for off := uint64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.state.readAt(f.ino, buf, off)
		if err != nil || n == 0 {
			return err
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return fail.Wrap(fail.Canceled, err, "nobody reads any more")
		}
		off += uint64(n)
	}
}

// readAt reads up to the end of a file. A file that shrinks meanwhile may give
// zeros for what it lost, as other file systems do.
func (s *state) readAt(ino uint64, p []byte, off uint64) (int, error) {
	var size uint64
	err := s.Look(func(r inode.Reader) error {
		i, err := inode.Load(r, ino)
		size = i.Size
		return err
	})
	if err != nil || off >= size {
		return 0, err
	}
	n := int(min(uint64(len(p)), size-off))
	return n, s.ReadFile(ino, p[:n], off)
}

func isGone(err error) bool { return fail.Is(err, fail.Stale) }
