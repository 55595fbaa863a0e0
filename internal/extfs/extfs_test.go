package extfs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"varve/test/plant"
)

// image makes a file system of a tree without mounting it.
func image(t testing.TB, dir, size string, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.img")
	plant.Run(t, "mke2fs", append(append([]string{"-q", "-F", "-E", "lazy_itable_init=0", "-d", dir}, args...), path, size)...)
	return path
}

// variants are the shapes of file systems that readers must tell apart.
var variants = []struct {
	name, kind string
	big        int // the largest xattr
	args       []string
}{
	{"ext2", "ext2", 600, []string{"-t", "ext2", "-b", "1024"}},
	{"ext2-old", "ext2", 600, []string{"-t", "ext2", "-b", "1024", "-O", "none", "-r", "0"}},
	{"ext2-4k-inode128", "ext2", 3000, []string{"-t", "ext2", "-b", "4096", "-I", "128"}},
	{"ext3", "ext3", 1800, []string{"-t", "ext3", "-b", "2048"}},
	{"ext3-indirect", "ext3", 600, []string{"-t", "ext3", "-b", "1024", "-I", "128"}},
	{"ext4", "ext4", 3000, []string{"-t", "ext4", "-b", "4096"}},
	{"ext4-1k", "ext4", 600, []string{"-t", "ext4", "-b", "1024"}},
	{"inline", "ext4", 3000, []string{"-t", "ext4", "-b", "4096", "-O", "inline_data", "-I", "256"}},
	{"inline-512", "ext4", 3000, []string{"-t", "ext4", "-b", "4096", "-O", "inline_data", "-I", "512"}},
	{"64bit-off", "ext4", 3000, []string{"-t", "ext4", "-b", "4096", "-O", "^64bit,^metadata_csum,uninit_bg"}},
	{"meta_bg", "ext4", 600, []string{"-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode,^flex_bg", "-g", "1024", "-N", "4096"}},
	{"meta_bg-32", "ext4", 600, []string{"-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode,^64bit", "-g", "512", "-N", "4096"}},
	{"sparse_super2", "ext4", 3000, []string{"-t", "ext4", "-b", "4096", "-O", "sparse_super2,^resize_inode", "-g", "2048"}},
	{"bigalloc", "ext4", 3000, []string{"-t", "ext4", "-b", "4096", "-O", "bigalloc", "-C", "16384"}},
	{"ea_inode", "ext4", 60000, []string{"-t", "ext4", "-b", "4096", "-O", "ea_inode"}},
	{"csum_seed", "ext4", 3000, []string{"-t", "ext4", "-b", "4096", "-O", "metadata_csum_seed"}},
	{"orphan_file", "ext4", 3000, []string{"-t", "ext4", "-b", "4096", "-O", "orphan_file,large_dir"}},
	{"quota", "ext4", 0, []string{"-t", "ext4", "-b", "4096", "-O", "quota,project"}}, // not every kernel writes it
	{"no-filetype", "ext4", 3000, []string{"-t", "ext4", "-b", "4096", "-O", "^filetype"}},
	{"no-sparse", "ext2", 600, []string{"-t", "ext2", "-b", "1024", "-O", "^sparse_super,^resize_inode", "-g", "1024"}},
}

// TestVariants: what mke2fs makes, and what the kernel makes in it, reads as the kernel
// reads it.
func TestVariants(t *testing.T) {
	tree := t.TempDir()
	plant.Tree(t, tree)
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			x := image(t, tree, "32M", v.args...)
			if f := judge(t, x); f.Info().Kind != v.kind {
				t.Errorf("kind %s, want %s", f.Info().Kind, v.kind)
			}
			if v.big == 0 {
				return
			}
			dir := mount(t, x, "rw")
			kernel := filepath.Join(dir, "kernel")
			plant.Must(t, os.Mkdir(kernel, 0o755))
			if v.name != "ext2-old" {
				plant.Tree(t, kernel)
				plant.Xattrs(t, kernel, v.big)
			}
			plant.Must(t, os.Mkdir(filepath.Join(kernel, "many"), 0o755))
			for i := range 600 {
				plant.Must(t, os.WriteFile(filepath.Join(kernel, "many", strings.Repeat("m", 30)+string(rune('a'+i%26))+strings.Repeat("i", i/26)), nil, 0o644))
			}
			plant.Unmount(t, dir)
			f := judge(t, x)
			if len(f.Warnings()) > 0 {
				t.Error(f.Warnings())
			}
		})
	}
}
