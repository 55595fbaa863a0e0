package nfs3

import (
	"bytes"
	"testing"
)

// Calls that share a commit are answered when it has made all of them durable, not
// only one: neither while it is under way, nor by one that ends at an earlier operation.
func TestSharedCommit(t *testing.T) {
	w, h, s, c, f := hooked(t, Options{})
	for _, x := range []struct {
		name    string
		flushes int      // that the calls need
		calls   [][]byte // each changes something, or makes all durable
	}{
		{"operations", 0, [][]byte{
			mkdirCall(c, w.root, "a"), mkdirCall(c, w.root, "b"), mkdirCall(c, w.root, "c"),
		}},
		{"a COMMIT among operations", 1, [][]byte{
			mkdirCall(c, w.root, "d"), nextCall(c, procCommit, readArgs(f, 0, 0)), mkdirCall(c, w.root, "e"),
		}},
	} {
		commits, flushes := h.committed(), h.flushed()
		h.commit.close()
		alone := c.send(procMkdir, noAttrs(dirop(w.root, "alone, before "+x.name)))
		<-h.commit.entered
		c.write(bytes.Join(x.calls, nil))
		eventually(t, "all calls to wait", waitingCommits(s, 1+len(x.calls)))
		if r := c.call(progNFS, versNFS, 0, nil); r.stat != rpcSuccess {
			t.Fatalf("%s: NULL: %d", x.name, r.stat)
		} // and so nothing was answered before it
		h.commit.open()
		for range 1 + len(x.calls) {
			r := c.reply()
			r.want(nfsOK)
			if done, durable := h.durability(r.xid); done > durable {
				t.Errorf("%s: call %d (%d is alone), operation %d, was answered when all up to %d was durable", x.name, r.xid, alone, done, durable)
			}
		}
		if got := h.flushed() - flushes; got < x.flushes {
			t.Errorf("%s: %d flushes", x.name, got)
		}
		if got := h.committed() - commits; got > 3 { // the calls may come to the reader in two parts
			t.Errorf("%s: %d commits", x.name, got)
		}
	}
	c.nc.Close()
	allFree(t, s)
}

func nextCall(c *client, proc uint32, args []byte) []byte {
	c.xid++
	return callBytes(c.xid, progNFS, versNFS, proc, c.cred, args)
}

func mkdirCall(c *client, dir []byte, name string) []byte {
	return nextCall(c, procMkdir, noAttrs(dirop(dir, name)))
}

// waitingCommits tells whether n calls of the only connection wait for a commit.
func waitingCommits(s *Server, n int) func() bool {
	m := &anyConn(s).commits
	return func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		got := len(m.waiting)
		if m.busy {
			got += len(m.batch)
		}
		if m.alone {
			got++
		}
		return got == n
	}
}
