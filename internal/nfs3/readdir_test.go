package nfs3

import (
	"fmt"
	"strings"
	"testing"
)

func dirArgs(h []byte, cookie uint64, count uint32) []byte {
	return put32(put64(put64(fh(h), cookie), 0), count)
}

func dirPlusArgs(h []byte, cookie uint64, dirCount, maxCount uint32) []byte {
	return put32(put32(put64(put64(fh(h), cookie), 0), dirCount), maxCount)
}

// names takes the entries of a READDIR or READDIRPLUS.
func (r *reply) names(plus bool) (names []string, last uint64, eof bool) {
	r.t.Helper()
	if a := r.post(); a.typ != 2 {
		r.t.Fatal("attributes of no directory")
	}
	if r.u64() != 0 {
		r.t.Fatal("the cookie verifier is not always the same")
	}
	for r.flag() {
		id := r.u64()
		name := string(r.opaque(255))
		names = append(names, name)
		last = r.u64()
		if plus {
			if a := r.post(); a.fileID != id {
				r.t.Errorf("%s: file id %d and %d", name, id, a.fileID)
			}
			if !r.flag() || len(r.opaque(maxHandle)) == 0 {
				r.t.Errorf("%s: no handle", name)
			}
		}
	}
	eof = r.flag()
	r.end()
	return names, last, eof
}

// Listings in pieces of any size are whole, no piece is longer than asked for,
// and none could have had one more entry.
func TestReaddir(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	want := map[string]bool{".": true, "..": true}
	for i := range 300 {
		name := fmt.Sprintf("%03d-%s", i, strings.Repeat("x", i*7%100))
		want[name] = true
		c.make(w.root, name, nil)
	}
	const longest = entrySize + 104 + plusSize
	for _, plus := range []bool{false, true} {
		for _, count := range []uint32{400, 1000, 4096, 32768, 1 << 20, 1<<32 - 1} {
			seen, pieces := map[string]bool{}, 0
			for cookie, eof := uint64(0), false; !eof; pieces++ {
				var names []string
				proc, args := uint32(procReaddir), dirArgs(w.root, cookie, count)
				if plus {
					proc, args = procReaddirplus, dirPlusArgs(w.root, cookie, count, count)
				}
				r := c.nfs(proc, args, nfsOK)
				size := len(r.p)
				names, cookie, eof = r.names(plus)
				if uint64(size) > uint64(count) || !eof && count < 1<<20 && size+longest < int(count) {
					t.Errorf("plus %v: %d bytes where %d were asked for", plus, size, count)
				}
				for _, n := range names {
					if seen[n] {
						t.Errorf("%q twice", n)
					}
					seen[n] = true
				}
			}
			for n := range want {
				if !seen[n] {
					t.Errorf("plus %v, count %d: %q is missing", plus, count, n)
				}
			}
			if len(seen) != len(want) || count >= 1<<20 && pieces != 1 {
				t.Errorf("plus %v, count %d: %d names in %d pieces", plus, count, len(seen), pieces)
			}
		}
	}
}

func TestReaddirTooSmall(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	c.make(w.root, "f", nil)
	const dot = entrySize + 4
	for count, want := range map[uint32]status{0: errTooSmall, 103: errTooSmall, dirFrame + dot - 1: errTooSmall, dirFrame + dot: nfsOK} {
		r := c.nfs(procReaddir, dirArgs(w.root, 0, count), want)
		if want != nfsOK {
			r.post()
			r.end()
		} else if names, _, eof := r.names(false); len(names) != 1 || eof {
			t.Errorf("%q, eof %v", names, eof)
		}
	}
	c.nfs(procReaddirplus, dirPlusArgs(w.root, 0, 4096, dirFrame+dot+plusSize-1), errTooSmall)
	// What counts for dircount are names; one entry always goes.
	for dirCount, want := range map[uint32]int{0: 1, dot: 1, 2*dot - 1: 1, 2 * dot: 2, 3 * dot: 3} {
		if names, _, eof := c.nfs(procReaddirplus, dirPlusArgs(w.root, 0, dirCount, 4096), nfsOK).names(true); len(names) != want || eof != (want == 3) {
			t.Errorf("dircount %d: %q, eof %v", dirCount, names, eof)
		}
	}
	// At the end there is nothing to be too small for.
	_, last, _ := c.nfs(procReaddir, dirArgs(w.root, 0, 4096), nfsOK).names(false)
	if names, _, eof := c.nfs(procReaddir, dirArgs(w.root, last, dirFrame), nfsOK).names(false); len(names) != 0 || !eof {
		t.Errorf("after the last: %q, eof %v", names, eof)
	}
	f := c.nfs(procLookup, dirop(w.root, "f"), nfsOK).opaque(maxHandle)
	c.nfs(procReaddir, dirArgs(f, 0, 4096), errNotDir).post()
	if names, _, eof := c.nfs(procReaddir, dirArgs(w.root, 1<<64-1, 4096), nfsOK).names(false); len(names) != 0 || !eof {
		t.Errorf("after the highest cookie: %q, eof %v", names, eof)
	}
}
