package restore

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// packed writes as many of the addresses as have room in a header the way Linux does
// since dump 0.4b49, and returns how many: a run of up to 64 takes a byte, one of up to
// 16448 two.
func packed(addr []byte) (out []byte, n int) {
	for n < len(addr) {
		run := 1
		for n+run < len(addr) && addr[n+run] == addr[n] && run < 64*255+63+65 {
			run++
		}
		var b []byte
		if run <= 64 {
			b = []byte{byte(run-1)<<1 | addr[n]}
		} else {
			b = []byte{0x80 | byte((run-65)%64)<<1 | addr[n], byte((run - 65) / 64)}
		}
		if len(out)+len(b) > 512 {
			break
		}
		out, n = append(out, b...), n+run
	}
	return out, n
}

// inRuns writes a file, or what mode says, with such addresses. It returns where its first header is.
func (t *tape) inRuns(ino uint32, mode uint16, data string) int {
	first := len(t.b)
	blocks, addr := t.blocks([]byte(data), true)
	for kind := uint32(2); ; kind = 4 {
		out, n := packed(addr)
		t.header(kind, ino, inode{mode: mode, size: uint64(len(data))}, out, len(out))
		for k, a := range addr[:n] {
			if a != 0 {
				t.record(blocks[k])
			}
		}
		if blocks, addr = blocks[n:], addr[n:]; len(addr) == 0 {
			return first
		}
	}
}

// inRuns is an archive of files in runs: short and long ones, of data and of holes, and
// so many that one header has no room for them.
func inRuns(o binary.ByteOrder) (b []byte, contents map[string]string, at map[string]int) {
	hole := func(n int) string { return strings.Repeat("\x00", n<<10) }
	r := rand.New(rand.NewPCG(1, 2))
	var many strings.Builder
	for range 700 { // runs of 1 and of 2
		many.WriteString(noise((1 + r.IntN(2)) << 10))
		many.WriteString(hole(1 + r.IntN(2)))
	}
	list := []struct{ name, data string }{
		{"one", noise(1)}, {"64", noise(64 << 10)}, {"65", noise(65 << 10)}, {"66", noise(66<<10 - 1)},
		{"long", noise(3<<20 + 5)}, {"sparse", noise(100) + hole(70) + noise(2000) + hole(40000) + noise(900<<10) + hole(65) + noise(7)},
		{"many", many.String() + "end"}, {"hole", hole(200)}, {"last", noise(5000)},
	}
	a := newTape("linux", o)
	contents, at = make(map[string]string), make(map[string]int)
	all, names := []uint32{2}, []name{}
	for n, f := range list {
		all = append(all, uint32(10+n))
		names = append(names, name{uint32(10 + n), 8, f.name})
		contents[f.name] = f.data
	}
	a.begin(all, all)
	a.dir(2, 2, names...)
	for n, f := range list {
		at[f.name] = a.inRuns(uint32(10+n), 0o100644, f.data)
	}
	return a.end(), contents, at
}

// TestRuns: addresses that are runs, in both byte orders.
func TestRuns(t *testing.T) {
	for order, o := range orders {
		b, contents, _ := inRuns(o)
		dir := filepath.Join(t.TempDir(), "root")
		s := must(t, Update, dir, inMemory(b))
		if whole := judge(t, s, dir, contents, order); whole != len(contents) {
			t.Errorf("%s: %d files of %d", order, whole, len(contents))
		}
		must(t, Compare, dir, inMemory(b))
	}
	a := newTape("linux", binary.LittleEndian)
	a.begin([]uint32{2, 3}, []uint32{2, 3})
	a.dir(2, 2, name{3, 8, "f"})
	a.header(2, 3, inode{mode: 0o100644, size: 70 << 10}, []byte{0x81}, 1) // and no second byte
	if _, err := do(t, Extract, t.TempDir(), false, inMemory(a.end())); err == nil {
		t.Error("a run that is cut off was taken")
	}
}

// TestRunsDamaged: records that are missing under a header which announces more than can
// be looked at in one go: the file is named, and has nothing wrong.
func TestRunsDamaged(t *testing.T) {
	b, contents, at := inRuns(binary.LittleEndian)
	for _, c := range []struct {
		file     string
		at, gone int // records
	}{{"long", 1, 1}, {"long", 700, 1}, {"long", 2000, 7}, {"long", 3000, 20}, {"sparse", 100, 3}, {"64", 3, 2}} {
		from := at[c.file] + c.at<<10
		cut := append(append([]byte(nil), b[:from]...), b[from+c.gone<<10:]...)
		dir := filepath.Join(t.TempDir(), "root")
		s, err := do(t, Extract, dir, true, inMemory(cut))
		if err != nil {
			t.Fatal(err)
		}
		judge(t, s, dir, contents, c.file)
		if !s.lostPaths["./"+c.file] || len(s.lostPaths) > 1 {
			t.Errorf("%d records of %s from %d on: lost %v, %q", c.gone, c.file, c.at, s.lostPaths, s.losses)
		}
		got := read(t, filepath.Join(dir, c.file))
		for i := range got {
			if got[i] != 0 && got[i] != contents[c.file][i] {
				t.Fatalf("%d records of %s from %d on: byte %d is wrong", c.gone, c.file, c.at, i)
			}
		}
	}
}

// TestRunsOfNames: a directory of which records are missing, behind what can be looked at
// in one go, keeps the names that came before them, and what is lost is said once.
func TestRunsOfNames(t *testing.T) {
	var list []name
	for n := range 2400 { // two in a record
		list = append(list, name{3, 8, fmt.Sprintf("%0250d", n)})
	}
	a := newTape("linux", binary.LittleEndian)
	a.begin([]uint32{2, 3}, []uint32{2, 3})
	from := a.inRuns(2, 0o40755, string(a.dirData(2, 2, list...))) + 1100<<10
	a.file(3, "data")
	b := a.end()
	s, err := do(t, List, "", true, inMemory(append(b[:from:from], b[from+1024:]...)))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.losses) != 1 || !strings.Contains(s.losses[0], "names in directory 2") {
		t.Errorf("%d losses: %.300q", len(s.losses), s.losses)
	}
	if len(s.names) < 2000 || s.names[2000] != "./"+list[1999].name {
		t.Errorf("%d names", len(s.names))
	}
}

// TestMediumEnds: volumes that ended where their medium did: within a block, which comes
// again, wherever that is, or behind one. The next volume's header is then counted as
// the record behind it.
func TestMediumEnds(t *testing.T) {
	for _, kind := range []string{"linux", "ufs2"} {
		b, contents := sample(kind, binary.LittleEndian)
		tried := 0
		for end := 30 << 10; end < len(b)-20<<10; end += 10<<10*7 + 1024 + 300 {
			for _, end := range []int{end / 10240 * 10240, end, end / 1024 * 1024} {
				a := newTape(kind, binary.LittleEndian)
				a.vol, a.n = 2, int64(end/10240*10)
				a.header(1, 5, inode{}, nil, 3)
				two := append(a.b, b[end/10240*10240:]...)
				dir := t.TempDir()
				s := must(t, Extract, dir, inMemory(b[:end], two))
				if whole := judge(t, s, dir, contents, "ended"); whole != len(contents) {
					t.Fatalf("%s, ended at byte %d: %d files of %d", kind, end, whole, len(contents))
				}
				tried++
			}
		}
		if tried < 30 {
			t.Errorf("only %d ends", tried)
		}
	}
}

// TestHalfMade: what was being made when the work ended goes, and what it was to replace
// stays.
func TestHalfMade(t *testing.T) {
	a := newTape("ufs2", binary.LittleEndian)
	a.begin([]uint32{2, 3, 4}, []uint32{2, 3, 4})
	a.dir(2, 2, name{3, 8, "large"}, name{4, 8, "small"})
	a.file(3, noise(3<<20))
	a.file(4, "small")
	cut := a.end()[:2<<20]
	for _, there := range []string{"", "what was there"} {
		dir := t.TempDir()
		if there != "" {
			if err := os.WriteFile(filepath.Join(dir, "large"), []byte(there), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if s, err := do(t, Extract, dir, false, inMemory(cut)); err == nil || s.Bytes < 1<<20 {
			t.Fatalf("an archive that is cut off: %v after %d bytes", err, s.Bytes)
		}
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case there == "" && len(list) > 0:
			t.Errorf("%v is there", list)
		case there != "" && (len(list) != 1 || read(t, filepath.Join(dir, "large")) != there):
			t.Errorf("%v is there", list)
		}
	}
}

// TestManyHoles: some headers announce 40 GiB of holes, and then that data is missing:
// neither holes nor what was not there take time.
func TestManyHoles(t *testing.T) {
	a := newTape("linux", binary.LittleEndian)
	a.begin([]uint32{2, 3, 4}, []uint32{2, 3, 4})
	a.dir(2, 2, name{3, 8, "holes"}, name{4, 8, "gone"})
	const most = 64*255 + 63 + 65 // records of a run
	var holes []byte
	for range 255 {
		holes = append(holes, 0x80|63<<1, 255)
	}
	data := append(append([]byte(nil), holes...), 0x80|(600-65)%64<<1|1, (600-65)/64) // and 600 of data
	for _, ino := range []uint32{3, 4} {
		i := inode{mode: 0o100600, size: (10*255*most + 600) << 10}
		for kind, n := uint32(2), 0; n < 9; kind, n = 4, n+1 {
			a.header(kind, ino, i, holes, len(holes))
		}
		a.header(4, ino, i, data, len(data))
		for n := range 600 {
			if ino == 3 || n != 550 {
				a.record([]byte("data"))
			}
		}
		if ino == 4 {
			a.n++ // one is missing
		}
	}
	b := a.end()
	dir := filepath.Join(t.TempDir(), "root")
	begun := time.Now()
	s, err := do(t, Update, dir, true, inMemory(b))
	if err != nil || len(s.lostPaths) != 1 || !s.lostPaths["./gone"] {
		t.Fatalf("%v; lost %q, damaged %q", err, s.losses, s.damages)
	}
	if s, err := do(t, Compare, dir, true, inMemory(b)); err != nil || len(s.differences) > 0 {
		t.Errorf("%v, %q", err, s.differences)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	var st unix.Stat_t
	for _, name := range []string{"holes", "gone"} {
		if err := unix.Stat(filepath.Join(dir, name), &st); err != nil || st.Size != (10*255*most+600)<<10 || st.Blocks > 2*600+64 {
			t.Errorf("%s: %d bytes in %d sectors, %v", name, st.Size, st.Blocks, err)
		}
	}
}
