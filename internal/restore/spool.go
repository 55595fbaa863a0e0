package restore

import (
	"os"

	"varve/internal/fail"
)

// spoolMemory is how much of a spool is kept in memory: bytes. What is beyond goes to a
// temporary file without a name.
const spoolMemory = 64 << 20

// spool is bytes that are appended and read again. Not for concurrent use.
type spool struct {
	mem  []byte // all of it, or what is not yet in f
	f    *os.File
	done int64 // bytes in f
}

func (s *spool) size() int64 { return s.done + int64(len(s.mem)) }

func (s *spool) append(p []byte) error {
	s.mem = append(s.mem, p...)
	if s.f == nil && len(s.mem) < spoolMemory || s.f != nil && len(s.mem) < 1<<20 {
		return nil
	}
	return s.spill()
}

func (s *spool) spill() error {
	if s.f == nil {
		f, err := os.CreateTemp("", "varve-restore-")
		if err != nil {
			return fail.Wrap(fail.IO, err, "make a temporary file for the names of the archive").WithHint("TMPDIR says where")
		}
		s.f = f
		if err := os.Remove(f.Name()); err != nil {
			return fail.Wrap(fail.IO, err, "temporary file")
		}
	}
	if _, err := s.f.WriteAt(s.mem, s.done); err != nil {
		return fail.Wrap(fail.IO, err, "write the names of the archive to a temporary file").WithHint("TMPDIR says where it is")
	}
	s.done += int64(len(s.mem))
	if s.mem = s.mem[:0]; cap(s.mem) > 2<<20 {
		s.mem = make([]byte, 0, 1<<20+64<<10)
	}
	return nil
}

// read fills p from byte off, as far as there are bytes, and returns how many.
func (s *spool) read(p []byte, off int64) (int, error) {
	n := 0
	if off < s.done {
		part := p[:min(int64(len(p)), s.done-off)]
		if _, err := s.f.ReadAt(part, off); err != nil {
			return 0, fail.Wrap(fail.IO, err, "read the names of the archive from a temporary file")
		}
		n = len(part)
		off += int64(n)
	}
	if at := off - s.done; n < len(p) && at >= 0 && at < int64(len(s.mem)) {
		n += copy(p[n:], s.mem[at:])
	}
	return n, nil
}

func (s *spool) close() {
	if s.f != nil {
		s.f.Close()
	}
}
