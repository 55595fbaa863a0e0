package segment

import (
	"fmt"
	"testing"

	"varve/internal/segstore"
	"varve/internal/segstore/dir"
	"varve/internal/segstore/mem"
	"varve/internal/vfs"
)

// short is a Record of a usual length.
type short struct{ text [40]byte }

func (r *short) AppendRecord(dst []byte, lsn, frame uint64, now int64) []byte {
	return append(dst, r.text[:]...)
}

func TestHotPathAllocatesNothing(t *testing.T) {
	s := mem.New(16<<20, 0)
	l := create(t, Options{Store: s, PoolID: testPool, MarkerDelay: -1, Reserve: -1})
	p := []Piece{piece(newRand(1), Data, 1)}
	rec := &short{}
	buf := make([]byte, BlockSize)
	var lsn uint64
	steps := map[string]func(){
		"append": func() {
			must(t, l.Admit(1, false))
			var err error
			lsn, err = l.Append(p, rec)
			must(t, err)
		},
		"commit": func() { must(t, l.Commit(lsn)) },
		"read":   func() { must(t, l.ReadAt(p[0].Addr, buf)) },
		"try": func() {
			if ok, err := l.TryReadAt(p[0].Addr, buf); !ok || err != nil {
				t.Fatal(ok, err)
			}
		},
	}
	all := func() {
		for _, name := range []string{"append", "read", "try", "commit", "read", "try"} {
			steps[name]()
		}
	}
	for range 100 {
		all()
	}
	if n := testing.AllocsPerRun(500, all); n >= 1 {
		t.Errorf("%v allocations", n)
	}
	for name, step := range steps {
		if n := testing.AllocsPerRun(500, step); n >= 1 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func benchLog(b *testing.B, s segstore.Store) *Log {
	return create(b, Options{Store: s, PoolID: testPool})
}

func diskStore(b *testing.B) segstore.Store {
	name := b.TempDir() + "/pool"
	must(b, dir.Make(vfs.OS(), name, 64<<20, 2<<30))
	s, err := dir.Open(vfs.OS(), name, dir.Options{})
	must(b, err)
	b.Cleanup(func() { s.Close() })
	return s
}

// BenchmarkAppend appends 4 KiB operations to a log in memory, and gives
// segments back as it leaves them.
func BenchmarkAppend(b *testing.B) {
	s := mem.New(64<<20, 0)
	l := benchLog(b, s)
	p := []Piece{piece(newRand(1), Data, 1)}
	rec := &short{}
	b.SetBytes(BlockSize)
	b.ReportAllocs()
	retired := uint64(0)
	for i := 0; b.Loop(); i++ {
		must(b, l.Admit(1, false))
		_, err := l.Append(p, rec)
		must(b, err)
		if i%1000 == 0 {
			retired = retireBefore(b, l, retired)
		}
	}
}

func retireBefore(b *testing.B, l *Log, retired uint64) uint64 {
	for first := l.Cut().Addr.Segment(); retired+2 < first; {
		retired++
		must(b, l.CommitAll())
		must(b, l.Retire(retired))
	}
	return retired
}

// BenchmarkCommit appends and commits operations of some size on the disk that
// holds TMPDIR, one at a time.
func BenchmarkCommit(b *testing.B) {
	for _, blocks := range []int{1, 8, 32} {
		b.Run(fmt.Sprintf("%dK", 4*blocks), func(b *testing.B) {
			l := benchLog(b, diskStore(b))
			p := []Piece{piece(newRand(1), Data, blocks)}
			rec := &short{}
			b.SetBytes(int64(blocks) * BlockSize)
			retired := uint64(0)
			for i := 0; b.Loop(); i++ {
				must(b, l.Admit(blocks, false))
				lsn, err := l.Append(p, rec)
				must(b, err)
				must(b, l.Commit(lsn))
				if i%1000 == 0 {
					retired = retireBefore(b, l, retired)
				}
			}
			st := l.Stats()
			b.ReportMetric(float64(st.DirectSyncs)/float64(st.Syncs), "direct/sync")
		})
	}
}

// BenchmarkParallelCommit shows what group commit makes of 16 committers.
func BenchmarkParallelCommit(b *testing.B) {
	l := benchLog(b, diskStore(b))
	b.SetBytes(BlockSize)
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		p := []Piece{piece(newRand(1), Data, 1)}
		rec := &short{}
		for pb.Next() {
			must(b, l.Admit(1, false))
			lsn, err := l.Append(p, rec)
			must(b, err)
			must(b, l.Commit(lsn))
		}
	})
	st := l.Stats()
	b.ReportMetric(float64(st.Commits)/float64(st.Syncs), "commits/sync")
}
