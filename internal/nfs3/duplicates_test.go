package nfs3

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"varve/internal/fs"
	"varve/internal/oplog"
)

func keyOf(n int) requestKey {
	return requestKey{netip.MustParseAddr("10.0.0.1"), oplog.Request{XID: uint32(n), Sum: 7}}
}

func newDuplicates(limit, bytes int) *duplicates {
	d := new(duplicates)
	d.init()
	d.max, d.bytes = limit, bytes
	return d
}

func TestDuplicates(t *testing.T) {
	d := newDuplicates(100, 1<<20)
	now := time.Now()
	begin := func(k requestKey, want verdict) (*entry, []byte) {
		t.Helper()
		v, e, reply := d.begin(k, now, nil)
		if v != want {
			t.Fatalf("verdict %d, want %d", v, want)
		}
		return e, reply
	}
	e, _ := begin(keyOf(1), isNew)
	begin(keyOf(1), isRunning)
	other := keyOf(1)
	other.Sum++
	begin(other, isNew)
	other = keyOf(1)
	other.client = netip.MustParseAddr("10.0.0.2")
	begin(other, isNew)
	d.finish(e, []byte("reply"))
	if _, reply := begin(keyOf(1), isAnswered); string(reply) != "reply" {
		t.Errorf("reply %q", reply)
	}
	e, _ = begin(keyOf(2), isNew)
	d.forget(e)
	begin(keyOf(2), isNew)

	now = now.Add(duplicateAge)
	begin(keyOf(1), isNew)
	begin(keyOf(2), isRunning) // however long it takes
}

func TestDuplicatesAreBounded(t *testing.T) {
	now := time.Now()
	for _, x := range []struct{ limit, bytes, want int }{{10, 1 << 20, 10}, {1000, 10 * (requestAllotment + 512), 10}} {
		d := newDuplicates(x.limit, x.bytes)
		_, running, _ := d.begin(keyOf(0), now, nil)
		for i := 1; i <= 100; i++ {
			_, e, _ := d.begin(keyOf(i), now, nil)
			d.finish(e, make([]byte, 500))
			if len(d.byKey) > x.want+1 || d.used > x.bytes {
				t.Fatalf("%d entries, %d bytes", len(d.byKey), d.used)
			}
		}
		if v, _, _ := d.begin(keyOf(100), now, nil); v != isAnswered {
			t.Error("the newest is forgotten")
		}
		if v, _, _ := d.begin(keyOf(1), now, nil); v != isNew {
			t.Error("the oldest is kept")
		}
		if v, _, _ := d.begin(keyOf(0), now, nil); v != isRunning {
			t.Error("one in progress is forgotten")
		}
		d.finish(running, nil)
	}
}

// Neither what is refused, nor any number of requests of others, pushes out
// those of a client that has few.
func TestDuplicatesAreFair(t *testing.T) {
	const limit, few = 64, 16
	now := time.Now()
	d := newDuplicates(limit, 1<<20)
	of := func(host byte, n int) requestKey {
		k := keyOf(n)
		k.client = netip.AddrFrom4([4]byte{10, 0, 0, host})
		return k
	}
	do := func(k requestKey) {
		v, e, _ := d.begin(k, now, nil)
		if v != isNew {
			t.Fatalf("verdict %d", v)
		}
		d.finish(e, []byte("reply"))
	}
	check := func(host byte, from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			if v, _, _ := d.begin(of(host, i), now, nil); v != isAnswered {
				t.Fatalf("request %d of client %d: verdict %d", i, host, v)
			}
		}
	}
	for i := range limit {
		do(of(1, i))
	}
	var running []*entry
	for i := range 3 * limit {
		_, e, _ := d.begin(of(9, i), now, nil)
		running = append(running, e)
	}
	for _, e := range running {
		d.forget(e)
	}
	check(1, 0, limit)
	for i := range few {
		do(of(2, i))
	}
	check(1, few, limit)
	for host := byte(3); host < 6; host++ {
		for i := range 10 * limit {
			do(of(host, i))
		}
		check(host, 10*limit-few/2, 10*limit)
	}
	check(2, few/2+few/4, few)
	if len(d.byKey) != limit || len(d.holders.ranking) != 5 || len(d.holders.byClient) != 5 {
		t.Errorf("%d entries of %d clients", len(d.byKey), len(d.holders.ranking))
	}
	now = now.Add(duplicateAge)
	d.begin(of(7, 0), now, nil)
	if len(d.byKey) != 1 || len(d.holders.ranking) != 0 || len(d.holders.byClient) != 0 || d.n != 0 || d.used != 0 {
		t.Errorf("later: %d entries, %d bytes", len(d.byKey), d.used)
	}
}

// A request that is being answered from the log is not dropped for room.
func TestRecalledStaysWhileItRuns(t *testing.T) {
	now := time.Now()
	d := newDuplicates(1, 1<<20)
	op := &oplog.Op{Dataset: 3, Ino: 77, Request: &oplog.Request{XID: 1, Sum: 7}, Client: &oplog.Client{Name: "nfs 10.0.0.1:99"}}
	d.recall(op, now)
	_, e, _ := d.begin(keyOf(1), now, nil)
	for i := 2; i < 10; i++ {
		_, e, _ := d.begin(keyOf(i), now, nil)
		d.finish(e, nil)
	}
	if v, _, _ := d.begin(keyOf(1), now, nil); v != isRunning {
		t.Errorf("verdict %d", v)
	}
	d.finish(e, []byte("reply"))
	if v, _, p := d.begin(keyOf(1), now, nil); v != isAnswered || string(p) != "reply" {
		t.Errorf("verdict %d, reply %q", v, p)
	}
}

func TestRecall(t *testing.T) {
	d := newDuplicates(100, 1<<20)
	now := time.Now()
	op := &oplog.Op{Kind: oplog.Mkdir, Dataset: 3, Ino: 77, Request: &oplog.Request{XID: 1, Sum: 7}}
	for _, name := range []string{"nbd 10.0.0.1:99", "nfs somewhere", "nfs 10.0.0.1:99"} {
		op.Client = &oplog.Client{Name: name}
		d.recall(op, now)
	}
	op.Request = nil
	d.recall(op, now)
	if len(d.byKey) != 1 {
		t.Errorf("%d entries", len(d.byKey))
	}
	v, e, _ := d.begin(keyOf(1), now, nil)
	if v != isLogged || *e.logged != (outcome{3, 77}) {
		t.Fatalf("verdict %d", v)
	}
	if v, _, _ := d.begin(keyOf(1), now, nil); v != isRunning {
		t.Errorf("while it is answered: verdict %d", v)
	}
	d.forget(e)
	if v, _, _ := d.begin(keyOf(1), now, nil); v != isLogged {
		t.Errorf("after it could not be answered: verdict %d", v)
	}
	d.finish(e, []byte("reply"))
	if v, _, _ := d.begin(keyOf(1), now, nil); v != isAnswered {
		t.Errorf("after it was answered: verdict %d", v)
	}
}

// repeatable are calls that must not be executed twice, by what they answer
// if they are.
func repeatable(w *world, c *client) map[string][]byte {
	f := c.make(w.root, "f", nil)
	for _, n := range []string{"old", "gone", "from"} {
		c.make(w.root, n, nil)
	}
	c.nfs(procMkdir, noAttrs(dirop(w.root, "dir")), nfsOK)
	calls := map[string][]byte{}
	add := func(name string, proc uint32, args []byte) {
		c.xid++
		calls[name] = callBytes(c.xid, progNFS, versNFS, proc, c.cred, args)
	}
	add("create", procCreate, noAttrs(createArgs(w.root, "new", createGuarded)))
	add("mkdir", procMkdir, noAttrs(dirop(w.root, "newdir")))
	add("symlink", procSymlink, putOpaque(noAttrs(dirop(w.root, "newlink")), "target"))
	add("mknod", procMknod, noAttrs(put32(dirop(w.root, "fifo"), 7)))
	add("remove", procRemove, dirop(w.root, "gone"))
	add("rmdir", procRmdir, dirop(w.root, "dir"))
	add("rename", procRename, append(dirop(w.root, "from"), dirop(w.root, "to")...))
	add("link", procLink, append(fh(f), dirop(w.root, "second")...))
	a := c.nfs(procGetattr, fh(f), nfsOK).attrs()
	add("setattr", procSetattr, putTime(putFlag(modeAttr(fh(f), 0o600), true), a.ctime+0))
	delete(calls, "setattr")
	old := c.nfs(procLookup, dirop(w.root, "old"), nfsOK).opaque(maxHandle)
	a = c.nfs(procGetattr, fh(old), nfsOK).attrs()
	add("setattr", procSetattr, putTime(putFlag(modeAttr(fh(old), 0o600), true), a.ctime))
	return calls
}

// A request that comes again, from whatever port, gets the same reply, and the
// operation happens once.
func TestRepeatedRequests(t *testing.T) {
	w := newWorld(t)
	_, addr := w.serve(Options{})
	c := dial(t, addr)
	for name, call := range repeatable(w, c) {
		c.write(call)
		first := c.record()
		if s := status(be.Uint32(first[24:])); s != nfsOK {
			t.Fatalf("%s: status %d", name, s)
		}
		lsn := w.e.Status().LastLSN
		again := dial(t, addr)
		again.write(call)
		if !bytes.Equal(again.record(), first) {
			t.Errorf("%s: another reply", name)
		}
		if w.e.Status().LastLSN != lsn {
			t.Errorf("%s: done twice", name)
		}
		// The same XID with another body is another request.
		other := bytes.Clone(call)
		other[len(other)-1] ^= 1
		again.write(other)
		if bytes.Equal(again.record(), first) {
			t.Errorf("%s: taken for another", name)
		}
	}
}

func TestRepeatedOverRestart(t *testing.T) {
	w := newWorld(t)
	s := New(w.f, w.e, Options{})
	_, addr := serve(t, s)
	c := dial(t, addr)
	calls := repeatable(w, c)
	replies := map[string][]byte{}
	for name, call := range calls {
		c.write(call)
		replies[name] = c.record()
	}
	c.nc.Close()
	eventually(t, "the connection to end", func() bool { return len(s.Clients()) == 0 })
	w.close()
	w.open()
	_, addr = w.serve(Options{})
	c = dial(t, addr)
	lsn := w.e.Status().LastLSN
	for name, call := range calls {
		c.write(call)
		got := c.record()
		if s := status(be.Uint32(got[24:])); s != nfsOK {
			t.Errorf("%s: status %d", name, s)
			continue
		}
		if made := 28 + 4 + 4 + fs.HandleSize; (name == "create" || name == "mkdir" || name == "symlink" || name == "mknod") && !bytes.Equal(got[:made], replies[name][:made]) {
			t.Errorf("%s: another handle", name)
		}
		c.write(call)
		if !bytes.Equal(c.record(), got) {
			t.Errorf("%s: another reply the third time", name)
		}
	}
	if w.e.Status().LastLSN != lsn {
		t.Error("something was done twice")
	}
	if _, a := c.nfs(procMkdir, noAttrs(dirop(w.root, "later")), nfsOK).made(); a.typ != 2 {
		t.Error("a new request")
	}
}

// A request that comes again while it is executed is dropped.
func TestRepeatedInProgress(t *testing.T) {
	w := newWorld(t)
	h := newHooks(w.f)
	h.mkdir.close()
	s, addr := serve(t, newServer(h, Options{}))
	c, again := dial(t, addr), dial(t, addr)
	call := callBytes(5, progNFS, versNFS, procMkdir, c.cred, noAttrs(dirop(w.root, "d")))
	c.write(call)
	<-h.mkdir.entered
	again.write(call)
	again.call(progNFS, versNFS, procNull, nil) // the reader has passed it
	h.mkdir.open()
	c.reply().want(nfsOK)
	again.call(progNFS, versNFS, procNull, nil)
	if n := len(h.mkdir.entered); n != 0 {
		t.Errorf("executed %d times more", n)
	}
	again.write(call)
	again.reply().want(nfsOK)
	if len(s.seen.byKey) != 1 {
		t.Error(fmt.Sprint(len(s.seen.byKey)), "entries")
	}
}
