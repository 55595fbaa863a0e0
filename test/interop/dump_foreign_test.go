package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"varve/internal/restore"
	"varve/test/plant"
)

// worlds are file systems that the kernel fills, with what neither mke2fs nor makefs
// makes: extended attributes, access control lists, unwritten extents, holes.
var worlds = []struct {
	name    string
	big     int // bytes of the largest extended attribute
	args    []string
	options string
}{
	{"ext2", 600, []string{"-t", "ext2", "-b", "1024"}, ""},
	{"ext3", 3000, []string{"-t", "ext3", "-b", "4096"}, ""},
	{"ext4", 3000, []string{"-t", "ext4", "-b", "4096"}, ""},
	{"ext4 inline data", 3000, []string{"-t", "ext4", "-b", "4096", "-O", "inline_data", "-I", "256"}, ""},
	{"ext4 ea_inode", 50000, []string{"-t", "ext4", "-b", "4096", "-O", "ea_inode"}, ""},
	{"ext4 1k 32bit", 600, []string{"-t", "ext4", "-b", "1024", "-O", "^64bit,^metadata_csum,uninit_bg"}, ""},
	{"ext4 dirty", 3000, []string{"-t", "ext4", "-b", "4096"}, "commit=300"},
}

// growWorld fills a file system of a kind, and returns its image and what is in it. A
// dirty one is taken from under the kernel.
func growWorld(t *testing.T, n int) (image string, want map[string]thing, more map[string]string) {
	t.Helper()
	w := worlds[n]
	image = filepath.Join(t.TempDir(), "image")
	do(t, "mke2fs", append(append([]string{"-q", "-m", "0"}, w.args...), image, "48M")...)
	dir := t.TempDir()
	do(t, "mount", "-o", "loop,noatime,"+w.options, image, dir)
	defer exec.Command("umount", dir).Run()
	plant.Tree(t, dir)
	plant.Xattrs(t, dir, w.big)
	f, err := os.Create(filepath.Join(dir, "unwritten"))
	plant.Must(t, err)
	if err := unix.Fallocate(int(f.Fd()), 0, 0, 300_000); err != nil && !strings.HasPrefix(w.args[1], "ext2") && !strings.HasPrefix(w.args[1], "ext3") {
		t.Fatal(err)
	}
	plant.Must(t, f.Close())
	for _, large := range []string{"big", "empty"} { // too many zeros to compare
		plant.Must(t, os.Remove(filepath.Join(dir, large)))
	}
	do(t, "sync", "-f", dir)
	want, more = withoutLostFound(diskTree(t, dir, true)), fine(t, dir)
	if before, _, ok := strings.Cut(more["/unwritten"], " data"); ok {
		more["/unwritten"] = before + " data -1--1" // allocated, which the kernel calls data; in an archive a hole
	}
	if w.options != "" {
		torn := image + ".torn"
		copyFile(t, image, torn)
		image = torn
	}
	plant.Unmount(t, dir)
	return image, want, more
}

// TestDumpWorlds: everything that an ext file system can hold comes back: through varve
// restore all of it, through Debian's what it knows.
func TestDumpWorlds(t *testing.T) {
	for n, w := range worlds {
		t.Run(w.name, func(t *testing.T) {
			image, want, more := growWorld(t, n)
			for _, profile := range []string{"portable", "linux"} {
				if profile == "linux" && w.big > 4096 {
					continue
				}
				archive, _ := dumpImage(t, image, "-0", "--format", profile)
				target := filepath.Join(t.TempDir(), "target")
				do(t, "mke2fs", "-q", "-t", "ext4", "-O", "ea_inode", "-b", "4096", "-I", "256", target, "48M")
				inMount(t, target, func(dir string) {
					whole(t, restore.Update, dir, archive)
					sameFine(t, fine(t, dir), more)
					got := withoutLostFound(diskTree(t, dir, true))
					if profile == "linux" { // which has no extended attributes of directories
						bare(got, want, "/", "/deep", "/short")
					}
					same(t, got, want)
				})
				debianOf(t, archive, want, profile == "linux")
			}
		})
	}
}

// bare takes the extended attributes of directories from got's twin in want.
func bare(got, want map[string]thing, paths ...string) {
	for _, p := range paths {
		got[p] = want[p]
	}
}

// debianOf compares what Debian's restore makes of an archive: contents, types, owners,
// and with the linux profile the extended attributes of files. Its own faults are left
// out: times before 1970, and a device number with the highest bit set.
func debianOf(t *testing.T, archive string, want map[string]thing, xattrs bool) {
	t.Helper()
	target := filepath.Join(t.TempDir(), "target")
	do(t, "mke2fs", "-q", "-t", "ext4", "-b", "4096", "-I", "256", target, "48M")
	inMount(t, target, func(dir string) {
		debian(t, dir, "-rf", archive)
		debian(t, dir, "-tf", archive)
		got := withoutLostFound(diskTree(t, dir, true))
		got["/wide"] = want["/wide"]
		for path, w := range want {
			g := got[path]
			if g.data != w.data {
				t.Errorf("%s: %d bytes (%.30q), not %d (%.30q)", path, len(g.data), g.data, len(w.data), w.data)
			}
			dir := strings.HasPrefix(w.attrs, "4") // which get no extended attributes
			ga, wa := plain(g.attrs, xattrs && !dir), plain(w.attrs, xattrs && !dir)
			if path == "/old" || path == "/" { // into which it writes its table
				ga, wa = subseconds.ReplaceAllString(ga, "T"), subseconds.ReplaceAllString(wa, "T")
				ga, wa = dates.ReplaceAllString(ga, ""), dates.ReplaceAllString(wa, "")
			}
			if ga != wa {
				t.Errorf("%s: %s, not %s", path, ga, wa)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d objects, not %d", len(got), len(want))
		}
	})
}

// dates are those of times whose end was cut off.
var dates = regexp.MustCompile(`\S*-\d\d-\d\dT`)

// plain cuts the times of attributes to microseconds and, unless wanted, extended
// attributes.
func plain(attrs string, xattrs bool) string {
	var keep []string
	for _, word := range strings.Fields(attrs) {
		if !xattrs && strings.Contains(word, "=") {
			continue
		}
		keep = append(keep, word)
	}
	return fmt.Sprint(keep)
}
