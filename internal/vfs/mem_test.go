package vfs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"varve/internal/fail"
	"varve/internal/vfs"
)

const sector = 512

// sectorModel knows what each sector of a file may hold after a crash: what
// was durable, or any later version.
type sectorModel struct {
	now     []byte           // as processes see it
	allowed map[int][][]byte // by sector; the first is the durable one
	minSize int
	maxSize int
}

func (m *sectorModel) versions(s int) [][]byte {
	if v := m.allowed[s]; v != nil {
		return v
	}
	return [][]byte{make([]byte, sector)}
}

func (m *sectorModel) content(s int) []byte {
	b := make([]byte, sector)
	if s*sector < len(m.now) {
		copy(b, m.now[s*sector:])
	}
	return b
}

func (m *sectorModel) write(p []byte, off int) {
	m.now = append(m.now, make([]byte, max(0, off+len(p)-len(m.now)))...)
	copy(m.now[off:], p)
	m.touch(off, len(p))
}

// touch notes the present content of a range as possible.
func (m *sectorModel) touch(off, n int) {
	for s := off / sector; s*sector < off+n; s++ {
		m.allowed[s] = append(slices.Clip(m.versions(s)), m.content(s))
	}
	m.minSize, m.maxSize = min(m.minSize, len(m.now)), max(m.maxSize, len(m.now))
}

// settle notes a range as durable.
func (m *sectorModel) settle(off, n int) {
	for s := off / sector; s*sector < off+n; s++ {
		m.allowed[s] = [][]byte{m.content(s)}
	}
	m.minSize = max(m.minSize, off+n)
	m.maxSize = max(m.minSize, m.maxSize)
}

func (m *sectorModel) sync() {
	m.settle(0, len(m.now))
	for s := range m.allowed {
		m.allowed[s] = [][]byte{m.content(s)}
	}
	m.minSize, m.maxSize = len(m.now), len(m.now)
}

// step does the same random thing to a file and to its model.
func (m *sectorModel) step(t *testing.T, rng *rand.Rand, f vfs.File) {
	off, n := rng.IntN(20_000), 1+rng.IntN(9000)
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	switch k := rng.IntN(20); {
	case k < 10:
		_, err := f.WriteAt(p, int64(off))
		check(t, err)
		m.write(p, off)
	case k < 14:
		check(t, f.WriteDurableAt(p, int64(off)))
		m.write(p, off)
		m.settle(off, n)
	case k < 16:
		check(t, f.Sync())
		m.sync()
	case k < 17:
		check(t, f.Allocate(int64(off), int64(n)))
		m.now = append(m.now, make([]byte, max(0, off+n-len(m.now)))...)
		m.maxSize = max(m.maxSize, len(m.now))
	case k < 18:
		check(t, f.PunchHole(int64(off), int64(n)))
		if end := min(off+n, len(m.now)); off < end {
			clear(m.now[off:end])
			m.touch(off, end-off)
		}
	default:
		check(t, f.Truncate(int64(off)))
		before := len(m.now)
		if off < before {
			m.now = m.now[:off:off]
			m.touch(off, before-off)
		} else {
			m.now = append(m.now, make([]byte, off-before)...)
			m.touch(before, 0)
		}
	}
}

// outcome counts what crashes did to unsynced sectors and sizes.
type outcome struct{ lost, kept, between, shrunk, grown int }

func (m *sectorModel) verify(t *testing.T, f vfs.File, o *outcome) {
	t.Helper()
	size, err := f.Size()
	check(t, err)
	if size < int64(m.minSize) || size > int64(m.maxSize) {
		t.Fatalf("size %d, not from %d to %d", size, m.minSize, m.maxSize)
	}
	if m.minSize < m.maxSize {
		switch size {
		case int64(m.minSize):
			o.shrunk++
		case int64(m.maxSize):
			o.grown++
		default:
			o.between++
		}
	}
	check(t, f.Truncate(size+5000)) // what was cut off must not show again
	got := make([]byte, size+5000)
	_, err = f.ReadAt(got, 0)
	check(t, err)
	if len(bytes.Trim(got[size:], "\x00")) > 0 {
		t.Fatalf("old bytes beyond the end of %d", size)
	}
	got = got[:size]
	for s := 0; s*sector < len(got); s++ {
		have := got[s*sector : min(len(got), (s+1)*sector)]
		versions := m.versions(s)
		at := slices.IndexFunc(versions, func(v []byte) bool { return bytes.Equal(v[:len(have)], have) })
		if at < 0 {
			t.Fatalf("sector %d holds none of its %d versions", s, len(versions))
		}
		if len(versions) > 1 && at == 0 {
			o.lost++
		} else if len(versions) > 1 {
			o.kept++
		}
	}
}

func TestMemCrashKeepsSectors(t *testing.T) {
	var o outcome
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 0))
		disk := vfs.NewMem(seed)
		f := openIn(t, disk, "/f")
		check(t, disk.SyncDir("/"))
		model := &sectorModel{allowed: map[int][][]byte{}}
		for range 25 {
			model.step(t, rng, f)
			if rng.IntN(3) == 0 {
				crashed := disk.Crash(rng)
				model.verify(t, openIn(t, crashed, "/f"), &o)
			}
		}
		whole := make([]byte, len(model.now))
		if n, err := f.ReadAt(whole, 0); n != len(whole) || err != nil || !bytes.Equal(whole, model.now) {
			t.Fatalf("seed %d: crashes changed the original: %d, %v", seed, n, err)
		}
	}
	if o.lost == 0 || o.kept == 0 || o.between == 0 || o.shrunk == 0 || o.grown == 0 {
		t.Errorf("crashes are too kind: %+v", o)
	}
	t.Logf("%+v", o)
}

// A durable write says nothing about the other writes of its file.
func TestMemDurableWriteIsAlone(t *testing.T) {
	lost := 0
	for seed := range uint64(50) {
		disk := vfs.NewMem(seed)
		f := openIn(t, disk, "/f")
		check(t, disk.SyncDir("/"))
		check(t, f.Truncate(8192))
		check(t, f.Sync())
		_, err := f.WriteAt([]byte("u"), 0)
		check(t, err)
		check(t, f.WriteDurableAt([]byte("d"), 4096))
		p := make([]byte, 4097)
		_, err = openIn(t, disk.Crash(nil), "/f").ReadAt(p, 0)
		check(t, err)
		if p[4096] != 'd' {
			t.Fatalf("seed %d: the durable write is lost", seed)
		}
		if p[0] == 0 {
			lost++
		}
	}
	if lost == 0 || lost == 50 {
		t.Errorf("the other write was lost %d times of 50", lost)
	}
}

// Writes may survive in another order than they were made, and in part.
func TestMemCrashReordersAndTears(t *testing.T) {
	disk := vfs.NewMem(1)
	f := openIn(t, disk, "/f")
	check(t, f.Truncate(16*4096))
	check(t, f.Sync())
	check(t, disk.SyncDir("/"))
	for i := range byte(16) {
		_, err := f.WriteAt(bytes.Repeat([]byte{i + 1}, 4096), int64(i)*4096)
		check(t, err)
	}
	var none, all, prefix, reordered, torn int
	for seed := range uint64(300) {
		g := openIn(t, disk.Crash(rand.New(rand.NewPCG(seed, 1))), "/f")
		p := make([]byte, 16*4096)
		_, err := g.ReadAt(p, 0)
		check(t, err)
		var state []byte // of each write: 0 lost, 1 torn, 2 kept
		for i := range 16 {
			lost := bytes.Count(p[i*4096:][:4096], []byte{0})
			switch lost {
			case 0:
				state = append(state, 2)
			case 4096:
				state = append(state, 0)
			default:
				state = append(state, 1)
				torn++
			}
		}
		switch {
		case !bytes.ContainsAny(state, "\x01\x02"):
			none++
		case !bytes.ContainsAny(state, "\x00\x01"):
			all++
		case slices.IsSortedFunc(state, func(a, b byte) int { return int(b) - int(a) }):
			prefix++
		default:
			reordered++
		}
	}
	t.Logf("none %d, all %d, prefix %d, reordered %d, torn writes %d", none, all, prefix, reordered, torn)
	if none < 10 || all < 10 || prefix < 10 || reordered < 10 || torn < 10 {
		t.Error("crashes lack variety")
	}
}

func TestMemCrashIsDeterministic(t *testing.T) {
	fingerprint := func() string {
		disk := vfs.NewMem(7)
		for i := range 5 {
			f := openIn(t, disk, fmt.Sprintf("/%d", i))
			_, err := f.WriteAt(bytes.Repeat([]byte{1}, 9000), 0)
			check(t, err)
			check(t, disk.Rename(fmt.Sprintf("/%d", i), fmt.Sprintf("/r%d", i)))
			if i == 2 {
				check(t, disk.SyncDir("/"))
			}
		}
		var all []byte
		for _, crashed := range []*vfs.Mem{disk.Crash(nil), disk.Crash(rand.New(rand.NewPCG(1, 2)))} {
			list, err := crashed.ReadDir("/")
			check(t, err)
			for _, e := range list {
				all = append(all, e.Name...)
				all = binary.LittleEndian.AppendUint64(all, uint64(e.Size))
				p := make([]byte, e.Size)
				_, err := openIn(t, crashed, "/"+e.Name).ReadAt(p, 0)
				check(t, err)
				all = append(all, p...)
			}
		}
		return string(all)
	}
	first, second := fingerprint(), fingerprint()
	if first != second {
		t.Error("the same seed gave two different crashes")
	}
}

func TestMemCrashNames(t *testing.T) {
	outcomes := map[string]int{}
	for seed := range uint64(400) {
		disk := vfs.NewMem(seed)
		check(t, disk.MkdirAll("/d", 0o700))
		for _, name := range []string{"/d/old", "/d/gone", "/d/stays"} {
			f := openIn(t, disk, name)
			check(t, f.WriteDurableAt([]byte(name), 0))
		}
		check(t, disk.SyncDir("/d"))
		check(t, disk.SyncDir("/"))
		check(t, openIn(t, disk, "/d/a").WriteDurableAt([]byte("a"), 0))
		check(t, disk.SyncDir("/d"))
		// What the crash decides:
		check(t, disk.Rename("/d/a", "/d/b"))
		check(t, disk.Rename("/d/b", "/d/c"))
		check(t, disk.Rename("/d/old", "/d/new"))
		check(t, disk.Remove("/d/gone"))
		f := openIn(t, disk, "/d/temp")
		check(t, f.WriteDurableAt([]byte("made"), 0))
		check(t, disk.Rename("/d/temp", "/d/made"))

		list, err := disk.Crash(rand.New(rand.NewPCG(seed, 2))).ReadDir("/d")
		check(t, err)
		var names []string
		for _, e := range list {
			names = append(names, e.Name)
			if e.Size == 0 {
				t.Fatalf("seed %d: %s lost its content, which was durable", seed, e.Name)
			}
		}
		has := func(name string) bool { return slices.Contains(names, name) }
		if has("old") == has("new") || !has("stays") || has("temp") && has("made") {
			t.Fatalf("seed %d: names %q", seed, names)
		}
		at := slices.DeleteFunc([]string{"a", "b", "c"}, func(name string) bool { return !has(name) })
		if len(at) != 1 {
			t.Fatalf("seed %d: the file renamed twice is at %q", seed, at)
		}
		outcomes[fmt.Sprint(names)]++
	}
	if len(outcomes) < 30 {
		t.Errorf("%d of 36 outcomes: %v", len(outcomes), outcomes)
	}
}

func TestMemSyncedNamesSurvive(t *testing.T) {
	for seed := range uint64(50) {
		disk := vfs.NewMem(seed)
		check(t, disk.MkdirAll("/a/b", 0o700))
		check(t, disk.SyncDir("/"))
		check(t, disk.SyncDir("/a"))
		check(t, openIn(t, disk, "/a/x").WriteDurableAt([]byte("x"), 0))
		check(t, openIn(t, disk, "/a/b/x").WriteDurableAt([]byte("replaced"), 0))
		check(t, disk.Rename("/a/x", "/a/b/x"))
		check(t, disk.SyncDir("/a/b")) // between two directories: whole
		check(t, openIn(t, disk, "/a/y").WriteDurableAt([]byte("y"), 0))
		crashed := disk.Crash(rand.New(rand.NewPCG(seed, 3)))
		if _, err := crashed.Stat("/a/x"); !fail.Is(err, fail.NotFound) {
			t.Fatalf("seed %d: the old name is back: %v", seed, err)
		}
		info, err := crashed.Stat("/a/b/x")
		if err != nil || info.Size != 1 {
			t.Fatalf("seed %d: the new name is lost: %+v, %v", seed, info, err)
		}
	}
}

func TestMemCrashAfter(t *testing.T) {
	script := func(disk *vfs.Mem) error {
		f, err := disk.Open("/f", os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(make([]byte, 8192), 0)
		return errors.Join(err, f.Sync(), disk.SyncDir("/"), f.WriteDurableAt([]byte("x"), 0), disk.Rename("/f", "/g"), disk.SyncDir("/"))
	}
	whole := vfs.NewMem(1)
	check(t, script(whole))
	if whole.Ops() != 7 {
		t.Fatalf("%d calls", whole.Ops())
	}
	durable := map[int]string{1: "", 2: "", 3: "", 4: "", 5: "f", 6: "f", 7: "f"}
	for n := 1; n <= whole.Ops(); n++ {
		disk := vfs.NewMem(1)
		disk.CrashAfter(n)
		err := script(disk)
		if !errors.Is(err, vfs.ErrCrashed) || !fail.Is(err, fail.IO) && n == 1 {
			t.Fatalf("call %d: %v", n, err)
		}
		if _, err := disk.Stat("/"); !errors.Is(err, vfs.ErrCrashed) {
			t.Fatalf("a call after the crash: %v", err)
		}
		if disk.Ops() != n {
			t.Errorf("%d calls had effects, want %d", disk.Ops(), n)
		}
		for seed := range uint64(40) {
			crashed := disk.Crash(rand.New(rand.NewPCG(seed, 4)))
			if want := durable[n]; want != "" {
				_, errF := crashed.Stat("/f")
				_, errG := crashed.Stat("/g")
				if (errF == nil) == (errG == nil) || n < 6 && errG == nil {
					t.Fatalf("crash in call %d: /f %v, /g %v", n, errF, errG)
				}
			}
			check(t, script(crashed)) // it serves again
		}
	}
}

func TestMemKillKeepsWhatIsNotDurable(t *testing.T) {
	disk := vfs.NewMem(1)
	f := openIn(t, disk, "/f")
	_, err := f.WriteAt([]byte("not durable"), 0)
	check(t, err)
	_, err = disk.Lock("/lock", true, "")
	check(t, err)
	killed := disk.Kill()
	disk.Freeze()
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, vfs.ErrCrashed) {
		t.Errorf("after Freeze: %v", err)
	}
	_, err = killed.Lock("/lock", true, "")
	check(t, err)
	g := openIn(t, killed, "/f")
	lost := func() (lost bool) {
		for seed := range uint64(50) {
			info, err := killed.Crash(rand.New(rand.NewPCG(seed, 5))).Stat("/f")
			lost = lost || err != nil || info.Size == 0
		}
		return lost
	}
	if info, err := killed.Stat("/f"); err != nil || info.Size != 11 || !lost() {
		t.Errorf("after a kill: %+v, %v", info, err)
	}
	check(t, g.Sync())
	check(t, killed.SyncDir("/"))
	if lost() {
		t.Error("what the next process synced was lost")
	}
}

func TestMemSpace(t *testing.T) {
	disk := vfs.NewMem(1)
	disk.SetSpace(10 * 4096)
	f := openIn(t, disk, "/f")
	check(t, f.Allocate(0, 6*4096))
	g := openIn(t, disk, "/g")
	wantKind(t, g.Allocate(0, 5*4096), fail.NoSpace)
	if size, err := g.Size(); size != 0 || err != nil {
		t.Errorf("a failed Allocate left %d bytes, %v", size, err)
	}
	check(t, g.Allocate(0, 4*4096))
	_, err := g.WriteAt(make([]byte, 4*4096), 0)
	check(t, err)
	_, err = g.WriteAt([]byte("x"), 4*4096)
	wantKind(t, err, fail.NoSpace)
	wantKind(t, g.WriteDurableAt([]byte("x"), 4*4096), fail.NoSpace)
	wantFree := func(disk *vfs.Mem, want int64) {
		t.Helper()
		if free, total, err := disk.Space("/"); free != want*4096 || total != 10*4096 || err != nil {
			t.Errorf("free %d of %d, %v; want %d", free, total, err, want*4096)
		}
	}
	wantFree(disk, 0)
	check(t, f.PunchHole(4096, 2*4096))
	wantFree(disk, 2)
	check(t, disk.Remove("/f"))
	wantFree(disk, 6)
	check(t, f.Allocate(0, 6*4096)) // it has no name: not counted
	wantFree(disk, 6)
	check(t, g.Sync())
	check(t, disk.SyncDir("/"))
	wantFree(disk.Crash(nil), 6)
}

// BenchmarkMemCrash measures a crash of a pool of 4 MiB.
func BenchmarkMemCrash(b *testing.B) {
	disk := vfs.NewMem(1)
	for i := range 16 {
		f, err := disk.Open(fmt.Sprintf("/%d", i), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			b.Fatal(err)
		}
		p := bytes.Repeat([]byte{1}, 256<<10)
		if _, err := f.WriteAt(p, 0); err != nil {
			b.Fatal(err)
		}
		if i < 12 {
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
		}
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for b.Loop() {
		disk.Crash(rng)
	}
}
