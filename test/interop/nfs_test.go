package interop

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	nfs "varve/test/nfsclient"
)

// shore is a pool with the share "home" and a server that speaks NFS.
type shore struct {
	*lake
	addr string // of NFS and MOUNT
}

func newShore(t *testing.T, args ...string) *shore {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	s := &shore{lake: newLake(t, append([]string{"--nfs", addr}, args...)...), addr: addr}
	s.varve("share", "create", "home")
	s.set("home", "keep=none") // a full hour may begin meanwhile
	return s
}

// set sets properties of a share.
func (s *shore) set(share string, properties ...string) {
	s.t.Helper()
	for _, p := range properties {
		s.varve("set", share, p)
	}
}

// stop ends the server as an operator does.
func (s *shore) stop() {
	s.t.Helper()
	if err := s.server.Stop(30 * time.Second); err != nil {
		s.t.Fatal(err)
	}
}

// restart ends the server as an operator does, and starts it again.
func (s *shore) restart() {
	s.t.Helper()
	s.stop()
	s.start()
}

// finish ends the server and checks the pool.
func (s *shore) finish() {
	s.t.Helper()
	s.stop()
	s.varve("check", s.Dir, "--data")
}

// connect opens a connection, from a local address if one is given.
func (s *shore) connect(t *testing.T, local string) *nfs.Conn {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c, err := nfs.DialFrom(s.addr, local)
		if err == nil {
			t.Cleanup(c.Close)
			return c
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// client is the superuser on a new connection.
func (s *shore) client(t *testing.T) nfs.Client {
	t.Helper()
	return nfs.Client{Conn: s.connect(t, "")}.As(0, 0)
}

// home is the root of the share, for a new client.
func (s *shore) home(t *testing.T) (nfs.Client, nfs.FH) {
	t.Helper()
	c := s.client(t)
	return c, must(t, c.Mnt("/home")).FH
}

// result is that of any call.
type result interface{ Want(...nfs.Status) error }

// must ends the test unless the call ended with one of the statuses; without
// any, with OK.
func must[R result](t testing.TB, r R, want ...nfs.Status) R {
	t.Helper()
	if len(want) == 0 {
		want = []nfs.Status{nfs.OK}
	}
	if err := r.Want(want...); err != nil {
		t.Fatalf("%T: %v", r, err)
	}
	return r
}

// expect is must for a test that can go on.
func expect[R result](t testing.TB, what string, r R, want ...nfs.Status) R {
	t.Helper()
	if len(want) == 0 {
		want = []nfs.Status{nfs.OK}
	}
	if err := r.Want(want...); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	return r
}

// attr asks for attributes that must be there.
func attr(t testing.TB, c nfs.Client, h nfs.FH) nfs.Attr {
	t.Helper()
	return *must(t, c.Getattr(h)).Attr
}

// found looks up a name that must be there.
func found(t testing.TB, c nfs.Client, dir nfs.FH, name string) nfs.FH {
	t.Helper()
	return must(t, c.Lookup(dir, name)).FH
}

// file makes a file with content, durably.
func file(t testing.TB, c nfs.Client, dir nfs.FH, name, content string) nfs.FH {
	t.Helper()
	h := made(t, c.CreateGuarded(dir, name, nfs.Mode(0o644)))
	if content != "" {
		write(t, c, h, 0, []byte(content), nfs.FileSync)
	}
	return h
}

// made returns the handle of a new object, which must come with the result.
func made(t testing.TB, r nfs.MakeRes) nfs.FH {
	t.Helper()
	must(t, r)
	if r.FH == "" || r.Attr == nil {
		t.Fatal("a new object without handle or attributes")
	}
	return r.FH
}

func write(t testing.TB, c nfs.Client, h nfs.FH, off uint64, p []byte, stable nfs.Stable) nfs.WriteRes {
	t.Helper()
	r := must(t, c.Write(h, off, p, stable))
	if int(r.Count) != len(p) {
		t.Fatalf("WRITE of %d bytes took %d", len(p), r.Count)
	}
	return r
}

// content reads a whole file.
func content(t testing.TB, c nfs.Client, h nfs.FH) []byte {
	t.Helper()
	var all []byte
	for {
		r := must(t, c.Read(h, uint64(len(all)), 1<<20))
		if all = append(all, r.Data...); r.EOF {
			return all
		}
	}
}

// holds fails the test unless the file has this content.
func holds(t testing.TB, c nfs.Client, h nfs.FH, want []byte) {
	t.Helper()
	got := content(t, c, h)
	if len(got) != len(want) {
		t.Errorf("%d bytes, want %d", len(got), len(want))
		return
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("byte %d is %#x, want %#x", i, got[i], want[i])
			return
		}
	}
}

// names lists a directory, by READDIR, without "." and "..".
func names(t testing.TB, c nfs.Client, dir nfs.FH) []string {
	t.Helper()
	var list []string
	for cookie, v := uint64(0), (nfs.Verifier{}); ; {
		r := must(t, c.Readdir(dir, cookie, v, 32<<10))
		for _, e := range r.Entries {
			if cookie = e.Cookie; e.Name != "." && e.Name != ".." {
				list = append(list, e.Name)
			}
		}
		if v = r.Verf; r.EOF {
			return list
		}
	}
}

// wccRight checks what a reply says of an object before and after: before is
// what it was, after what it is.
func wccRight(t testing.TB, what string, c nfs.Client, h nfs.FH, before nfs.Attr, w nfs.Wcc) {
	t.Helper()
	if want := (nfs.WccAttr{Size: before.Size, Mtime: before.Mtime, Ctime: before.Ctime}); w.Before == nil || *w.Before != want {
		t.Errorf("%s: attributes before %+v, want %+v", what, w.Before, want)
	}
	if now := attr(t, c, h); w.After == nil || *w.After != now {
		t.Errorf("%s: attributes after %+v, want %+v", what, w.After, now)
	}
}

// rss is the memory of a process, in bytes.
func rss(t testing.TB, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(status) {
		if rest, ok := strings.CutPrefix(string(line), "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
