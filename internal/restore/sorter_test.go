package restore

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

// TestSorter: in memory and in runs, numbers come in order and are found.
func TestSorter(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{0, 1, 2, 3, 511, 512, 513, 5000} {
		for _, limit := range []int{2, 7, 512, 1 << 20} {
			s := &sorter{limit: limit}
			var want []uint64
			for range n {
				v := r.Uint64N(uint64(2*n)) << 20
				want = append(want, v)
				if err := s.add(v); err != nil {
					t.Fatal(err)
				}
			}
			slices.Sort(want)
			all, err := s.sorted()
			s.close()
			if err != nil {
				t.Fatal(err)
			}
			if all.len() != int64(n) {
				t.Errorf("%d of %d numbers", all.len(), n)
			}
			for range 20 {
				from := r.Uint64N(uint64(2*n+2)) << 20
				at, _ := slices.BinarySearch(want, from)
				most := r.IntN(n + 1)
				got := []uint64{}
				err := all.from(from, func(v uint64) bool {
					if len(got) == most {
						return false
					}
					got = append(got, v)
					return true
				})
				if rest := want[at:]; err != nil || !slices.Equal(got, rest[:min(most, len(rest))]) {
					t.Fatalf("%d numbers, %d in memory: %d from %d on, not %d; %v", n, limit, len(got), from, len(rest), err)
				}
			}
			all.close()
		}
	}
}

// TestIndexFails: of an index that cannot be made no temporary file stays open.
func TestIndexFails(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which would close it some time
	n := namesWithin(64)
	defer n.close()
	n.beginDir(2)
	for i := range uint32(8000) {
		if _, err := n.add(entry{ino: 3 + i, kind: 8, name: fmt.Sprint("name", i)}); err != nil {
			t.Fatal(err)
		}
	}
	open := func() (files int) {
		fds, err := filepath.Glob("/proc/self/fd/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			if to, _ := os.Readlink(fd); strings.Contains(to, "varve-restore-") {
				files++
			}
		}
		return files
	}
	before := open()
	if err := n.blob.f.Truncate(n.blob.done / 2); err != nil {
		t.Fatal(err)
	}
	if _, err := n.indexDir(0); err == nil {
		t.Error("names that cannot be read were indexed")
	}
	if err := n.index(); err == nil {
		t.Error("inodes that cannot be read were indexed")
	}
	if after := open(); before != 1 || after != 1 {
		t.Errorf("%d temporary files, then %d", before, after)
	}
}

// len is how many numbers there are.
func (s *sorted) len() int64 { return s.n + int64(len(s.mem)) }

// within runs tests with little memory for names, so that they are in files.
func within(t *testing.T, memory int, tests map[string]func(*testing.T)) {
	testMemory = memory
	defer func() { testMemory = 0 }()
	for name, test := range tests {
		t.Run(name, test)
	}
}

// TestSpilled: with names in files everything is as with names in memory.
func TestSpilled(t *testing.T) {
	for _, memory := range []int{1, 300} {
		within(t, memory, map[string]func(*testing.T){
			"foreign": TestForeign, "paths": TestExtractPaths, "chain": TestChain, "refused": TestChainRefused, "others": TestChainKeepsOthers,
			"nodump": TestNodump, "hostile": TestHostile, "twice": TestNamesTwice,
		})
	}
}

// TestNamesTwice: of names that come again in a directory the first counts, however many
// there are.
func TestNamesTwice(t *testing.T) {
	const n = 300
	a := newTape("ufs2", binary.LittleEndian)
	var all []uint32
	var names []name
	for i := uint32(0); i < n; i++ {
		all = append(all, 2+i)
		if i > 0 {
			names = append(names, name{2 + i, 8, fmt.Sprint("name", i)})
		}
	}
	again := append([]name{}, names[10], names[10], names[200])
	again[0].ino, again[1].ino, again[2].ino = 5, 6, 7
	names = append(names, again...)
	a.begin(all, all)
	a.dir(2, 2, names...)
	for _, ino := range all[1:] {
		a.file(ino, fmt.Sprint("contents of ", ino))
	}
	dir := t.TempDir()
	s, err := do(t, Extract, dir, false, inMemory(a.end()))
	if err != nil || len(s.losses) != 3 || strings.Count(strings.Join(s.losses, "\n"), "twice") != 3 {
		t.Errorf("%v, lost %q", err, s.losses)
	}
	for i, name := range names[:n-1] {
		if got, want := read(t, dir+"/"+name.name), fmt.Sprint("contents of ", 3+i); got != want {
			t.Errorf("%s: %q, not %q", name.name, got, want)
		}
	}
}

// TestMemoryOfNames: what names take does not grow with them, but for directories.
func TestMemoryOfNames(t *testing.T) {
	const names, dirs = 400_000, 400
	live := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := live()
	n := namesWithin(64 << 10)
	defer n.close()
	for d := range uint32(dirs) {
		n.beginDir(2 + d)
		for i := range uint32(names / dirs) {
			e := entry{2 + dirs + d*(names/dirs) + i, 8, fmt.Sprintf("some-file-%08d", i)}
			if d == 0 && i+1 < dirs {
				e = entry{3 + i, 4, fmt.Sprintf("directory-%d", i)}
			}
			if _, err := n.add(e); err != nil {
				t.Fatal(err)
			}
		}
		if err := n.endDir(func(string) { t.Error("twice") }); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.index(); err != nil {
		t.Fatal(err)
	}
	if err := n.connect(func(_ uint32, what string) { t.Error(what) }); err != nil {
		t.Fatal(err)
	}
	if took := int64(live() - before); took > 3<<20 {
		t.Errorf("%d names in %d directories take %d KiB", names, dirs, took>>10)
	}
	places, err := n.links(2 + dirs + names - 1)
	if err != nil || len(places) != 1 {
		t.Fatalf("%d names of the last file, %v", len(places), err)
	}
	if e, _, err := n.entry(places[0]); err != nil || e.name != fmt.Sprintf("some-file-%08d", names/dirs-1) {
		t.Errorf("%+v, %v", e, err)
	}
	runtime.KeepAlive(n)
}
