package restore

import (
	"os"

	"varve/internal/fail"
)

// spool is bytes that are appended and read again. Those beyond limit are in a
// temporary file without a name. Not for concurrent use.
type spool struct {
	limit int
	mem   []byte // all of it, or what is not yet in f
	f     *os.File
	done  int64 // bytes in f
}

// spillSize is how much is written to the file at a time: bytes.
const spillSize = 1 << 20

func (s *spool) size() int64 { return s.done + int64(len(s.mem)) }

func (s *spool) append(p []byte) error {
	s.mem = append(s.mem, p...)
	if s.f == nil && len(s.mem) < s.limit || s.f != nil && len(s.mem) < min(spillSize, s.limit) {
		return nil
	}
	return s.spill()
}

func (s *spool) spill() (err error) {
	if s.f == nil {
		if s.f, err = tempFile(); err != nil {
			return err
		}
	}
	if _, err := s.f.WriteAt(s.mem, s.done); err != nil {
		return tempError(err)
	}
	s.done += int64(len(s.mem))
	if s.mem = s.mem[:0]; cap(s.mem) > 2*spillSize {
		s.mem = make([]byte, 0, spillSize+64<<10)
	}
	return nil
}

// read fills p from byte off, as far as there are bytes, and returns how many.
func (s *spool) read(p []byte, off int64) (int, error) {
	n := 0
	if off < s.done {
		part := p[:min(int64(len(p)), s.done-off)]
		if _, err := s.f.ReadAt(part, off); err != nil {
			return 0, tempError(err)
		}
		n = len(part)
		off += int64(n)
	}
	if at := off - s.done; n < len(p) && at >= 0 && at < int64(len(s.mem)) {
		n += copy(p[n:], s.mem[at:])
	}
	return n, nil
}

// overwrite changes bytes that are there.
func (s *spool) overwrite(p []byte, off int64) error {
	if off < s.done {
		part := p[:min(int64(len(p)), s.done-off)]
		if _, err := s.f.WriteAt(part, off); err != nil {
			return tempError(err)
		}
		p, off = p[len(part):], off+int64(len(part))
	}
	if len(p) > 0 {
		copy(s.mem[off-s.done:], p)
	}
	return nil
}

func (s *spool) close() {
	if s.f != nil {
		s.f.Close()
	}
}

// tempFile makes a temporary file without a name.
func tempFile() (*os.File, error) {
	f, err := os.CreateTemp("", "varve-restore-")
	if err != nil {
		return nil, fail.Wrap(fail.IO, err, "make a temporary file for the names of the archive").WithHint("TMPDIR says where")
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fail.Wrap(fail.IO, err, "temporary file")
	}
	return f, nil
}

// tempError is the error of a temporary file.
func tempError(err error) error {
	if err == nil {
		return nil
	}
	return fail.Wrap(fail.IO, err, "the names of the archive in a temporary file").WithHint("TMPDIR says where it is")
}
