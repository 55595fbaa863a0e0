package redo_test

import (
	"fmt"
	"testing"
	"time"

	"varve/internal/fs"
	"varve/internal/redo"
)

// BenchmarkMetadata repeats creates, renames and removals.
func BenchmarkMetadata(b *testing.B) {
	w := newWorld(b)
	c := by("one")
	begin := w.last()
	n := 20_000
	for i := range n {
		m, err := w.f.Create(c, w.root, fmt.Sprint("f", i), fs.SetAttr{}, true, nil)
		w.ok(err)
		mode := uint32(0o600)
		_, _, err = w.f.Setattr(c, m.Handle, fs.SetAttr{Mode: &mode})
		w.ok(err)
		_, _, _, err = w.f.Rename(c, w.root, fmt.Sprint("f", i), w.root, fmt.Sprint("g", i))
		w.ok(err)
		if i%2 == 0 {
			_, _, err = w.f.Remove(c, w.root, fmt.Sprint("g", i))
			w.ok(err)
		}
	}
	end := w.last()
	b.ResetTimer()
	var ops uint64
	start := time.Now()
	for i := 0; b.Loop(); i++ {
		r := w.replay("home", redo.ReplayOptions{From: at(begin), To: at(end), Name: fmt.Sprint("x", i)})
		ops += r.Repeated
	}
	b.ReportMetric(float64(ops)/time.Since(start).Seconds(), "ops/s")
}

// BenchmarkData repeats sequential writes of 1 MiB to a volume, and says how fast
// they were written at first.
func BenchmarkData(b *testing.B) {
	w := newWorld(b)
	h, err := w.e.Attach("disk", caller, true, func() {})
	w.ok(err)
	begin := w.last()
	p := make([]byte, 1<<20)
	for i := range p {
		p[i] = byte(i * 7 >> 3)
	}
	start := time.Now()
	n := 192
	for i := range n {
		w.ok(h.WriteAt(p, uint64(i%8)<<20))
	}
	w.ok(h.Flush())
	wrote := float64(n) / time.Since(start).Seconds()
	h.Detach()
	end := w.last()
	var bytes uint64
	start = time.Now()
	for i := 0; b.Loop(); i++ {
		if i > 2 {
			b.Skip()
		}
		r := w.replay("disk", redo.ReplayOptions{From: at(begin), To: at(end), Name: fmt.Sprint("x", i)})
		bytes += r.Bytes
	}
	b.ReportMetric(float64(bytes)/(1<<20)/time.Since(start).Seconds(), "MiB/s")
	b.ReportMetric(wrote, "written-MiB/s")
}
