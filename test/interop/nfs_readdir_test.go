package interop

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	nfs "varve/test/nfsclient"
)

// fill makes many files at once, named by their number.
func fill(t *testing.T, c nfs.Client, dir nfs.FH, n int, name func(i int) string) {
	t.Helper()
	var all sync.WaitGroup
	for lane := range 32 {
		all.Go(func() {
			for i := lane; i < n; i += 32 {
				if err := c.CreateGuarded(dir, name(i), nfs.Mode(0o644)).Want(nfs.OK); err != nil {
					t.Errorf("%s: %v", name(i), err)
					return
				}
			}
		})
	}
	all.Wait()
}

// lister reads a directory piece by piece.
type lister struct {
	c      nfs.Client
	dir    nfs.FH
	plus   bool
	count  uint32 // bytes of a reply
	cookie uint64
	verf   nfs.Verifier
	pieces int
	size   int // bytes of the last reply
}

// next returns the next entries, and whether those were the last.
func (l *lister) next(t *testing.T) ([]nfs.Entry, bool) {
	t.Helper()
	var r nfs.ReaddirRes
	if l.plus {
		r = must(t, l.c.Readdirplus(l.dir, l.cookie, l.verf, l.count, l.count))
	} else {
		r = must(t, l.c.Readdir(l.dir, l.cookie, l.verf, l.count))
	}
	if r.Dir == nil {
		t.Error("a list without the directory's attributes")
	}
	if l.pieces > 0 && r.Verf != l.verf {
		t.Errorf("the cookie verifier changed from %x to %x", l.verf, r.Verf)
	}
	l.verf, l.size = r.Verf, r.Size
	l.pieces++
	if n := len(r.Entries); n > 0 {
		l.cookie = r.Entries[n-1].Cookie
	}
	return r.Entries, r.EOF
}

// all returns all that is left.
func (l *lister) all(t *testing.T) (list []nfs.Entry) {
	t.Helper()
	for {
		entries, eof := l.next(t)
		if list = append(list, entries...); eof {
			return list
		}
	}
}

// TestNFSReaddir: a whole directory, whatever the size of the pieces, each as
// full as it may be.
func TestNFSReaddir(t *testing.T) {
	s := newShore(t)
	c, root := s.home(t)
	dir := made(t, c.Mkdir(root, "d", nfs.Mode(0o755)))
	const n = 500
	name := func(i int) string { return fmt.Sprint(i) + strings.Repeat("x", i%200) }
	fill(t, c, dir, n, name)

	for _, plus := range []bool{false, true} {
		whole := (&lister{c: c, dir: dir, plus: plus, count: 1 << 20}).all(t)
		checkWhole(t, c, dir, root, whole, n, plus)
		for _, count := range []uint32{500, 600, 700, 1000, 1024, 1500, 4096, 5000, 8192, 32768, 65536} {
			l := &lister{c: c, dir: dir, plus: plus, count: count}
			at := 0
			for eof := false; !eof; {
				var entries []nfs.Entry
				entries, eof = l.next(t)
				size := 4 + 84 + 8 + 4 + 4 // attributes, verifier, end of list, eof
				for _, e := range entries {
					if at >= len(whole) || e.Name != whole[at].Name || e.Cookie != whole[at].Cookie || e.FileID != whole[at].FileID {
						t.Fatalf("plus %v, %d bytes: entry %d is %q, in the whole list %q", plus, count, at, e.Name, whole[min(at, len(whole)-1)].Name)
					}
					size += e.Size(plus)
					at++
				}
				if size != l.size {
					t.Fatalf("plus %v, %d bytes: entries of %d bytes in a reply of %d", plus, count, size, l.size)
				}
				if !eof && size+whole[at].Size(plus) <= int(count) && count <= 32768 {
					t.Errorf("plus %v, %d bytes: a piece of %d bytes, the next entry takes %d", plus, count, size, whole[at].Size(plus))
				}
			}
			if at != len(whole) {
				t.Errorf("plus %v, %d bytes: %d entries, want %d", plus, count, at, len(whole))
			}
		}
	}
	for _, count := range []uint32{0, 1, 100, 110} {
		expect(t, fmt.Sprintf("READDIR of %d bytes", count), c.Readdir(dir, 0, nfs.Verifier{}, count), nfs.ErrToosmall)
		expect(t, fmt.Sprintf("READDIRPLUS of %d bytes", count), c.Readdirplus(dir, 0, nfs.Verifier{}, 4096, count), nfs.ErrToosmall)
	}
	// dircount is advice: a small one makes pieces small, but never empty.
	small := must(t, c.Readdirplus(dir, 0, nfs.Verifier{}, 512, 32768))
	if len(small.Entries) == 0 {
		t.Error("READDIRPLUS with a small dircount brings nothing")
	}
	must(t, c.Readdir(dir, 0, nfs.Verifier{}, 1<<32-1))
	must(t, c.Readdirplus(dir, 0, nfs.Verifier{}, 1<<32-1, 1<<32-1))
	for _, cookie := range []uint64{1<<64 - 1, 1 << 63} {
		if r := expect(t, "a cookie beyond all", c.Readdir(dir, cookie, nfs.Verifier{}, 4096), nfs.OK, nfs.ErrBadCookie); r.Status == nfs.OK && (len(r.Entries) > 0 || !r.EOF) {
			t.Errorf("after a cookie beyond all: %+v", r.Entries)
		}
	}
	expect(t, "of a file", c.Readdir(file(t, c, root, "f", ""), 0, nfs.Verifier{}, 4096), nfs.ErrNotdir)
	expect(t, "of a file", c.Readdirplus(found(t, c, root, "f"), 0, nfs.Verifier{}, 4096, 4096), nfs.ErrNotdir)
	must(t, c.Setattr(dir, nfs.Mode(0o711), nil))
	expect(t, "where one may not read", c.As(1, 1).Readdir(dir, 0, nfs.Verifier{}, 4096), nfs.ErrAcces)
	s.finish()
}

// checkWhole: everything once, "." and ".." right, nothing hidden shown, and
// attributes and handles as by LOOKUP.
func checkWhole(t *testing.T, c nfs.Client, dir, parent nfs.FH, list []nfs.Entry, n int, plus bool) {
	t.Helper()
	seen, cookies := map[string]bool{}, map[uint64]bool{}
	for _, e := range list {
		if seen[e.Name] || cookies[e.Cookie] {
			t.Errorf("%q or its cookie %d comes twice", e.Name, e.Cookie)
		}
		seen[e.Name], cookies[e.Cookie] = true, true
		l := must(t, c.Lookup(dir, e.Name))
		if l.Attr.FileID != e.FileID {
			t.Errorf("%q has file id %d by list, %d by LOOKUP", e.Name, e.FileID, l.Attr.FileID)
		}
		if plus && (e.Attr == nil || *e.Attr != *l.Attr || e.FH != l.FH) {
			t.Errorf("%q: handle %x and %+v by list, %x and %+v by LOOKUP", e.Name, e.FH, e.Attr, l.FH, l.Attr)
		}
	}
	if len(list) != n+2 || !seen["."] || !seen[".."] || seen[".snapshot"] {
		t.Errorf("%d entries, want %d; . %v, .. %v, .snapshot %v", len(list), n+2, seen["."], seen[".."], seen[".snapshot"])
	}
}

// TestNFSCookies: a directory that changes all the while it is read, by
// clients that begin at any time. What was there throughout is seen exactly
// once; nothing is seen twice under one name unless it was made twice. Kills do
// not disturb that.
func TestNFSCookies(t *testing.T) {
	s := newShore(t)
	c, root := s.home(t)
	dir := made(t, c.Mkdir(root, "d", nfs.Mode(0o777)))
	const stay, churn = 1500, 200
	stays := func(i int) string { return fmt.Sprintf("stay-%d", i) }
	fill(t, c, dir, stay, stays)

	stop := make(chan struct{})
	var changes atomic.Int64
	var all sync.WaitGroup
	for lane := range 3 {
		mine := s.client(t)
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				name := fmt.Sprintf("churn-%d-%d", lane, i%churn)
				expect(t, "CREATE", mine.Create(dir, name, nfs.Mode(0o644)))
				expect(t, "RENAME", mine.Rename(dir, name, dir, name+"-renamed"))
				if i%3 > 0 {
					expect(t, "REMOVE", mine.Remove(dir, name+"-renamed"))
				}
				changes.Add(1)
			}
		})
	}
	counts := []uint32{600, 2000, 4096, 16384, 512, 1000}
	for round := 0; round < len(counts) || changes.Load() < 60; round++ {
		count := counts[round%len(counts)]
		l := &lister{c: c, dir: dir, plus: round%2 == 1, count: count}
		throughout(t, fmt.Sprintf("%d bytes", count), l.all(t), stay, stays)
	}
	close(stop)
	all.Wait()
	t.Logf("%d changes meanwhile", changes.Load())

	// One list goes on over a kill and a restart, from a cookie whose entry is
	// gone.
	l := &lister{c: c, dir: dir, count: 4096}
	list, _ := l.next(t)
	var last string
	for i, restart := range []func(){s.crash, s.restart, s.crash} {
		if last = list[len(list)-1].Name; strings.HasPrefix(last, "churn-") && i > 0 {
			must(t, c.Remove(dir, last))
		}
		restart()
		l.c = s.client(t)
		c = l.c
		more, eof := l.next(t)
		if list = append(list, more...); eof {
			t.Fatal("the list ended early")
		}
	}
	throughout(t, "over kills", append(list, l.all(t)...), stay, stays)
	now := (&lister{c: c, dir: dir, count: 65536}).all(t)
	for _, e := range now[10:20] { // entries go, the cookies after them stay
		must(t, c.Remove(dir, e.Name))
	}
	rest := (&lister{c: c, dir: dir, count: 4096, cookie: now[15].Cookie, verf: l.verf}).all(t)
	if len(rest) != len(now)-20 || rest[0].Name != now[20].Name {
		t.Errorf("after a cookie of a removed entry come %d entries from %q, want %d from %q", len(rest), rest[0].Name, len(now)-20, now[20].Name)
	}
	s.finish()
}

func throughout(t *testing.T, what string, list []nfs.Entry, stay int, stays func(int) string) {
	t.Helper()
	seen := map[string]int{}
	for _, e := range list {
		seen[e.Name]++
	}
	wrong := 0
	for i := range stay {
		if n := seen[stays(i)]; n != 1 {
			if wrong++; wrong < 10 {
				t.Errorf("%s: %s was seen %d times", what, stays(i), n)
			}
		}
	}
}
