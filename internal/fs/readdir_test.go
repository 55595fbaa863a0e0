package fs

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"varve/internal/inode"
)

func TestReaddir(t *testing.T) {
	w := newWorld(t)
	d := w.mkdir(w.root, "d", 0o755)
	for _, n := range []int{0, 1, 99, 100, 101, 250} {
		sub := w.mkdir(d, fmt.Sprint("n", n), 0o755)
		want := map[string]Handle{".": sub, "..": d}
		for i := range n {
			want[fmt.Sprint("f", i)] = w.file(sub, fmt.Sprint("f", i), "x")
		}
		for _, max := range []int{1, 2, 3, 50, 98, 100, 102, 1000} {
			got, after, calls := map[string]Handle{}, uint64(0), 0
			for eof := false; !eof; calls++ {
				ents, last, dir, err := w.f.Readdir(root, sub, after, max, max%2 == 0, nil)
				w.ok(err)
				if dir != w.attr(sub) || len(ents) > max || len(ents) < max && !last {
					t.Fatalf("%d names of %d, eof %v", len(ents), max, last)
				}
				for _, e := range ents {
					if e.Cookie <= after || e.FileID != e.Handle.Ino {
						t.Fatalf("after %d comes %+v", after, e)
					}
					if max%2 == 0 && e.Attr != w.attr(e.Handle) || max%2 == 1 && e.Attr != (Attr{}) {
						t.Fatalf("attributes %+v of %+v", e.Attr, e)
					}
					got[e.Name], after = e.Handle, e.Cookie
				}
				eof = last
			}
			if !equal(got, want) {
				t.Errorf("%d names in pieces of %d: %d", n, max, len(got))
			}
			if need := (n + 2 + max - 1) / max; calls != need {
				t.Errorf("%d names in pieces of %d: the end came after %d calls, not %d", n, max, calls, need)
			}
		}
	}
}

func equal(a, b map[string]Handle) bool {
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return len(a) == len(b)
}

// What is in a directory all the time is listed once, whatever comes and goes
// between the pieces of the listing, over restarts too.
func TestReaddirIsStable(t *testing.T) {
	w := newWorld(t)
	rng := rand.New(rand.NewPCG(3, 5))
	d := w.mkdir(w.root, "d", 0o755)
	for i := range 300 {
		w.file(d, fmt.Sprint("stays", i), "")
	}
	others := map[string]bool{}
	seen := map[string]int{}
	after := uint64(0)
	for eof := false; !eof; {
		ents, last, _, err := w.f.Readdir(root, d, after, 7, rng.IntN(2) == 0, nil)
		w.ok(err)
		for _, e := range ents {
			seen[e.Name]++
			after = e.Cookie
		}
		eof = last
		for range rng.IntN(20) {
			name := fmt.Sprint("goes", rng.IntN(200))
			if others[name] {
				_, _, err = w.f.Remove(root, d, name)
			} else {
				_, err = w.f.Create(root, d, name, SetAttr{}, true, nil)
			}
			w.ok(err)
			others[name] = !others[name]
		}
		if rng.IntN(20) == 0 {
			w.reopen()
		}
	}
	for i := range 300 {
		if n := seen[fmt.Sprint("stays", i)]; n != 1 {
			t.Errorf("stays%d was listed %d times", i, n)
		}
	}
	for name, n := range seen {
		if n > 1 {
			t.Errorf("%s was listed %d times", name, n)
		}
	}
}

func TestXattrs(t *testing.T) {
	w := newWorld(t)
	alice, bob := as(1), as(2)
	f := w.file(w.root, "f", "")
	w.chown(f, 1, 1)
	w.chmod(f, 0o640)
	set := func(c *Call, h Handle, name, value string, m XattrMode, want Code) {
		t.Helper()
		_, err := w.f.SetXattr(c, h, name, []byte(value), m)
		w.fails(err, want)
	}
	get := func(c *Call, h Handle, name, want string, code Code) {
		t.Helper()
		v, err := w.f.Xattr(c, h, name)
		w.fails(err, code)
		if string(v) != want {
			t.Errorf("%s is %q", name, v)
		}
	}
	set(alice, f, "user.a", "1", XattrReplace, CodeNoData)
	set(alice, f, "user.a", "1", XattrCreate, CodeNone)
	set(alice, f, "user.a", "2", XattrCreate, CodeExist)
	set(alice, f, "user.a", "2", XattrReplace, CodeNone)
	big := string(slices.Repeat([]byte{'b'}, inode.MaxXattr))
	set(alice, f, "user.big", big, XattrSet, CodeNone)
	set(alice, f, "user.big", big+"x", XattrSet, CodeTooBig)
	set(bob, f, "user.b", "", XattrSet, CodeAccess)
	set(alice, f, "trusted.t", "", XattrSet, CodePerm)
	set(alice, f, "security.s", "", XattrSet, CodePerm)
	set(root, f, "trusted.t", "t", XattrSet, CodeNone)
	set(root, f, "security.s", "s", XattrSet, CodeNone)
	set(root, f, "system.posix_acl_access", "", XattrSet, CodeNotSupported)
	set(root, f, "a", "", XattrSet, CodeNotSupported)
	set(root, f, "user.", "", XattrSet, CodeNotSupported)
	set(root, f, "", "", XattrSet, CodeInval)
	set(root, f, "user."+string(slices.Repeat([]byte{'n'}, 251)), "", XattrSet, CodeNameTooLong)
	get(alice, f, "user.a", "2", CodeNone)
	get(alice, f, "user.big", big, CodeNone)
	get(bob, f, "user.a", "", CodeAccess)
	get(alice, f, "user.none", "", CodeNoData)
	get(alice, f, "trusted.t", "", CodeNoData)
	get(root, f, "trusted.t", "t", CodeNone)
	get(bob, f, "security.s", "s", CodeNone)
	for c, want := range map[*Call][]string{root: {"security.s", "trusted.t", "user.a", "user.big"}, alice: {"security.s", "user.a", "user.big"}} {
		names, err := w.f.Xattrs(c, f)
		w.ok(err)
		if slices.Sort(names); !slices.Equal(names, want) {
			t.Errorf("uid %d lists %q", c.Cred.UID, names)
		}
	}
	ctime := w.attr(f).Ctime
	_, err := w.f.RemoveXattr(alice, f, "user.a")
	w.ok(err)
	if w.attr(f).Ctime <= ctime {
		t.Error("the ctime stays")
	}
	_, err = w.f.RemoveXattr(alice, f, "user.a")
	w.fails(err, CodeNoData)
	link, err := w.f.Symlink(root, w.root, "l", "t", SetAttr{})
	w.ok(err)
	set(root, link.Handle, "user.a", "", XattrSet, CodePerm)
	tmp := w.mkdir(w.root, "tmp", 0o1777)
	set(alice, tmp, "user.a", "", XattrSet, CodePerm)
	set(root, tmp, "user.a", "", XattrSet, CodeNone)
	for i := 0; ; i++ {
		_, err := w.f.SetXattr(root, f, fmt.Sprintf("user.%0240d", i), nil, XattrSet)
		if err != nil {
			w.fails(err, CodeTooBig)
			if i < 250 {
				t.Errorf("only %d attributes", i)
			}
			break
		}
	}
}
