package nfs3

import (
	"fmt"

	"varve/internal/engine"
	"varve/internal/fs"
)

// still are files that stay as they are and do at once whatever they are asked
// to. What is on the way of a READ or a WRITE allocates nothing.
type still struct {
	files // handles
	attr  fs.Attr
	share fs.Share
}

func newStill(f files) *still {
	return &still{files: f, attr: fs.Attr{Mode: modeReg | 0o644, Size: 1 << 40}, share: fs.Share{ID: 1, Name: "home"}}
}

func (s *still) made(dir fs.Handle) (fs.Made, error) {
	return fs.Made{Handle: dir, Attr: s.attr, Dir: s.wcc(), LSN: 9}, nil
}

func (s *still) wcc() fs.Wcc {
	return fs.Wcc{Before: fs.Pre{OK: true}, After: s.attr, AfterOK: true}
}

func (s *still) Share(string) (fs.Share, error)               { return s.share, nil }
func (s *still) Shares() []fs.Share                           { return []fs.Share{s.share} }
func (s *still) ShareOf(fs.Handle) (fs.Share, error)          { return s.share, nil }
func (s *still) Getattr(*fs.Call, fs.Handle) (fs.Attr, error) { return s.attr, nil }
func (s *still) Commit(uint64, fs.Handle) error               { return nil }
func (s *still) Flush(fs.Handle) error                        { return nil }
func (s *still) Verifier() uint64                             { return 7 }
func (s *still) Lend() engine.Memory                          { return engine.Memory{} }
func (s *still) Statfs(*fs.Call, fs.Handle) (fs.Stat, error)  { return fs.Stat{Attr: s.attr}, nil }

func (s *still) Walk(*fs.Call, string) (fs.Handle, fs.Attr, error) {
	return fs.Handle{Dataset: 1, Ino: 2}, fs.Attr{Mode: modeDir}, nil
}

func (s *still) Setattr(*fs.Call, fs.Handle, fs.SetAttr) (fs.Wcc, uint64, error) {
	return s.wcc(), 9, nil
}

func (s *still) Lookup(_ *fs.Call, dir fs.Handle, _ string) (fs.Handle, fs.Attr, fs.Attr, error) {
	return dir, s.attr, s.attr, nil
}

func (s *still) Access(_ *fs.Call, _ fs.Handle, want uint32) (uint32, fs.Attr, error) {
	return want, s.attr, nil
}

func (s *still) Readlink(*fs.Call, fs.Handle) (string, fs.Attr, error) {
	return "../target", s.attr, nil
}

func (s *still) Read(_ *fs.Call, _ fs.Handle, p []byte, _ uint64) (int, bool, fs.Attr, error) {
	return len(p), false, s.attr, nil
}

func (s *still) TryRead(_ *fs.Call, _ fs.Handle, p []byte, _ uint64) (bool, int, bool, fs.Attr, error) {
	return true, len(p), false, s.attr, nil
}

func (s *still) Write(*fs.Call, fs.Handle, []byte, uint64) (fs.Wcc, uint64, error) {
	return s.wcc(), 9, nil
}

func (s *still) Create(_ *fs.Call, dir fs.Handle, _ string, _ fs.SetAttr, _ bool, _ *uint64) (fs.Made, error) {
	return s.made(dir)
}

func (s *still) Mkdir(_ *fs.Call, dir fs.Handle, _ string, _ fs.SetAttr) (fs.Made, error) {
	return s.made(dir)
}

func (s *still) Symlink(_ *fs.Call, dir fs.Handle, _, _ string, _ fs.SetAttr) (fs.Made, error) {
	return s.made(dir)
}

func (s *still) Mknod(_ *fs.Call, dir fs.Handle, _ string, _ uint32, _ uint64, _ fs.SetAttr) (fs.Made, error) {
	return s.made(dir)
}

func (s *still) Remove(*fs.Call, fs.Handle, string) (fs.Wcc, uint64, error) {
	return s.wcc(), 9, nil
}

func (s *still) Rmdir(*fs.Call, fs.Handle, string) (fs.Wcc, uint64, error) {
	return s.wcc(), 9, nil
}

func (s *still) Rename(*fs.Call, fs.Handle, string, fs.Handle, string) (fs.Wcc, fs.Wcc, uint64, error) {
	return s.wcc(), s.wcc(), 9, nil
}

func (s *still) Link(*fs.Call, fs.Handle, fs.Handle, string) (fs.Attr, fs.Wcc, uint64, error) {
	return s.attr, s.wcc(), 9, nil
}

// Readdir lists a directory of a hundred names.
func (s *still) Readdir(_ *fs.Call, h fs.Handle, after uint64, n int, _ bool, dst []fs.Dirent) ([]fs.Dirent, bool, fs.Attr, error) {
	for after < 100 && len(dst) < n {
		after++
		dst = append(dst, fs.Dirent{Cookie: after, FileID: after, Name: fmt.Sprintf("name-%*d", int(after), after), Handle: h, Attr: s.attr})
	}
	return dst, after >= 100, s.attr, nil
}
