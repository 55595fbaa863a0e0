package nbd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// mapDisk is 1 MiB with data in blocks 0 to 2 and in the last; 1 and 2 are new.
func mapDisk(t *testing.T) string {
	d := newMemDisk("d", 1<<20)
	d.marked = map[string][]bool{"dawn": make([]bool, 256)}
	for _, b := range []int{0, 1, 2, 255} {
		d.stored[b] = true
		copy(d.data[b*blockSize:], pattern(blockSize, uint64(b)))
	}
	d.marked["dawn"][1], d.marked["dawn"][2] = true, true
	_, addr := startServer(t, &memBackend{disks: []*memDisk{d}}, Options{})
	return "nbd://" + addr + "/d"
}

type extent struct{ Offset, Length, Type uint64 }

func nbdMap(t *testing.T, context, url string) (list []extent) {
	t.Helper()
	out := run(t, "nbdinfo", "--json", "--map="+context, url)
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return list
}

func TestNbdinfoMap(t *testing.T) {
	url := mapDisk(t)
	for context, want := range map[string][]extent{
		"base:allocation":    {{0, 12288, 0}, {12288, 1<<20 - 16384, 3}, {1<<20 - 4096, 4096, 0}},
		"varve:changed@dawn": {{0, 4096, 0}, {4096, 8192, 1}, {12288, 1<<20 - 12288, 0}},
	} {
		if got := nbdMap(t, context, url); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("nbdinfo --map=%s: %v, want %v", context, got, want)
		}
	}
	for _, list := range []string{run(t, "nbdinfo", "--list", url), run(t, "nbdinfo", url)} {
		if !strings.Contains(list, "base:allocation") || !strings.Contains(list, "varve:changed@") {
			t.Errorf("nbdinfo: %s", list)
		}
	}
}

func TestQemuImgMap(t *testing.T) {
	url := mapDisk(t)
	var got []struct {
		Start, Length uint64
		Data, Zero    bool
	}
	out := run(t, "qemu-img", "map", "--output=json", "-f", "raw", url)
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	want := "[{0 12288 true false} {12288 1032192 false true} {1044480 4096 true false}]"
	if fmt.Sprint(got) != want {
		t.Errorf("qemu-img map: %v, want %s", got, want)
	}
}

// Holes stay holes through nbdcopy, out of the server and into it.
func TestNbdcopySparse(t *testing.T) {
	from := newMemDisk("from", 64<<20)
	to := newMemDisk("to", 64<<20)
	for i, off := range []int{0, 5 << 20, 40 << 20, 64<<20 - 128<<10} {
		copy(from.data[off:], pattern(128<<10, uint64(i)))
		for b := range 32 {
			from.stored[off/blockSize+b] = true
		}
	}
	_, addr := startServer(t, &memBackend{disks: []*memDisk{from, to}}, Options{})
	file := filepath.Join(t.TempDir(), "copy")
	run(t, "nbdcopy", "nbd://"+addr+"/from", file)
	var st syscall.Stat_t
	if err := syscall.Stat(file, &st); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, from.data) {
		t.Errorf("the copy is not the disk: %v", err)
	}
	if used := st.Blocks * 512; used > 4*128<<10+64<<10 {
		t.Errorf("the copy of 512 KiB of data occupies %d bytes", used)
	}
	run(t, "nbdcopy", "--destination-is-zero", "nbd://"+addr+"/from", "nbd://"+addr+"/to")
	to.mu.RLock()
	defer to.mu.RUnlock()
	if !bytes.Equal(to.data, from.data) || fmt.Sprint(to.stored) != fmt.Sprint(from.stored) {
		t.Error("from disk to disk, holes or data were lost")
	}
}

// libnbd sees both contexts at once, and every piece of a long map.
func TestLibnbdContexts(t *testing.T) {
	url := mapDisk(t)
	out := run(t, "/usr/bin/python3", "-c", `
import nbd, errno
h = nbd.NBD()
h.set_opt_mode(True)
h.connect_uri("`+url+`")
names = []
for query in "varve:", "base:":
    h.add_meta_context(query)
h.opt_list_meta_context(names.append)
print(names)
h.clear_meta_contexts()
for n in names + ["varve:changed@midnight"]:
    h.add_meta_context(n)
h.opt_go()
print([h.can_meta_context(n) for n in names + ["varve:changed@midnight"]])
def show(context, off, pieces, err):
    print(context, off, pieces)
h.block_status(h.get_size(), 0, show)
h.block_status(10000, 5000, show)
h.block_status(10000, 5000, show, nbd.CMD_FLAG_REQ_ONE)
h.set_strict_mode(0)
for n, off in ((0, 0), (4096, 1 << 20)):
    try:
        h.block_status(n, off, show)
    except nbd.Error as e:
        print(errno.errorcode[e.errnum])
h.shutdown()
`)
	want := `['varve:changed@dawn', 'base:allocation']
[True, True, False]
varve:changed@dawn 0 [4096, 0, 8192, 1, 1036288, 0]
base:allocation 0 [12288, 0, 1032192, 3, 4096, 0]
varve:changed@dawn 5000 [7288, 1, 2712, 0]
base:allocation 5000 [7288, 0, 2712, 3]
varve:changed@dawn 5000 [7288, 1]
base:allocation 5000 [7288, 0]
EINVAL
EINVAL
`
	if out != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
}
