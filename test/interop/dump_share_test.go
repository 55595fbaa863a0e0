package interop

import (
	"slices"
	"strings"
	"testing"
	"time"

	"varve/internal/chain"
	"varve/internal/dump"
	"varve/internal/fs"
	"varve/internal/inode"
)

// variety makes one of everything that a share can hold and Debian's restore knows.
func (w *archivist) variety() {
	w.mkdir("/dir", 0o755)
	w.mkdir("/dir/below", 0o700)
	w.mkdir("/empty", 0o1777)
	w.file("/zero", "")
	w.file("/small", "some bytes")
	w.file("/dir/block", strings.Repeat("x", 1024))
	w.file("/dir/below/large", strings.Repeat("0123456789abcde\n", 100_000)) // 1.6 MB: three headers
	w.file("/sparse", "begin")
	w.write(w.at("/sparse"), "middle", 700_000)
	size := uint64(3_000_001)
	w.set("/sparse", fs.SetAttr{Size: &size}) // ends in a hole
	w.file("/allhole", "")
	w.set("/allhole", fs.SetAttr{Size: &size})
	w.link("/small", "/dir/linked")
	w.symlink("/short", "small")
	w.symlink("/long", strings.Repeat("t/", 1000))
	w.mknod("/fifo", inode.ModeFIFO, 0, 0)
	w.mknod("/null", inode.ModeChar, 1, 3)
	w.mknod("/wide", inode.ModeBlock, 259, 300)
	uid, gid, mode := uint32(100_000), uint32(70_000), uint32(0o4751)
	w.set("/dir/block", fs.SetAttr{UID: &uid, GID: &gid})
	w.set("/dir/block", fs.SetAttr{Mode: &mode})
	w.xattr("/small", "user.color", "blue")
	w.xattr("/zero", "user.note", strings.Repeat("n", 3000))
	w.xattr("/dir/below/large", "user.a", "b")
	w.xattr("/dir", "user.of", "a directory")
	w.file("/dir/"+strings.Repeat("n", 250), "a long name")
	w.mkdir("/many", 0o755)
	for i := range 300 {
		w.file("/many/"+strings.Repeat("m", i%60)+string(rune('a'+i%26))+string(rune('a'+i/26)), "x")
	}
}

func TestDumpShareLevel0(t *testing.T) {
	for name, profile := range map[string]dump.Profile{"portable": dump.Portable, "linux": dump.Linux} {
		t.Run(name, func(t *testing.T) {
			w := newArchivist(t)
			w.variety()
			w.tick(time.Second)
			file, _ := w.dump(chain.Request{Profile: profile})
			if list := debian(t, t.TempDir(), "-tf", file); !strings.Contains(list, "./dir/below/large") {
				t.Errorf("restore -t lists\n%s", list)
			}
			dir := memoryDir(t)
			debian(t, dir, "-rf", file)
			want := w.shareTree(false)
			for path, x := range want { // see docs/dump.md for what Debian's restore makes of extended attributes
				if profile == dump.Portable || path == "/dir" {
					x.attrs = noXattrs(x.attrs)
					want[path] = x
				}
			}
			same(t, diskTree(t, dir, false), want)
			if said := debian(t, dir, "-C", "-D", dir, "-f", file); strings.Contains(said, "differ") {
				t.Errorf("restore -C: %s", said)
			}
		})
	}
}

func noXattrs(attrs string) string {
	words := strings.Fields(attrs)
	words = slices.DeleteFunc(words, func(w string) bool { return strings.Contains(w, "=") })
	return strings.Join(words, " ")
}
