package fs

import (
	"fmt"
	"testing"

	"varve/internal/oplog"
)

// filled makes a directory with many files.
func filled(b *testing.B, n int) (*world, Handle, []Handle) {
	w := newWorld(b)
	d := w.mkdir(w.root, "d", 0o755)
	var files []Handle
	for i := range n {
		files = append(files, w.file(d, fmt.Sprint("file", i), "some bytes"))
	}
	b.ReportAllocs()
	b.ResetTimer()
	return w, d, files
}

func BenchmarkGetattr(b *testing.B) {
	w, _, files := filled(b, 10000)
	for i := range b.N {
		if _, err := w.f.Getattr(root, files[i%len(files)]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	w, d, files := filled(b, 10000)
	names := make([]string, len(files))
	for i := range names {
		names[i] = fmt.Sprint("file", i)
	}
	b.ResetTimer()
	for i := range b.N {
		if _, _, _, err := w.f.Lookup(root, d, names[i%len(names)]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead4K(b *testing.B) {
	w, d, _ := filled(b, 1)
	f := w.file(d, "f", string(make([]byte, 1<<20)))
	p := make([]byte, 4096)
	b.SetBytes(4096)
	b.ResetTimer()
	for i := range b.N {
		if _, _, _, err := w.f.Read(root, f, p, uint64(i%256)*4096); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWrite4K(b *testing.B) {
	p := make([]byte, 4096)
	b.SetBytes(4096)
	b.ReportAllocs()
	for done := 0; done < b.N; done += 50_000 { // as many as a pool in memory takes
		b.StopTimer()
		w := newWorld(b)
		f := w.file(w.root, "f", string(make([]byte, 1<<20)))
		b.StartTimer()
		for i := range min(b.N-done, 50_000) {
			if _, _, err := w.f.Write(root, f, p, uint64(i%256)*4096); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkCreateRemove(b *testing.B) {
	w, d, _ := filled(b, 10000)
	c := as(0)
	c.Req = &oplog.Request{XID: 1}
	for i := range b.N {
		name := fmt.Sprint("new", i)
		if _, err := w.f.Create(c, d, name, mode(0o644), true, nil); err != nil {
			b.Fatal(err)
		}
		if _, _, err := w.f.Remove(c, d, name); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReaddir(b *testing.B) {
	for _, plus := range []bool{false, true} {
		b.Run(fmt.Sprintf("plus=%v", plus), func(b *testing.B) {
			w, d, files := filled(b, 10000)
			var ents []Dirent
			n := 0
			for n < b.N {
				for after, eof := uint64(0), false; !eof && n < b.N; {
					var err error
					if ents, eof, _, err = w.f.Readdir(root, d, after, 500, plus, ents[:0]); err != nil {
						b.Fatal(err)
					}
					n += len(ents)
					after = ents[len(ents)-1].Cookie
				}
			}
			_ = files
		})
	}
}
