package interop

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	nfs "varve/test/nfsclient"
)

// unrepeatable is a request that would fail, or do harm, if it were done twice.
type unrepeatable struct {
	name    string
	prepare func(c nfs.Client, dir nfs.FH)
	request func(c nfs.Client, dir nfs.FH) nfs.Outcome
	twice   nfs.Status // what doing it again says
}

// unrepeatables use names of their own in dir.
func unrepeatables(t *testing.T) []unrepeatable {
	var guard nfs.Time
	var linked, guarded nfs.FH
	return []unrepeatable{
		{"CREATE", func(nfs.Client, nfs.FH) {},
			func(c nfs.Client, dir nfs.FH) nfs.Outcome {
				return c.CreateGuarded(dir, "create", nfs.Mode(0o644)).Outcome
			}, nfs.ErrExist},
		{"MKDIR", func(nfs.Client, nfs.FH) {},
			func(c nfs.Client, dir nfs.FH) nfs.Outcome { return c.Mkdir(dir, "mkdir", nfs.Mode(0o755)).Outcome }, nfs.ErrExist},
		{"SYMLINK", func(nfs.Client, nfs.FH) {},
			func(c nfs.Client, dir nfs.FH) nfs.Outcome { return c.Symlink(dir, "symlink", "t", nfs.Sattr{}).Outcome }, nfs.ErrExist},
		{"MKNOD", func(nfs.Client, nfs.FH) {},
			func(c nfs.Client, dir nfs.FH) nfs.Outcome {
				return c.Mknod(dir, "fifo", nfs.Fifo, nfs.Mode(0o600), 0, 0).Outcome
			}, nfs.ErrExist},
		{"LINK", func(c nfs.Client, dir nfs.FH) { linked = file(t, c, dir, "link-from", "") },
			func(c nfs.Client, dir nfs.FH) nfs.Outcome { return c.Link(linked, dir, "link-to").Outcome }, nfs.ErrExist},
		{"REMOVE", func(c nfs.Client, dir nfs.FH) { file(t, c, dir, "remove", "") },
			func(c nfs.Client, dir nfs.FH) nfs.Outcome { return c.Remove(dir, "remove").Outcome }, nfs.ErrNoent},
		{"RMDIR", func(c nfs.Client, dir nfs.FH) { must(t, c.Mkdir(dir, "rmdir", nfs.Mode(0o755))) },
			func(c nfs.Client, dir nfs.FH) nfs.Outcome { return c.Rmdir(dir, "rmdir").Outcome }, nfs.ErrNoent},
		{"RENAME", func(c nfs.Client, dir nfs.FH) { file(t, c, dir, "rename-from", "") },
			func(c nfs.Client, dir nfs.FH) nfs.Outcome {
				return c.Rename(dir, "rename-from", dir, "rename-to").Outcome
			}, nfs.ErrNoent},
		{"SETATTR",
			func(c nfs.Client, dir nfs.FH) {
				guarded = file(t, c, dir, "setattr", "")
				guard = attr(t, c, guarded).Ctime
			},
			func(c nfs.Client, _ nfs.FH) nfs.Outcome { return c.Setattr(guarded, nfs.Mode(0o600), &guard).Outcome }, nfs.ErrNotSync},
	}
}

// TestNFSRepeat: a request that is sent again gets the reply that it got, from
// any port of its client, and over a kill; it is not done twice.
func TestNFSRepeat(t *testing.T) {
	s := newShore(t)
	s.set("home", "clients=127.0.0.0/8", "squash=none")
	c, root := s.home(t)
	dir := made(t, c.Mkdir(root, "repeat", nfs.Mode(0o777)))
	list := unrepeatables(t)
	for i, u := range list {
		u.prepare(c, dir)
		xid := uint32(7000 + i)
		expect(t, u.name, u.request(c.Repeating(xid), dir))
		expect(t, u.name+" again", u.request(c.Repeating(xid), dir))
		expect(t, u.name+" again from another port", u.request(c.On(s.connect(t, "")).Repeating(xid), dir))
		expect(t, u.name+" under another XID", u.request(c.Repeating(xid+1000), dir), u.twice)
		expect(t, u.name+" under the same XID from another machine",
			u.request(c.On(s.connect(t, "127.0.0.2")).Repeating(xid), dir), u.twice)
		expect(t, u.name+" under the same XID in another's name", u.request(c.As(0, 1).Repeating(xid), dir), u.twice)
	}
	// The same XID with other arguments is another request.
	expect(t, "another request under a used XID", c.Repeating(7000).CreateGuarded(dir, "fresh", nfs.Sattr{}))
	made1 := must(t, c.Repeating(9000).CreateGuarded(dir, "whole", nfs.Mode(0o640)))
	made2 := must(t, c.On(s.connect(t, "")).Repeating(9000).CreateGuarded(dir, "whole", nfs.Mode(0o640)))
	if made1.FH != made2.FH || made1.FH == "" {
		t.Errorf("the reply to a CREATE that was sent again names %x, was %x", made2.FH, made1.FH)
	}
	failed := must(t, c.Repeating(9001).Remove(dir, "late"), nfs.ErrNoent)
	file(t, c, dir, "late", "")
	if again := c.Repeating(9001).Remove(dir, "late"); again.Err == nil && again.Status == failed.Status {
		must(t, c.Lookup(dir, "late"))
	}

	s.crash()
	c = s.client(t)
	for i, u := range list {
		expect(t, u.name+" again after a kill", u.request(c.Repeating(uint32(7000+i)), dir))
		expect(t, u.name+" again after a kill, under another XID", u.request(c, dir), u.twice)
	}
	s.restart()
	c = s.client(t)
	for i, u := range list {
		expect(t, u.name+" again after a restart", u.request(c.Repeating(uint32(7000+i)), dir))
	}
	s.finish()
}

// TestNFSReplyLost: the server is killed right after it did a request, so that
// its client never heard; the client sends it again to the next server.
func TestNFSReplyLost(t *testing.T) {
	s := newShore(t)
	for round := range 3 {
		c, root := s.home(t)
		dir := made(t, c.Mkdir(root, fmt.Sprint(round), nfs.Mode(0o777)))
		list := unrepeatables(t)
		for i, u := range list {
			u.prepare(c, dir)
			lost := c.On(s.connect(t, ""))
			go u.request(lost.Repeating(uint32(100+i)), dir) // nobody waits for it
		}
		// Sometimes all are done, sometimes some, sometimes none.
		time.Sleep(time.Duration(round) * 3 * time.Millisecond)
		s.crash()
		c = s.client(t)
		for i, u := range list {
			expect(t, fmt.Sprintf("round %d: %s after a kill", round, u.name), u.request(c.Repeating(uint32(100+i)), dir))
			expect(t, fmt.Sprintf("round %d: %s after a kill, once more", round, u.name), u.request(c.Repeating(uint32(100+i)), dir))
			expect(t, fmt.Sprintf("round %d: %s after a kill, done twice", round, u.name), u.request(c, dir), u.twice)
		}
	}
	s.finish()
}

// TestNFSRepeatInProgress: copies of a request that arrive while it is being
// done are not done, whatever connection they come by.
func TestNFSRepeatInProgress(t *testing.T) {
	s := newShore(t)
	c, root := s.home(t)
	const rounds, wires, copies = 30, 4, 8
	var lines []*nfs.Wire
	for range wires {
		w, err := nfs.DialWire(s.addr, "")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		lines = append(lines, w)
	}
	const firstXID = 50_000
	first := map[uint32][]byte{} // what was answered, by XID
	heard := func(w *nfs.Wire, last uint32, silence time.Duration) {
		for _, msg := range replies(t, w, silence) {
			xid, results, err := nfs.ParseReply(msg)
			if err != nil || xid < firstXID || xid > last || !bytes.HasPrefix(results, make([]byte, 4)) {
				t.Fatalf("reply %x to XID %d, the last asked being %d: %v", results, xid, last, err)
			}
			if first[xid] == nil {
				first[xid] = results
			}
			if !bytes.Equal(results, first[xid]) { // also where it comes rounds later
				t.Errorf("two replies to request %d:\n%x\n%x", xid, first[xid], results)
			}
		}
	}
	for round := range rounds {
		name := fmt.Sprint("f", round)
		xid := uint32(firstXID + round)
		call := nfs.Call{XID: xid, RPC: 2, Program: nfs.ProgramNFS, Version: 3, Procedure: nfs.ProcCreate, Cred: nfs.Sys("tester", 0, 0), Args: createGuarded(root, name)}
		var burst []byte
		for range copies {
			burst = append(burst, nfs.Record(call.Bytes(), 1<<20)...)
		}
		for _, w := range lines {
			if _, err := w.Write(burst); err != nil {
				t.Fatal(err)
			}
		}
		// One copy is done and answered; until then further ones get no answer.
		for end := time.Now().Add(30 * time.Second); first[xid] == nil; {
			if time.Now().After(end) {
				t.Fatalf("round %d: no reply at all", round)
			}
			for _, w := range lines {
				heard(w, xid, 5*time.Millisecond)
			}
		}
		// A client that hears nothing asks again, and then gets its answer.
		again := must(t, c.Repeating(xid).CreateGuarded(root, name, nfs.Sattr{}))
		if again.FH != found(t, c, root, name) {
			t.Errorf("round %d: two files of one request", round)
		}
	}
	// Replies may have come late, after they were waited for.
	for _, w := range lines {
		heard(w, firstXID+rounds-1, 300*time.Millisecond)
	}
	if n := len(names(t, c, root)); n != rounds {
		t.Errorf("%d files of %d requests", n, rounds)
	}
	s.finish()
}

// replies returns what comes on a connection until it is silent for so long. It
// may end only with one of the errors.
func replies(t *testing.T, w *nfs.Wire, silence time.Duration, may ...error) (list [][]byte) {
	t.Helper()
	for {
		if err := w.SetReadDeadline(time.Now().Add(silence)); err != nil {
			t.Fatal(err)
		}
		msg, err := w.Receive()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return list
		}
		if slices.ContainsFunc(may, func(m error) bool { return errors.Is(err, m) }) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, msg)
	}
}

// createGuarded is the arguments of a CREATE that sets nothing.
func createGuarded(dir nfs.FH, name string) []byte {
	args := append(getattr(dir), 0, 0, 0, byte(len(name)))
	args = append(args, name...)
	args = append(args, make([]byte, -len(name)&3)...)
	args = append(args, 0, 0, 0, 1)
	return append(args, make([]byte, 4*6)...)
}
