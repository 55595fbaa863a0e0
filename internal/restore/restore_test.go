package restore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets everything be made in memory: what is made is made durable, and a disk
// would take its time.
func TestMain(m *testing.M) {
	if i, err := os.Stat("/dev/shm"); err == nil && i.IsDir() {
		os.Setenv("TMPDIR", "/dev/shm")
	}
	os.Exit(m.Run())
}

// inMemory are volumes of bytes.
func inMemory(volumes ...[]byte) Volumes {
	return func(n int) (Volume, error) {
		if n >= len(volumes) {
			return Volume{}, io.EOF
		}
		return Volume{io.NopCloser(bytes.NewReader(volumes[n])), fmt.Sprintf("volume %d", n+1)}, nil
	}
}

// told is what a run told.
type told struct {
	Result
	losses, damages, differences, names []string
	lostPaths                           map[string]bool
	notes                               []string
}

func (s *told) say(m Message) error {
	switch {
	case m.Loss != nil:
		s.losses = append(s.losses, fmt.Sprintf("%v %s %v", m.Loss.Paths, m.Loss.What, m.Loss.Ranges))
		for _, p := range m.Loss.Paths {
			s.lostPaths[p] = true
		}
	case m.Damage != nil:
		s.damages = append(s.damages, m.Damage.String())
	case m.Difference != nil:
		s.differences = append(s.differences, m.Difference.Path+": "+m.Difference.What)
	case m.Name != nil:
		s.names = append(s.names, m.Name.Path)
	case m.Note != "":
		s.notes = append(s.notes, m.Note)
	}
	return nil
}

// testMemory is the memory for names, unless 0: see TestSpilled.
var testMemory int

// do runs an operation on a directory; with goOn behind damage.
func do(t testing.TB, op Op, dir string, goOn bool, v Volumes, paths ...string) (*told, error) {
	t.Helper()
	s := &told{lostPaths: make(map[string]bool)}
	o := Options{Op: op, GoOn: goOn, Names: true, Say: s.say, Paths: paths, memory: testMemory}
	if dir != "" {
		root, err := OpenDir(dir, true)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		o.Root = root
	}
	r, err := Run(context.Background(), v, o)
	s.Result = r
	return s, err
}

// must is do that has to succeed, and to lose nothing.
func must(t testing.TB, op Op, dir string, v Volumes, paths ...string) *told {
	t.Helper()
	s, err := do(t, op, dir, false, v, paths...)
	if err != nil || len(s.losses)+len(s.damages)+len(s.differences) > 0 {
		t.Fatalf("%v; lost %q, damaged %q, different %q", err, s.losses, s.damages, s.differences)
	}
	return s
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// noise is text that repeats nowhere soon.
func noise(n int) string { return noiseText()[:n] }

var noiseText = sync.OnceValue(func() string {
	var b []byte
	for i := 0; len(b) < 8<<20; i++ {
		b = append(strconv.AppendInt(b, int64(i)*int64(i), 10), '.')
	}
	return string(b)
})

var orders = map[string]binary.ByteOrder{"little": binary.LittleEndian, "big": binary.BigEndian}

// TestForeign: archives in the layouts of Linux and of FreeBSD's UFS1 and UFS2, in both
// byte orders.
func TestForeign(t *testing.T) {
	for _, kind := range []string{"linux", "ufs1", "ufs2"} {
		for order, o := range orders {
			t.Run(kind+" "+order, func(t *testing.T) { testForeign(t, newTape(kind, o)) })
		}
	}
}

func testForeign(t *testing.T, a *tape) {
	sparse := noise(2048) + strings.Repeat("\x00", 600*1024) + noise(700) + strings.Repeat("\x00", 5000)
	large := noise(700 * 1024) // two headers
	long := strings.Repeat("n", 255)
	var xattrs []byte
	if a.kind == "ufs2" {
		xattrs = append(a.ufsXattr(1, "color", "blue"), a.ufsXattr(1, "note", noise(900))...)
	}
	all := []uint32{2, 3, 4, 5, 6, 7, 8, 9, 10}
	a.begin(all, all)
	names := []name{{3, 4, "dir"}, {4, 8, "file"}, {5, 8, "sparse"}, {6, 8, "large"}, {7, 10, "link"}, {8, 1, "fifo"}, {0, 0, "free"}}
	a.dir(2, 2, names...)
	dir := []name{{4, 8, "hard"}, {9, 8, long}}
	for i := range 60 {
		dir = append(dir, name{10, 0, fmt.Sprintf("one-of-many-%d", i)})
	}
	a.object(3, inode{mode: 0o41750}, a.dirData(3, 2, dir...), xattrs)
	a.object(4, inode{mode: 0o100640}, []byte("contents"), xattrs)
	a.file(5, sparse)
	a.object(6, inode{mode: 0o100600}, []byte(large), xattrs)
	a.link(7, "../../etc/passwd")
	a.object(8, inode{mode: 0o10622}, nil, nil)
	a.object(9, inode{mode: 0o100644}, nil, xattrs)
	a.file(10, "many")
	b := a.end()

	root := filepath.Join(t.TempDir(), "root")
	must(t, Update, root, inMemory(b))
	for path, want := range map[string]string{"file": "contents", "dir/hard": "contents", "sparse": sparse, "large": large, "dir/one-of-many-59": "many", "dir/" + long: ""} {
		if got := read(t, filepath.Join(root, path)); got != want {
			t.Errorf("%.20s has %d bytes, not %d, or others", path, len(got), len(want))
		}
	}
	if target, err := os.Readlink(filepath.Join(root, "link")); target != "../../etc/passwd" {
		t.Errorf("link: %q, %v", target, err)
	}
	testForeignAttributes(t, a, root)
	must(t, Compare, root, inMemory(b))
	if s := must(t, List, "", inMemory(b)); len(s.names) != 69 || s.names[1] != "./dir" {
		t.Errorf("%d names", len(s.names))
	}
	if _, err := do(t, Update, root, false, inMemory(b)); err == nil || !strings.Contains(err.Error(), "restored here already") {
		t.Errorf("level 0 a second time: %v", err)
	}
}

func testForeignAttributes(t *testing.T, a *tape, root string) {
	t.Helper()
	precise := int64(nano)
	if a.kind == "linux" {
		precise = nano / 1000 * 1000
	}
	for path, mode := range map[string]os.FileMode{
		"dir": os.ModeDir | os.ModeSticky | 0o750, "file": 0o640, "large": 0o600, "fifo": os.ModeNamedPipe | 0o622, "link": os.ModeSymlink | 0o777, ".": os.ModeDir | 0o755,
	} {
		i, err := os.Lstat(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		if i.Mode() != mode || !i.ModTime().Equal(time.Unix(when1-10, precise)) {
			t.Errorf("%s: %v, %v", path, i.Mode(), i.ModTime())
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(root, "sparse"), &st); err != nil || st.Blocks > 64 {
		t.Errorf("sparse takes %d sectors, %v", st.Blocks, err)
	}
	if a.kind != "ufs2" {
		return
	}
	for _, path := range []string{"dir", "file", "large", "dir/" + strings.Repeat("n", 255)} {
		for name, want := range map[string]string{"user.color": "blue", "user.note": noise(900)} {
			if v, err := getXattr(filepath.Join(root, path), name); string(v) != want {
				t.Errorf("%s of %s: %q, %v", name, path, v, err)
			}
		}
	}
}

// TestExtractPaths: what is wanted, with what is below it, and no more.
func TestExtractPaths(t *testing.T) {
	a := newTape("linux", binary.LittleEndian)
	all := []uint32{2, 3, 4, 5, 6, 7}
	a.begin(all, all)
	a.dir(2, 2, name{3, 4, "a"}, name{5, 8, "top"})
	a.dir(3, 2, name{4, 4, "b"}, name{6, 8, "in-a"})
	a.dir(4, 3, name{7, 8, "in-b"}, name{5, 8, "hard"})
	a.file(5, "5")
	a.file(6, "6")
	a.file(7, "7")
	b := a.end()
	for want, paths := range map[string][]string{
		"a a/b a/b/hard a/b/in-b":               {"./a/b"},
		"a a/in-a":                              {"a/in-a"},
		"top":                                   {"/top/"},
		"a a/b a/b/hard a/b/in-b a/in-a":        {"a"},
		"a a/b a/b/hard a/b/in-b a/in-a top":    nil,
		"a a/b a/b/hard a/b/in-b a/in-a top ":   {"."},
		"a a/b a/b/in-b top":                    {"a/b/in-b", "top"},
		"a a/b a/b/hard a/b/in-b a/in-a top   ": {"top", "a"},
	} {
		dir := t.TempDir()
		must(t, Extract, dir, inMemory(b), paths...)
		var got []string
		filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if path != dir {
				got = append(got, strings.TrimPrefix(path, dir+"/"))
			}
			return err
		})
		if strings.Join(got, " ") != strings.TrimSpace(want) {
			t.Errorf("%q gives %q, not %q", paths, got, want)
		}
	}
	for _, path := range []string{"nosuch", "a/nosuch", "top/x", "../top"} {
		if _, err := do(t, Extract, t.TempDir(), false, inMemory(b), path); err == nil || !strings.Contains(err.Error(), "is not in the archive") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if s := must(t, List, "", inMemory(b), "a/b"); strings.Join(s.names, " ") != "./a/b ./a/b/in-b ./a/b/hard" {
		t.Errorf("names %q", s.names)
	}
}

func newNames() *names { return namesWithin(namesMemory) }

func readTable(r io.Reader) (*table, error) { return loadTable(r, namesMemory) }
