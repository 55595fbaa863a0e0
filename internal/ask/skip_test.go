package ask

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fs"
	"varve/internal/oplog"
	"varve/internal/vfs"
)

// long makes a log over many segments: what client 2 does comes before and after
// it, names change all along.
func (w *world) long() {
	value := bytes.Repeat([]byte{7}, 30_000) // which goes into the record: so there is something to read
	var names []string
	var first fs.Handle
	for n := range 400 {
		call := w.calls[0]
		if n < 3 || n > 396 {
			call = w.calls[2]
		}
		m, err := w.fs.Create(asRoot, w.root, "f"+time.Duration(n).String(), fs.SetAttr{}, true, nil)
		w.ok(err)
		open := uint32(0o666)
		_, _, err = w.fs.Setattr(asRoot, m.Handle, fs.SetAttr{Mode: &open})
		w.ok(err)
		_, err = w.fs.SetXattr(call, m.Handle, "user.a", value, fs.XattrSet)
		w.ok(err)
		switch n {
		case 0:
			first = m.Handle
		case 200: // in a segment that is left out
			_, _, _, err = w.fs.Rename(asRoot, w.root, "old-f0s", w.root, "moved")
			w.ok(err)
		case 399:
			_, err = w.fs.SetXattr(call, first, "user.b", value, fs.XattrSet)
			w.ok(err)
		}
		if n%20 == 0 {
			w.ok(w.e.Checkpoint())
		}
		names = append(names, "f"+time.Duration(n).String())
		if n > 0 {
			_, _, _, err = w.fs.Rename(asRoot, w.root, names[n-1], w.root, "old-"+names[n-1])
			w.ok(err)
		}
	}
	w.ok(w.e.Checkpoint())
}

// clientTwo are the attributes that client 2 set, as they have to be told.
func (w *world) clientTwo() (paths []string, read int64) {
	w.t.Helper()
	before := w.reads.Load()
	q := Query{Dataset: "home", Filter: oplog.Filter{Client: "10.0.0.2"}}
	w.ok(New(w.e).Ask(context.Background(), q, func(i *Item) error {
		paths = append(paths, string(i.Path))
		return nil
	}))
	return paths, w.reads.Load() - before
}

// Segments that cannot match are left out, by what was found when they were written,
// or else by the query before, also after the server was started again; names that changed there are right all the same; and a file
// of digests that is damaged, of another pool or cut off costs time only.
func TestSegmentsThatCannotMatchAreLeftOut(t *testing.T) {
	w := newWorld(t, 1)
	file := filepath.Join(t.TempDir(), "digests")
	w.digests = func() (engine.Scratch, error) {
		return vfs.OS().Open(file, os.O_CREATE|os.O_RDWR, 0o600)
	}
	mode := uint32(0o777)
	_, _, err := w.fs.Setattr(asRoot, w.root, fs.SetAttr{Mode: &mode})
	w.ok(err)
	again := func() { w.close(); w.open(); w.attach("home") }
	again() // with the file
	w.long()
	again()
	want := []string{"/f0s", "/f1ns", "/f2ns", "/f397ns", "/f398ns", "/f399ns", "/moved"}
	check := func(what string, few bool, whole int64) int64 {
		t.Helper()
		got, read := w.clientTwo()
		if len(got) != len(want) {
			t.Fatalf("%s: %q", what, got)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("%s: %q", what, got)
			}
		}
		if few && read > whole*2/3 {
			t.Errorf("%s: %d bytes were read, of the whole log %d", what, read, whole)
		}
		if !few && whole > 0 && read < whole/2 {
			t.Errorf("%s: only %d bytes were read, of the whole log %d", what, read, whole)
		}
		return read
	}
	made := check("with what writing made", false, 0)
	forget := func() { w.close(); w.ok(os.WriteFile(file, nil, 0o600)); w.open(); w.attach("home") }
	forget()
	whole := check("without any", false, 0)
	if made > whole*2/3 {
		t.Errorf("with what writing made, %d bytes were read, of the whole log %d", made, whole)
	}
	check("the second time", true, whole)
	again()
	check("after a start", true, whole)
	good, err := os.ReadFile(file)
	w.ok(err)
	for range 3 {
		check("once more", true, whole)
	}
	if more, err := os.ReadFile(file); err != nil || len(more) != len(good) {
		t.Errorf("queries that learn nothing make the file of %d bytes %d long: %v", len(good), len(more), err)
	}
	for _, x := range []struct {
		what   string
		few    bool
		change func(b []byte) []byte
	}{
		{"cut off in its header", false, func(b []byte) []byte { return b[:20] }},
		{"of another pool", false, func(b []byte) []byte { b[20] ^= 1; return b }},
		{"of another version", false, func(b []byte) []byte { b[8] ^= 2; return b }},
		{"a bit of the first record", false, func(b []byte) []byte { b[70] ^= 1; return b }},
		{"something behind it", true, func(b []byte) []byte { return append(b, "rubbish"...) }},
		{"empty", false, func([]byte) []byte { return nil }},
	} {
		w.close()
		w.ok(os.WriteFile(file, x.change(bytes.Clone(good)), 0o600))
		w.open()
		w.attach("home")
		check(x.what, x.few, whole)
	}
}

// What is left out by what was found when it was written has nothing that is wanted:
// queries find the same without that.
func TestDigestsOfWritingHaveAll(t *testing.T) {
	w := newWorld(t, 1)
	open := uint32(0o777)
	_, _, err := w.fs.Setattr(asRoot, w.root, fs.SetAttr{Mode: &open})
	w.ok(err)
	var inos []uint64
	for n := range 240 {
		call := w.calls[n*len(w.calls)/240] // one after the other
		m, err := w.fs.Create(call, w.root, "f"+time.Duration(n).String(), fs.SetAttr{Mode: &open}, true, nil)
		w.ok(err)
		inos = append(inos, m.Handle.Ino)
		if n%80 > 40 {
			_, err = w.fs.SetXattr(call, m.Handle, "user.a", bytes.Repeat([]byte{7}, 30_000), fs.XattrSet)
		} else {
			_, _, err = w.fs.Write(call, m.Handle, bytes.Repeat([]byte{7}, 30_000+n), 0)
		}
		w.ok(err)
		if n%16 == 0 {
			w.ok(w.e.Checkpoint())
		}
	}
	w.ok(w.e.Checkpoint())
	w.ok(w.e.Checkpoint())
	var uids [3]uint32
	for i, c := range w.calls {
		uids[i] = c.Cred.UID
	}
	filters := []oplog.Filter{
		{Client: "10.0.0.0"}, {Client: "10.0.0.1"}, {Client: "10.0.0.2"}, {UID: &uids[1]}, {UID: &uids[2]},
		{Kinds: 1 << oplog.SetXattr}, {Kinds: 1 << oplog.WriteFile}, {BytesOver: 30_100}, {BytesOver: 30_190},
		{Inos: inos[7:8]}, {Inos: inos[100:103]}, {Inos: inos[230:231]},
	}
	found := func() (lists [][]uint64, read int64) {
		before := w.reads.Load()
		for _, f := range filters {
			var list []uint64
			w.ok(New(w.e).Ask(context.Background(), Query{Dataset: "home", Filter: f}, func(i *Item) error {
				list = append(list, i.LSN)
				return nil
			}))
			lists = append(lists, list)
		}
		return lists, w.reads.Load() - before
	}
	got, few := found()
	w.close()
	w.open() // without a file it knows nothing any more
	w.attach("home")
	want, all := found()
	for i := range want {
		if !slices.Equal(got[i], want[i]) || len(want[i]) == 0 {
			t.Errorf("%s: %d operations, and without digests %d", filters[i].String(), len(got[i]), len(want[i]))
		}
	}
	if t.Logf("%d bytes read, %d without digests", few, all); few == 0 {
		t.Error("nothing was read")
	}
}
