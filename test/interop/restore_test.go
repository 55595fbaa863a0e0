package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"varve/internal/chain"
	"varve/internal/dump"
	"varve/internal/restore"
	"varve/test/plant"
)

// ours runs restore of an archive in a directory, as the varve program does, and
// returns what it lost.
func ours(t *testing.T, op restore.Op, dir string, archives ...string) (restore.Result, []string) {
	t.Helper()
	var said []string
	o := restore.Options{Op: op, Say: func(m restore.Message) error {
		if m.Loss != nil || m.Difference != nil || m.Damage != nil {
			b, err := json.Marshal(m)
			said = append(said, string(b))
			return err
		}
		return nil
	}}
	root, err := restore.OpenDir(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	o.Root = root
	r, err := restore.Run(context.Background(), restore.Files(archives, nil), o)
	if err != nil {
		t.Fatalf("%v; before that %v", err, said)
	}
	return r, said
}

// whole is ours where nothing may be lost.
func whole(t *testing.T, op restore.Op, dir string, archives ...string) {
	t.Helper()
	if _, said := ours(t, op, dir, archives...); len(said) > 0 {
		t.Errorf("restoring %v: %v", archives, said)
	}
}

// withoutLostFound is a tree without what every ext file system has.
func withoutLostFound(tree map[string]thing) map[string]thing {
	delete(tree, "/lost+found")
	return tree
}

var subseconds = regexp.MustCompile(`(T\d\d:\d\d:\d\d)\.\d{6}`)

// seconds cuts the times of a tree: Debian's dump does.
func seconds(tree map[string]thing) map[string]thing {
	for path, x := range tree {
		x.attrs = subseconds.ReplaceAllString(x.attrs, "$1.000000")
		tree[path] = x
	}
	return withoutLostFound(tree)
}

// debianDump dumps a device with Debian's dump.
func debianDump(t *testing.T, device, archive string, args ...string) {
	t.Helper()
	c := exec.Command("dump", append(args, "-f", archive, device)...)
	c.Env = append(os.Environ(), "LC_ALL=C")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("dump %v: %v\n%s", args, err, out)
	}
}

// onLoop makes an ext4 on a loop device, and mounts it for work; between the calls of
// work's mount it is not mounted.
func onLoop(t *testing.T) (device string, mounted func(work func(dir string))) {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	do(t, "mke2fs", "-q", "-t", "ext4", "-I", "256", "-b", "4096", image, "96M")
	device = strings.TrimSpace(do(t, "losetup", "-f", "--show", image))
	t.Cleanup(func() { do(t, "losetup", "-d", device) })
	return device, func(work func(dir string)) {
		t.Helper()
		dir := t.TempDir()
		do(t, "mount", device, dir)
		defer plant.Unmount(t, dir)
		work(dir)
	}
}

// TestRestoreDebian: what Debian's dump writes, in every form, varve restore makes a
// tree of: everything but what is wrong in the archive already.
func TestRestoreDebian(t *testing.T) {
	device, mounted := onLoop(t)
	var want map[string]thing
	mounted(func(dir string) {
		plant.Tree(t, dir)
		plant.Xattrs(t, dir, 2000)
		for _, wrong := range []string{"block", "wide", "minor", "old", "socket", "big"} { // see docs/dump.md; big has a test of its own
			plant.Must(t, os.Remove(filepath.Join(dir, wrong)))
		}
	})
	mounted(func(dir string) {
		want = seconds(diskTree(t, dir, true))
	})
	for name, args := range map[string][]string{
		"plain": {"-0"}, "zlib": {"-0", "-z9"}, "bzip2": {"-0", "-j"}, "large blocks": {"-0", "-b", "64"}, "zlib in large blocks": {"-0", "-z", "-b", "512"},
		"volumes": {"-0", "-M", "-B", "300"}, "volumes of zlib": {"-0", "-z", "-M", "-B", "150"},
	} {
		t.Run(name, func(t *testing.T) {
			archive := filepath.Join(t.TempDir(), "archive")
			debianDump(t, device, archive, args...)
			archives := []string{archive}
			if strings.Contains(name, "volumes") {
				archives, _ = filepath.Glob(archive + "0*")
				if len(archives) < 3 {
					t.Fatalf("only %v", archives)
				}
			}
			for _, op := range []restore.Op{restore.Update, restore.Extract} {
				dir := memoryDir(t)
				whole(t, op, dir, archives...)
				got := withoutLostFound(diskTree(t, dir, true))
				if op == restore.Extract {
					got["/"] = want["/"] // -x does not touch it
				}
				same(t, got, want)
				if op == restore.Update {
					whole(t, restore.Compare, dir, archives...)
				}
			}
		})
	}
}

// TestRestoreDebianLarge: a file beyond what 32 bits count, nearly all holes.
func TestRestoreDebianLarge(t *testing.T) {
	device, mounted := onLoop(t)
	mounted(func(dir string) { plant.Sparse(t, filepath.Join(dir, "big"), 5<<30, 3<<30, 1<<31) })
	archive, dir := filepath.Join(t.TempDir(), "archive"), memoryDir(t)
	debianDump(t, device, archive, "-0")
	whole(t, restore.Extract, dir, archive)
	if kib := strings.Fields(do(t, "du", "-k", filepath.Join(dir, "big")))[0]; len(kib) > 3 {
		t.Errorf("a file with 8 KiB of data takes %s KiB", kib)
	}
	f, err := os.Open(filepath.Join(dir, "big"))
	plant.Must(t, err)
	defer f.Close()
	for n, off := range []int64{3 << 30, 1 << 31, 5<<30 - 4096, 4096} {
		want, got := make([]byte, 4096), make([]byte, 4096)
		if n < 2 {
			want = plant.Noise(n+1, 4096)
		}
		_, err := f.ReadAt(got, off)
		plant.Must(t, err)
		if !bytes.Equal(got, want) {
			t.Errorf("other bytes at %d", off)
		}
	}
}

// TestRestoreDebianVolumes: wherever a volume ends, at a header, in data, in a map.
func TestRestoreDebianVolumes(t *testing.T) {
	device, mounted := onLoop(t)
	mounted(func(dir string) {
		for i := range 40 {
			plant.Must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), plant.Noise(i, i*700), 0o644))
		}
	})
	var want map[string]thing
	mounted(func(dir string) { want = seconds(diskTree(t, dir, true)) })
	for size := 20; size < 40; size += 3 {
		archive := filepath.Join(t.TempDir(), "archive")
		debianDump(t, device, archive, "-0", "-M", "-b", "1", "-B", fmt.Sprint(size))
		archives, _ := filepath.Glob(archive + "*")
		dir := memoryDir(t)
		whole(t, restore.Update, dir, archives...)
		same(t, withoutLostFound(diskTree(t, dir, true)), want)
	}
}

// TestRestoreDebianMediumEnds: volumes that end where their medium is full, within a
// block that dump then writes once more, or behind one.
func TestRestoreDebianMediumEnds(t *testing.T) {
	device, mounted := onLoop(t)
	var want map[string]thing
	mounted(func(dir string) {
		plant.Must(t, os.WriteFile(filepath.Join(dir, "large"), plant.Noise(1, 3_000_000), 0o644))
		for i := range 60 {
			plant.Must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), plant.Noise(i, i*700), 0o644))
		}
	})
	mounted(func(dir string) { want = seconds(diskTree(t, dir, true)) })
	for _, kib := range []int{1500, 1508} {
		medium, shelf := t.TempDir(), t.TempDir()
		do(t, "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dk", kib), "tmpfs", medium)
		next := filepath.Join(shelf, "next")
		plant.Must(t, os.WriteFile(next, []byte("#!/bin/sh\nmv "+medium+"/archive* "+shelf+"\n"), 0o755))
		debianDump(t, device, filepath.Join(medium, "archive"), "-0", "-a", "-M", "-F", next)
		do(t, next)
		plant.Unmount(t, medium)
		archives, _ := filepath.Glob(filepath.Join(shelf, "archive*"))
		if i, err := os.Stat(archives[0]); err != nil || len(archives) < 3 || (kib == 1508) != (i.Size()%10240 != 0) {
			t.Fatalf("%v; the first has %d bytes, %v", archives, i.Size(), err)
		}
		dir := memoryDir(t)
		whole(t, restore.Update, dir, archives...)
		same(t, withoutLostFound(diskTree(t, dir, true)), want)
	}
}

// TestRestoreDebianLevels: a chain of Debian's dump, through everything that can
// happen between levels; and Debian's restore agrees about the end.
func TestRestoreDebianLevels(t *testing.T) {
	device, mounted := onLoop(t)
	dates := filepath.Join(t.TempDir(), "dumpdates")
	dir, share := memoryDir(t), newLake(t)
	share.varve("share", "create", "home")
	level := 0
	take := func(script string) {
		t.Helper()
		mounted(func(m string) { do(t, "sh", "-ec", "cd "+m+"\n"+script) })
		nextSecond()
		archive := filepath.Join(t.TempDir(), "archive")
		debianDump(t, device, archive, fmt.Sprintf("-%du", level), "-D", dates)
		level++
		whole(t, restore.Update, dir, archive)
		whole(t, restore.Compare, dir, archive)
		share.varve("restore", "-rf", archive, "--to", "home:/")
		share.varve("restore", "-Cf", archive, "--to", "home:/")
		mounted(func(m string) {
			same(t, withoutLostFound(diskTree(t, dir, true)), seconds(diskTree(t, m, true)))
		})
		nextSecond()
	}
	take(`mkdir -p a/b/c d e/f swap2; echo 1 > a/1; echo 2 > a/b/2; echo 3 > a/b/c/3; ln a/1 d/1l; echo keep > e/f/k
		echo one > swap1; echo in > swap2/in; ln -s x e/l; echo mv > d/mv; for i in 1 2 3 4 5 6 7 8 9; do echo $i > e/n$i; done`)
	take(`mv a/b e/B; mv d/mv e/mvd; rm e/n1 e/n2; echo new > e/n1; rm a/1; mv swap1 t; mv swap2 swap1; mv t swap2
		ln e/f/k a/k2; rm e/l; mkdir e/l; echo x > e/l/x; chmod 700 e/f; mv e/n3 e/n4`)
	take(`rm -r e/B e/l; echo back > e/l; mkdir a/b; echo nb > a/b/2; mv d e/d2; mv e E; rm a/k2`)
	take(`for i in 1 2 3 4 5 6; do mkdir new$i; echo $i > new$i/f; done; rm -r E; ln -s nowhere E; mknod a/b/null c 1 3; mkfifo p`)
}

// TestRestoreOwnChains: whatever is done to a share between the levels of a chain,
// varve restore ends with what the share is: times of directories and extended
// attributes too.
func TestRestoreOwnChains(t *testing.T) {
	for round, profile := range []dump.Profile{dump.Portable, dump.Linux, dump.Portable} {
		seed := uint64(time.Now().UnixNano()) + uint64(round)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newArchivist(t)
			w.variety()
			r := &randomOps{w, rand.New(rand.NewPCG(seed, 2))}
			dir := memoryDir(t)
			for level := range 6 {
				for range 60 {
					r.step()
				}
				w.tick(time.Second)
				more := w.fineShare()
				file, _ := w.dump(chain.Request{Level: level, Update: true, Profile: profile})
				whole(t, restore.Update, dir, file)
				sameFine(t, unread(fine(t, dir)), unread(more)) // we read it after each level
				want := w.shareTree(true)
				got := diskTree(t, dir, true)
				if profile == dump.Linux { // which has none on directories
					for path, x := range want {
						if strings.HasPrefix(x.attrs, "40") {
							x.attrs = noXattrs(x.attrs)
							want[path] = x
						}
					}
				}
				same(t, got, want)
				if t.Failed() {
					t.Fatalf("level %d", level)
				}
				whole(t, restore.Compare, dir, file)
			}
		})
	}
}

// TestRestoreImages: images of every kind, through varve dump and varve restore, by the
// program; and into a share.
func TestRestoreImages(t *testing.T) {
	tree := sampleTree(t)
	l := newLake(t)
	for n, i := range images {
		if i.name == "ext4 inline data" { // where mke2fs loses the hole at the end
			continue
		}
		t.Run(i.name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			i.make(t, image, tree)
			archive, _ := dumpImage(t, image, "-0")
			dir := memoryDir(t)
			l.varve("restore", "-rf", archive, "--to", dir)
			want := diskTree(t, tree, false)
			wholeSeconds(want)
			same(t, restoredIn(t, dir), want)
			share := fmt.Sprintf("share%d", n)
			l.varve("share", "create", share)
			l.varve("restore", "-xf", archive, "--to", share+":/")
			l.varve("restore", "-Cf", archive, "--to", share+":/")
			l.refuses(2, "", "restore", "-Cf", archive, "--to", share+":/a")
		})
	}
}

// TestRestorePipe: an archive that comes through a pipe, and one whose sender breaks off.
func TestRestorePipe(t *testing.T) {
	w := newArchivist(t)
	w.variety()
	file, _ := w.dump(chain.Request{})
	b, err := os.ReadFile(file)
	plant.Must(t, err)
	l := newLake(t)
	l.varve("share", "create", "home")
	run := func(in []byte, args ...string) error {
		c := exec.Command(program, append([]string{"restore"}, args...)...)
		c.Env = append(os.Environ(), "VARVE_POOL="+l.Dir)
		c.Stdin = bytes.NewReader(in)
		out, err := c.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	dir := memoryDir(t)
	plant.Must(t, run(b, "-rf", "-", "--to", dir))
	plant.Must(t, run(b, "-rf", "-", "--to", "home:/"))
	same(t, diskTree(t, dir, true), w.shareTree(true))
	l.varve("restore", "-Cf", file, "--to", "home:/")
	for _, to := range []string{memoryDir(t), "home:/dir"} {
		err := run(b[:len(b)/2], "-xf", "-", "--to", to)
		if err == nil || !strings.Contains(err.Error(), "exit status 16") || !strings.Contains(err.Error(), "without an end record") {
			t.Errorf("half an archive to %s: %v", to, err)
		}
		// What is there is whole: nothing stays that was in the making.
		c := exec.Command(program, "restore", "-Cf", file, "--to", to)
		c.Env = append(os.Environ(), "VARVE_POOL="+l.Dir)
		out, err := c.Output()
		if said := string(out); err == nil || !strings.Contains(said, "is not there") || strings.Contains(said, "size ") || strings.Contains(said, "contents") {
			t.Errorf("half an archive in %s: %v\n%s", to, err, said)
		}
		err = run(b[:len(b)/2], "-xyf", "-", "--to", to)
		if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "missing in the archive") {
			t.Errorf("half an archive to %s, with -y: %v", to, err)
		}
	}
}
