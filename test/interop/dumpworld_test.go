package interop

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"varve/internal/chain"
	"varve/internal/dump"
	"varve/internal/engine"
	vfs "varve/internal/fs"
	"varve/internal/inode"
	"varve/internal/segstore/mem"
	"varve/internal/when"
)

// archivist is a pool in memory with the share "home", whose dumps Debian's restore
// gets.
type archivist struct {
	t     *testing.T
	e     *engine.Engine
	fs    *vfs.FS
	dumps *chain.Dumps
	root  vfs.Handle
	now   atomic.Int64
}

var super = &vfs.Call{}

func newArchivist(t *testing.T) *archivist {
	t.Helper()
	w := &archivist{t: t}
	begin := time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
	w.now.Store(begin.UnixNano())
	store := mem.New(4<<20, 512<<20)
	w.ok(engine.Format(store, begin, rand.NewChaCha8([32]byte{1})))
	var err error
	w.e, err = engine.Open(engine.Options{Store: store, CheckpointEvery: -1, Now: func() time.Time { return time.Unix(0, w.now.Load()) }})
	w.ok(err)
	w.fs = vfs.New(w.e, vfs.Options{Location: time.UTC})
	_, err = w.e.CreateShare(engine.Caller{}, "home", 0o755, 0, 0)
	w.ok(err)
	s, err := w.fs.Share("home")
	w.ok(err)
	w.root = vfs.Handle{Dataset: s.ID, Ino: inode.Root}
	w.dumps = chain.New(w.e)
	t.Cleanup(func() {
		w.fs.Close()
		w.ok(w.e.Close(context.Background()))
	})
	return w
}

func (w *archivist) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *archivist) tick(d time.Duration) { w.now.Add(int64(d)) }

// at finds a path.
func (w *archivist) at(path string) vfs.Handle {
	w.t.Helper()
	h := w.root
	for name := range strings.SplitSeq(path, "/") {
		if name == "" {
			continue
		}
		next, _, _, err := w.fs.Lookup(super, h, name)
		if err != nil {
			w.t.Fatalf("%s: %v", path, err)
		}
		h = next
	}
	return h
}

func (w *archivist) parent(path string) (vfs.Handle, string) {
	dir, name := filepath.Split(path)
	return w.at(dir), name
}

func (w *archivist) mkdir(path string, mode uint32) {
	w.t.Helper()
	dir, name := w.parent(path)
	_, err := w.fs.Mkdir(super, dir, name, vfs.SetAttr{Mode: &mode})
	w.ok(err)
}

// file makes or replaces a file.
func (w *archivist) file(path, content string) {
	w.t.Helper()
	dir, name := w.parent(path)
	mode, zero := uint32(0o644), uint64(0)
	m, err := w.fs.Create(super, dir, name, vfs.SetAttr{Mode: &mode, Size: &zero}, false, nil)
	w.ok(err)
	w.write(m.Handle, content, 0)
}

func (w *archivist) write(h vfs.Handle, content string, off uint64) {
	w.t.Helper()
	for len(content) > 0 {
		n := min(len(content), 1<<20)
		_, _, err := w.fs.Write(super, h, []byte(content[:n]), off)
		w.ok(err)
		content, off = content[n:], off+uint64(n)
	}
}

func (w *archivist) set(path string, set vfs.SetAttr) {
	w.t.Helper()
	_, _, err := w.fs.Setattr(super, w.at(path), set)
	w.ok(err)
}

func (w *archivist) symlink(path, target string) {
	w.t.Helper()
	dir, name := w.parent(path)
	_, err := w.fs.Symlink(super, dir, name, target, vfs.SetAttr{})
	w.ok(err)
}

func (w *archivist) mknod(path string, mode uint32, major, minor uint64) {
	w.t.Helper()
	dir, name := w.parent(path)
	perm := uint32(0o640)
	_, err := w.fs.Mknod(super, dir, name, mode, major<<32|minor, vfs.SetAttr{Mode: &perm})
	w.ok(err)
}

func (w *archivist) link(path, to string) {
	w.t.Helper()
	dir, name := w.parent(to)
	_, _, _, err := w.fs.Link(super, w.at(path), dir, name)
	w.ok(err)
}

func (w *archivist) rename(path, to string) {
	w.t.Helper()
	from, fromName := w.parent(path)
	dir, name := w.parent(to)
	_, _, _, err := w.fs.Rename(super, from, fromName, dir, name)
	w.ok(err)
}

func (w *archivist) remove(path string) {
	w.t.Helper()
	dir, name := w.parent(path)
	if _, _, err := w.fs.Remove(super, dir, name); err != nil {
		_, _, err = w.fs.Rmdir(super, dir, name)
		w.ok(err)
	}
}

func (w *archivist) xattr(path, name, value string) {
	w.t.Helper()
	_, err := w.fs.SetXattr(super, w.at(path), name, []byte(value), vfs.XattrSet)
	w.ok(err)
}

func (w *archivist) begin(r chain.Request) (*chain.Job, error) {
	if r.Blocking == 0 {
		r.Blocking = dump.DefaultBlock
	}
	if r.Honor == 0 {
		r.Honor = 1
	}
	return w.dumps.Begin(context.Background(), engine.Caller{}, "home", r)
}

// dump writes an archive into a file, whose length must be what was foretold, and
// records it where it is to be.
func (w *archivist) dump(r chain.Request) (path string, info chain.Info) {
	w.t.Helper()
	j, err := w.begin(r)
	w.ok(err)
	defer j.Close()
	f, err := os.Create(filepath.Join(w.t.TempDir(), fmt.Sprintf("level%d", r.Level)))
	w.ok(err)
	done, err := j.Write(context.Background(), f)
	w.ok(err)
	w.ok(f.Close())
	if done.Bytes != j.Info.Bytes || !j.Info.Exact {
		w.t.Errorf("level %d: %d bytes, foretold %d", r.Level, done.Bytes, j.Info.Bytes)
	}
	if r.Update {
		_, err := w.dumps.Keep(engine.Caller{}, "home", j.Info.Snapshot)
		w.ok(err)
	}
	return f.Name(), j.Info
}

// memoryDir makes a directory on a file system without flags of files: where there
// are some, restore -C takes them for a difference.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", fmt.Sprintf("%s%d-", memoryDirs, os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// memoryDirs begins the names of what memoryDir makes; the process follows.
const memoryDirs = "varve-restored-"

// sweepMemory removes what tests left there that were killed, which take memory.
func sweepMemory() {
	list, _ := filepath.Glob("/dev/shm/" + memoryDirs + "*")
	for _, dir := range list {
		var pid int
		if _, err := fmt.Sscanf(strings.TrimPrefix(filepath.Base(dir), memoryDirs), "%d-", &pid); err != nil || syscall.Kill(pid, 0) == syscall.ESRCH {
			os.RemoveAll(dir)
		}
	}
}

// debian runs Debian's restore in a directory and returns what it says.
func debian(t *testing.T, dir string, args ...string) string {
	t.Helper()
	c := exec.Command("restore", args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "LC_ALL=C")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("restore %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// thing is all that an archive keeps of an object.
type thing struct {
	attrs string
	data  string
}

// shareTree lists the share as it is now. Times are in microseconds.
func (w *archivist) shareTree(dirTimes bool) map[string]thing {
	w.t.Helper()
	out := make(map[string]thing)
	first := make(map[uint64]string)
	var visit func(path string, h vfs.Handle)
	visit = func(path string, h vfs.Handle) {
		a, err := w.fs.Getattr(super, h)
		w.ok(err)
		x := thing{attrs: fmt.Sprintf("%o %d:%d", a.Mode, a.UID, a.GID)}
		names, err := w.fs.Xattrs(super, h)
		w.ok(err)
		slices.Sort(names)
		for _, n := range names {
			v, err := w.fs.Xattr(super, h, n)
			w.ok(err)
			x.attrs += fmt.Sprintf(" %s=%x", n, v)
		}
		if a.Mode&inode.ModeType != inode.ModeDir || dirTimes {
			x.attrs += time.Unix(0, a.Mtime).UTC().Format(" 2006-01-02T15:04:05.000000")
		}
		switch a.Mode & inode.ModeType {
		case inode.ModeDir:
			out[path] = x
			var list []vfs.Dirent
			for after, eof := uint64(0), false; !eof; {
				ents, e, _, err := w.fs.Readdir(super, h, after, 1000, false, nil)
				w.ok(err)
				for _, d := range ents {
					after = d.Cookie
					if d.Name != "." && d.Name != ".." {
						list = append(list, d)
					}
				}
				eof = e
			}
			slices.SortFunc(list, func(a, b vfs.Dirent) int { return cmp.Compare(a.Name, b.Name) })
			for _, d := range list {
				next, _, _, err := w.fs.Lookup(super, h, d.Name)
				w.ok(err)
				visit(filepath.Join(path, d.Name), next)
			}
			return
		case inode.ModeLink:
			target, _, err := w.fs.Readlink(super, h)
			w.ok(err)
			x.data = target
		case inode.ModeFile:
			buf := make([]byte, a.Size)
			for off := uint64(0); off < a.Size; {
				n, _, _, err := w.fs.Read(super, h, buf[off:min(off+1<<20, a.Size)], off)
				w.ok(err)
				off += uint64(n)
			}
			x.data = string(buf)
		case inode.ModeChar, inode.ModeBlock:
			x.data = fmt.Sprint(a.Rdev>>32, ",", uint32(a.Rdev))
		}
		x.attrs += links(first, path, h.Ino, uint64(a.Nlink))
		out[path] = x
	}
	visit("/", w.root)
	return out
}

// links tells with which path something is one.
func links(first map[uint64]string, path string, ino, n uint64) string {
	if n < 2 {
		return ""
	}
	if first[ino] == "" {
		first[ino] = path
	}
	return fmt.Sprintf(" %d links with %s", n, first[ino])
}

// diskTree lists what is below a directory of this machine in the same way.
func diskTree(t *testing.T, root string, dirTimes bool) map[string]thing {
	t.Helper()
	out := make(map[string]thing)
	first := make(map[uint64]string)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := "/" + strings.TrimPrefix(strings.TrimPrefix(path, root), "/")
		if name == "/restoresymtable" {
			return nil
		}
		i, err := d.Info()
		if err != nil {
			return err
		}
		st := i.Sys().(*syscall.Stat_t)
		x := thing{attrs: fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid)}
		for _, n := range listXattrs(t, path) {
			x.attrs += fmt.Sprintf(" %s=%x", n, getXattr(t, path, n))
		}
		if !d.IsDir() || dirTimes {
			x.attrs += i.ModTime().UTC().Format(" 2006-01-02T15:04:05.000000")
		}
		switch st.Mode & syscall.S_IFMT {
		case syscall.S_IFREG:
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			x.data = string(b)
		case syscall.S_IFLNK:
			if x.data, err = os.Readlink(path); err != nil {
				return err
			}
		case syscall.S_IFCHR, syscall.S_IFBLK:
			x.data = fmt.Sprint(unix.Major(st.Rdev), ",", unix.Minor(st.Rdev))
		}
		if !d.IsDir() {
			x.attrs += links(first, name, st.Ino, st.Nlink)
		}
		out[name] = x
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func listXattrs(t *testing.T, path string) []string {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		t.Fatal(path, err)
	}
	var names []string
	for _, name := range bytes.Split(buf[:n], []byte{0}) {
		if len(name) > 0 {
			names = append(names, string(name))
		}
	}
	sort.Strings(names)
	return names
}

func getXattr(t *testing.T, path, name string) []byte {
	buf := make([]byte, 64<<10)
	n, err := unix.Lgetxattr(path, name, buf)
	if err != nil {
		t.Fatal(path, name, err)
	}
	return buf[:n]
}

// same fails if two trees differ, and says where.
func same(t *testing.T, got, want map[string]thing) {
	t.Helper()
	var paths []string
	for p := range got {
		paths = append(paths, p)
	}
	for p := range want {
		if _, ok := got[p]; !ok {
			paths = append(paths, p)
		}
	}
	sort.Strings(paths)
	const enough = 20
	bad := 0
	for _, p := range paths {
		if got[p] != want[p] {
			bad++
		}
		if bad > enough {
			t.Error("and more")
			return
		}
		g, isThere := got[p]
		w, belongs := want[p]
		switch {
		case !isThere:
			t.Errorf("%s is missing", p)
		case !belongs:
			t.Errorf("%s should not be there", p)
		case g.attrs != w.attrs:
			t.Errorf("%s: %s, not %s", p, g.attrs, w.attrs)
		case g.data != w.data:
			t.Errorf("%s: %d bytes (%.40q), not the %d (%.40q) that it has", p, len(g.data), g.data, len(w.data), w.data)
		}
	}
}

// fine lists what thing leaves out: times to the nanosecond, of files also when they
// were read, and which pages of 4 KiB of them have data.
func fine(t *testing.T, root string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := "/" + strings.TrimPrefix(strings.TrimPrefix(path, root), "/")
		if name == "/restoresymtable" || name == "/lost+found" {
			return nil
		}
		i, err := d.Info()
		if err != nil {
			return err
		}
		st := i.Sys().(*syscall.Stat_t)
		var next func(at int64) (from, to int64)
		if d.Type().IsRegular() {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			next = func(at int64) (from, to int64) {
				from, err := f.Seek(at, unix.SEEK_DATA)
				if err != nil { // ENXIO: no more
					return i.Size(), i.Size()
				}
				to, err = f.Seek(from, unix.SEEK_HOLE)
				if err != nil {
					t.Fatal(path, err)
				}
				return from, to
			}
		}
		out[name] = fineLine(st.Mtim.Nano(), st.Atim.Nano(), i.Size(), next)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// fineLine describes one object; next is nil but of a file.
func fineLine(mtime, atime, size int64, next func(at int64) (from, to int64)) string {
	const page = 4096
	line := fmt.Sprintf("modified %d", mtime)
	if next == nil {
		return line
	}
	line += fmt.Sprintf(", read %d, data", atime)
	begin, end := int64(-1), int64(-1)
	for at := int64(0); at < size; {
		from, to := next(at)
		if from >= size || from >= to {
			break
		}
		at = to
		from, to = from/page, (to+page-1)/page
		if from > end && end >= 0 {
			line += fmt.Sprintf(" %d-%d", begin, end)
			begin = -1
		}
		if begin < 0 {
			begin = from
		}
		end = max(end, to)
	}
	return line + fmt.Sprintf(" %d-%d", begin, end)
}

// fineShare is fine of the share.
func (w *archivist) fineShare() map[string]string {
	w.t.Helper()
	m, err := w.e.Resolve("home", when.Spec{Kind: when.Now})
	w.ok(err)
	v, err := w.e.OpenView(m)
	w.ok(err)
	defer v.Close()
	out := make(map[string]string)
	for path := range w.shareTree(false) {
		h := w.at(path)
		a, err := w.fs.Getattr(super, h)
		w.ok(err)
		var next func(at int64) (from, to int64)
		if a.Mode&inode.ModeType == inode.ModeFile {
			next = func(at int64) (int64, int64) {
				from, to, err := v.NextData(h.Ino, uint64(at), a.Size)
				w.ok(err)
				return int64(from), int64(to)
			}
		}
		out[path] = fineLine(a.Mtime, a.Atime, int64(a.Size), next)
	}
	return out
}

var reads = regexp.MustCompile(`, read \d+`)

// unread leaves out when files were read.
func unread(tree map[string]string) map[string]string {
	for path, line := range tree {
		tree[path] = reads.ReplaceAllString(line, "")
	}
	return tree
}

// sameFine compares what fine lists.
func sameFine(t *testing.T, got, want map[string]string) {
	t.Helper()
	for _, path := range slices.Sorted(maps.Keys(want)) {
		if got[path] != want[path] {
			t.Errorf("%s: %s; not %s", path, got[path], want[path])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d objects, not %d", len(got), len(want))
	}
}
