package dump

import (
	"context"
	"slices"
	"testing"
)

// forest is /d (3) with f (4) and e (5) with g (6); /h (7), old and also named in
// /d/e; /k (8), a file.
func forest() *fake {
	f := newFake()
	f.add(3, RootIno, "d", ModeDir|0o755)
	f.add(4, 3, "f", ModeFile|0o600)
	f.add(5, 3, "e", ModeDir|0o755)
	f.add(6, 5, "g", ModeFile|0o600)
	f.add(7, RootIno, "h", ModeFile|0o600)
	f.name(5, "h-too", 7)
	f.add(8, RootIno, "k", ModeFile|0o600)
	return f
}

func TestPasses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(f *fake)
		since  Since
		dumped []uint32
	}{
		"level 0":                       {nil, Since{}, []uint32{2, 3, 4, 5, 6, 7, 8}},
		"nothing changed":               {nil, Since{Level: 1, Time: 101}, []uint32{2}},
		"in the second of the base":     {nil, Since{Level: 1, Time: 100}, []uint32{2, 3, 4, 5, 6, 7, 8}},
		"deep":                          {func(f *fake) { f.nodes[6].Mtime.Sec = 200 }, Since{Level: 1, Time: 101}, []uint32{2, 3, 5, 6}},
		"ctime":                         {func(f *fake) { f.nodes[8].Ctime.Sec = 200 }, Since{Level: 1, Time: 101}, []uint32{2, 8}},
		"two names":                     {func(f *fake) { f.nodes[7].Mtime.Sec = 200 }, Since{Level: 1, Time: 101}, []uint32{2, 3, 5, 7}},
		"nodump, not honoured":          {func(f *fake) { f.nodes[5].Flags = Nodump }, Since{Honor: 1}, []uint32{2, 3, 4, 5, 6, 7, 8}},
		"nodump of a directory":         {func(f *fake) { f.nodes[3].Flags = Nodump }, Since{Honor: 0}, []uint32{2, 8}},
		"nodump of a file":              {func(f *fake) { f.nodes[4].Flags = Nodump }, Since{Honor: 0}, []uint32{2, 3, 5, 6, 7, 8}},
		"nodump of the root":            {func(f *fake) { f.nodes[2].Flags = Nodump }, Since{Honor: 0}, []uint32{2, 3, 4, 5, 6, 7, 8}},
		"nodump above what changed":     {func(f *fake) { f.nodes[5].Flags = Nodump; f.nodes[6].Mtime.Sec = 200 }, Since{Level: 1, Time: 101, Honor: 1}, []uint32{2}},
		"a snapshot, and the base late": {func(f *fake) { f.nodes[8].Flags = Snapshot }, Since{Level: 9, Time: 1 << 40}, []uint32{2}},
	} {
		f := forest()
		if c.change != nil {
			c.change(f)
		}
		o := options(Portable)
		o.Level = c.since.Level
		plan, err := Examine(context.Background(), f, c.since, o)
		if err != nil {
			t.Fatal(name, err)
		}
		var got []uint32
		for n := plan.Dumped.Next(0); n != 0; n = plan.Dumped.Next(n + 1) {
			got = append(got, n)
			if plan.Dirs.Has(n) != f.nodes[n].IsDir() {
				t.Errorf("%s: inode %d among the directories: %v", name, n, plan.Dirs.Has(n))
			}
		}
		if !slices.Equal(got, c.dumped) {
			t.Errorf("%s: %v, not %v", name, got, c.dumped)
		}
		if plan.Used.Count() != uint64(len(f.nodes)) {
			t.Errorf("%s: %d in use", name, plan.Used.Count())
		}
	}
}
