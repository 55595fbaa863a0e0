package interop

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"varve/test/plant"
)

// sampleTree makes a directory with a bit of everything.
func sampleTree(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	put := func(name, content string) {
		t.Helper()
		ok(os.WriteFile(filepath.Join(dir, name), []byte(content), 0o640))
	}
	ok(os.MkdirAll(filepath.Join(dir, "a/b/c"), 0o755))
	put("a/tiny", "in the inode, if there is room")
	put("a/b/block", strings.Repeat("b", 4096))
	put("a/b/large", strings.Repeat("0123456789abcdef", 200_000)) // 3.2 MB
	put("empty", "")
	ok(os.Link(filepath.Join(dir, "a/tiny"), filepath.Join(dir, "a/b/c/again")))
	ok(os.Symlink("a/tiny", filepath.Join(dir, "short")))
	ok(os.Symlink(strings.Repeat("s/", 500), filepath.Join(dir, "long")))
	ok(unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	ok(unix.Mknod(filepath.Join(dir, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	sparse, err := os.Create(filepath.Join(dir, "sparse"))
	ok(err)
	for _, off := range []int64{0, 70_000, 900_000} {
		_, err := sparse.WriteAt([]byte("data"), off)
		ok(err)
	}
	ok(sparse.Truncate(2_000_001))
	ok(sparse.Close())
	ok(os.Mkdir(filepath.Join(dir, "many"), 0o755))
	for i := range 500 {
		put(fmt.Sprintf("many/file-with-a-name-%d", i), fmt.Sprint(i))
	}
	ok(os.Chown(filepath.Join(dir, "a/b/block"), 70_000, 80_000))
	ok(os.Chmod(filepath.Join(dir, "a/b/block"), 0o4711))
	return dir
}

// dumpImage makes an archive of an image with the varve program.
func dumpImage(t *testing.T, image string, args ...string) (archive, said string) {
	t.Helper()
	archive = filepath.Join(t.TempDir(), "archive")
	c := exec.Command(program, append(append([]string{"dump", "-f", archive}, args...), image)...)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("varve dump %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return archive, string(out)
}

// restored gives an archive to Debian's restore -r and -C, and returns the tree.
func restored(t *testing.T, archive string) map[string]thing {
	t.Helper()
	dir := memoryDir(t)
	debian(t, dir, "-rf", archive)
	debian(t, dir, "-C", "-D", dir, "-f", archive)
	return restoredIn(t, dir)
}

func restoredIn(t *testing.T, dir string) map[string]thing {
	t.Helper()
	got := diskTree(t, dir, false)
	delete(got, "/lost+found")
	return got
}

var images = []struct {
	name string
	make func(t *testing.T, image, tree string)
}{
	{"ext2", mke2fs("-t", "ext2", "-b", "1024")},
	{"ext3", mke2fs("-t", "ext3", "-b", "4096")},
	{"ext4", mke2fs("-t", "ext4", "-b", "4096")},
	{"ext4 without extents", mke2fs("-t", "ext4", "-b", "1024", "-O", "^extents,^64bit")},
	{"ext4 inline data", mke2fs("-t", "ext4", "-b", "4096", "-O", "inline_data", "-I", "256")},
	{"ext4 meta_bg", mke2fs("-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode,64bit")},
	{"ufs1 little endian", makefs("le", 1)},
	{"ufs1 big endian", makefs("be", 1)},
	{"ufs2 little endian", makefs("le", 2)},
	{"ufs2 big endian", makefs("be", 2)},
}

func mke2fs(args ...string) func(t *testing.T, image, tree string) {
	return func(t *testing.T, image, tree string) {
		t.Helper()
		do(t, "mke2fs", append(append([]string{"-q"}, args...), "-d", tree, image, "64M")...)
	}
}

func makefs(endian string, version int) func(t *testing.T, image, tree string) {
	return func(t *testing.T, image, tree string) {
		t.Helper()
		do(t, "makefs", "-t", "ffs", "-B", endian, "-s", "32m", "-o", fmt.Sprintf("version=%d,bsize=16384,fsize=2048,density=8192", version), image, tree)
	}
}

// TestDumpImages: what is in an image of any kind, Debian's restore gets.
func TestDumpImages(t *testing.T) {
	tree := sampleTree(t)
	for _, i := range images {
		t.Run(i.name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			i.make(t, image, tree)
			archive, _ := dumpImage(t, image, "-0")
			want := diskTree(t, tree, false)
			wholeSeconds(want) // neither mke2fs nor makefs takes more along
			got := restored(t, archive)
			if i.name == "ext4 inline data" { // where mke2fs loses the hole at the end
				delete(want, "/sparse")
				delete(got, "/sparse")
			}
			same(t, got, want)
			if list := debian(t, t.TempDir(), "-tf", archive); !strings.Contains(list, "./a/b/c/again") {
				t.Errorf("restore -t lists\n%s", list)
			}
		})
	}
}

// wholeSeconds cuts the times of a tree.
func wholeSeconds(tree map[string]thing) {
	for path, x := range tree {
		if at := strings.Index(x.attrs, "."); at > 0 {
			x.attrs = x.attrs[:at] + ".000000" + x.attrs[at+7:]
			tree[path] = x
		}
	}
}

// inMount runs a function on a mounted image.
func inMount(t *testing.T, image string, work func(dir string)) {
	t.Helper()
	dir := t.TempDir()
	do(t, "mount", "-o", "loop", image, dir)
	defer plant.Unmount(t, dir)
	work(dir)
}

// TestDumpRight: what Debian's dump gets wrong, silently.
func TestDumpRight(t *testing.T) {
	fresh := func(t *testing.T, args ...string) string {
		t.Helper()
		image := filepath.Join(t.TempDir(), "image")
		do(t, "mke2fs", append(append([]string{"-q", "-t", "ext4"}, args...), image, "64M")...)
		return image
	}
	shell := func(t *testing.T, image, script string) {
		t.Helper()
		inMount(t, image, func(dir string) {
			c := exec.Command("sh", "-ec", script)
			c.Dir = dir
			if out, err := c.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
	t.Run("inline data", func(t *testing.T) {
		image := fresh(t, "-O", "inline_data", "-I", "256")
		shell(t, image, "echo tiny > tiny; mkdir d; echo x > d/x")
		archive, _ := dumpImage(t, image, "-0")
		got := restored(t, archive)
		if got["/tiny"].data != "tiny\n" || got["/d/x"].data != "x\n" {
			t.Errorf("%q", got)
		}
	})
	t.Run("unwritten extents", func(t *testing.T) {
		image := fresh(t)
		shell(t, image, "yes secret | head -c 20000000 > old; sync; rm old; sync; fallocate -l 15000000 new; echo begin | dd of=new conv=notrunc status=none")
		archive, _ := dumpImage(t, image, "-0")
		b, err := os.ReadFile(archive)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "secret") {
			t.Error("deleted bytes are in the archive")
		}
		if got := restored(t, archive)["/new"].data; len(got) != 15_000_000 || !strings.HasPrefix(got, "begin\n\x00") || strings.Trim(got[6:], "\x00") != "" {
			t.Errorf("%d bytes, %.20q", len(got), got)
		}
	})
	t.Run("dirty journal", func(t *testing.T) {
		image := fresh(t)
		torn := image + ".torn"
		inMount(t, image, func(dir string) {
			do(t, "sh", "-ec", "cd "+dir+"; mkdir d; echo one > d/one; echo two > two; sync d/one two d")
			copyFile(t, image, torn)
		})
		archive, _ := dumpImage(t, torn, "-0")
		got := restored(t, archive)
		if got["/d/one"].data != "one\n" || got["/two"].data != "two\n" {
			t.Errorf("%q", got)
		}
	})
	t.Run("wide minor numbers", func(t *testing.T) {
		image := fresh(t)
		shell(t, image, "mknod c c 259 300")
		archive, _ := dumpImage(t, image, "-0")
		if got := restored(t, archive)["/c"].data; got != "259,300" {
			t.Errorf("it became %s", got)
		}
	})
	t.Run("before 1970", func(t *testing.T) {
		image := fresh(t)
		shell(t, image, "touch -d '1960-01-01 00:00:00.123456789 UTC' old")
		archive, _ := dumpImage(t, image, "-0")
		h := headerOf(t, archive, "/old")
		if h.Mtime.Sec != -315619200 || h.Mtime.Nsec != 123456789 {
			t.Errorf("mtime %+v", h.Mtime)
		}
	})
	t.Run("missing base", func(t *testing.T) {
		image := fresh(t)
		dates := filepath.Join(t.TempDir(), "dumpdates")
		c := exec.Command(program, "dump", "-1", "-D", dates, "-f", "/dev/null", image)
		if err := c.Run(); c.ProcessState.ExitCode() != 17 {
			t.Errorf("exit %d, %v", c.ProcessState.ExitCode(), err)
		}
	})
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
}

// TestDumpImageLevels: levels by time, with a dumpdates file, which Debian's restore
// goes through.
func TestDumpImageLevels(t *testing.T) {
	image := filepath.Join(t.TempDir(), "image")
	do(t, "mke2fs", "-q", "-t", "ext4", "-I", "256", "-d", sampleTree(t), image, "64M")
	dates := filepath.Join(t.TempDir(), "dumpdates")
	dir := memoryDir(t)
	take := func(level, most int) {
		t.Helper()
		archive, said := dumpImage(t, image, fmt.Sprintf("-%du", level), "-D", dates)
		var files, dirs int
		line := said[strings.LastIndex(said[:strings.Index(said, " file")], ": ")+2:]
		if _, err := fmt.Sscanf(line, "%d files in %d directories", &files, &dirs); err != nil || files+dirs > most {
			t.Errorf("level %d: %d files in %d directories, %v", level, files, dirs, err)
		}
		debian(t, dir, "-rf", archive)
		debian(t, dir, "-C", "-D", dir, "-f", archive)
		inMount(t, image, func(mounted string) {
			want := diskTree(t, mounted, false)
			delete(want, "/lost+found")
			delete(want, "/skipped") // nodump is honoured
			delete(want, "/skipped/below")
			delete(want, "/skipped-file")
			same(t, restoredIn(t, dir), want)
		})
		nextSecond()
	}
	change := func(script string) {
		t.Helper()
		inMount(t, image, func(mounted string) { do(t, "sh", "-ec", "cd "+mounted+"\n"+script) })
	}
	nextSecond()
	change("true") // the image is written later than what is in it, as that of a real disk is
	take(0, 1000)
	change(`echo new > a/new; mv many moved; rm short; mkdir short; echo in > short/in; rm -r a/b/c
		echo more >> a/b/large; ln a/b/block linked
		mkdir skipped; echo x > skipped/below; chattr +d skipped; echo y > skipped-file; chattr +d skipped-file`)
	take(1, 20)
	change(`mv moved/file-with-a-name-7 .; rm linked; rmdir short 2>/dev/null || rm -r short; ln -s a short; chmod 700 a/b`)
	take(2, 20)
	entries, err := os.ReadFile(dates)
	if err != nil || strings.Count(string(entries), image) != 3 {
		t.Errorf("%s, %v", entries, err)
	}
}

// nextSecond waits: what changes in the second of a dump may be in it or not, and
// is in the next one for certain.
func nextSecond() { time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) }
