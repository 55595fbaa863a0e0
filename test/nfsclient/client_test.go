package nfsclient

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
)

// answering starts a server that answers each message with what reply makes of
// it, and returns a client of it.
func answering(t *testing.T, reply func(call []byte) []byte) Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		served.Wait()
	})
	served.Go(func() {
		nc, err := l.Accept()
		if err != nil {
			return // the test is over
		}
		defer nc.Close()
		w := newWire(nc)
		for {
			msg, err := w.Receive()
			if err != nil {
				return
			}
			if _, err := nc.Write(reply(msg)); err != nil {
				return
			}
		}
	})
	c, err := Dial(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return Client{Conn: c}.As(0, 0)
}

// bytesOf reads "00000001 0a" as bytes.
func bytesOf(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// results makes a whole record of an accepted reply to the call.
func results(call, body []byte) []byte {
	var e encoder
	e = append(e, call[:4]...)
	for _, v := range []uint32{1, 0, 0, 0, 0} {
		e.u32(v)
	}
	return Record(append(e, body...), 1<<20)
}

// TestCallBytes: one call of each shape, byte by byte as the texts have it.
func TestCallBytes(t *testing.T) {
	var sent []byte
	c := answering(t, func(call []byte) []byte {
		sent = bytes.Clone(call)
		return results(call, bytesOf(t, "00000046 00000000 00000000")) // STALE, empty wcc
	})
	const head = "00000007 00000000 00000002 000186a3 00000003 %% 00000001 00000024 00000000 00000006 746573746572 0000 " +
		"000003e8 00000064 00000002 00000065 00000066 00000000 00000000"
	guard := Time{5, 6}
	size := uint64(1 << 40)
	who := c.As(1000, 100, 101, 102).Repeating(7)
	for name, x := range map[string]struct {
		call func()
		proc string
		args string
	}{
		"SETATTR": {func() {
			who.Setattr("abcd", Sattr{Size: &size, AtimeHow: ServerTime, MtimeHow: ClientTime, MtimeWant: Time{1, 2}}.WithMode(0o644), &guard)
		},
			"00000002", "00000004 61626364 00000001 000001a4 00000000 00000000 00000001 0000010000000000 00000001 00000002 00000001 00000002 00000001 00000005 00000006"},
		"WRITE": {func() { who.Write("abcde", 3, []byte("xy"), DataSync) },
			"00000007", "00000005 6162636465 000000 0000000000000003 00000002 00000001 00000002 7879 0000"},
		"CREATE EXCLUSIVE": {func() { who.CreateExclusive("abcd", "n", Verifier{1, 2, 3, 4, 5, 6, 7, 8}) },
			"00000008", "00000004 61626364 00000001 6e 000000 00000002 0102030405060708"},
		"MKNOD": {func() { who.Mknod("abcd", "n", Chr, Owner(1, 2), 8, 9) },
			"0000000b", "00000004 61626364 00000001 6e 000000 00000004 00000000 00000001 00000001 00000001 00000002 00000000 00000000 00000000 00000008 00000009"},
		"RENAME": {func() { who.Rename("abcd", "n", "efgh", "mm") },
			"0000000e", "00000004 61626364 00000001 6e 000000 00000004 65666768 00000002 6d6d 0000"},
		"READDIRPLUS": {func() { who.Readdirplus("abcd", 9, Verifier{7: 1}, 512, 4096) },
			"00000011", "00000004 61626364 0000000000000009 0000000000000001 00000200 00001000"},
	} {
		x.call()
		if want := bytesOf(t, strings.Replace(head, "%%", x.proc, 1)+x.args); !bytes.Equal(sent, want) {
			t.Errorf("%s is\n%x, want\n%x", name, sent, want)
		}
	}
}

// attrBytes is a file of mode 644 with 5 bytes.
const attrBytes = "00000001 000001a4 00000001 00000000 00000000 0000000000000005 0000000000001000 00000000 00000000 " +
	"0000000000000001 0000000000000002 00000001 00000002 00000003 00000004 00000005 00000006"

// TestResults: what is right is understood.
func TestResults(t *testing.T) {
	body := ""
	c := answering(t, func(call []byte) []byte { return results(call, bytesOf(t, body)) })
	body = "00000000" + attrBytes
	if r := c.Getattr("h"); r.Want(OK) != nil || r.Attr.Size != 5 || r.Attr.FileID != 2 || r.Attr.Ctime != (Time{5, 6}) {
		t.Errorf("GETATTR: %+v", r)
	}
	body = "00000000 00000001" + attrBytes + "00000003 00000001 00000003 616263 00"
	if r := c.Read("h", 0, 8); r.Want(OK) != nil || string(r.Data) != "abc" || !r.EOF || r.Attr == nil {
		t.Errorf("READ: %+v", r)
	}
	body = "00000000 00000000 0102030405060708" +
		"00000001 0000000000000002 00000001 61 000000 0000000000000009 00000001" + attrBytes + "00000001 00000004 61626364" +
		"00000000 00000001"
	r := c.Readdirplus("h", 0, Verifier{}, 1000, 1000)
	if r.Want(OK) != nil || len(r.Entries) != 1 || r.Entries[0].FH != "abcd" || !r.EOF || r.Size != len(bytesOf(t, body))-4 {
		t.Fatalf("READDIRPLUS: %+v", r)
	}
	if n := r.Entries[0].Size(true); n != r.Size-4-8-4-4 {
		t.Errorf("an entry of %d bytes in a reply of %d", n, r.Size)
	}
	body = "0000000d"
	if r := c.Mnt("/x"); r.Want(ErrAcces) != nil {
		t.Errorf("MNT: %+v", r)
	}
	body = "00000001 00000002 2f61 0000 00000001 00000001 78 000000 00000000 00000000"
	if r := c.Export(); r.Want(OK) != nil || len(r.Exports) != 1 || r.Exports[0].Path != "/a" || r.Exports[0].Groups[0] != "x" {
		t.Errorf("EXPORT: %+v", r)
	}
	body = "00000001 000186a3 00000003 00000006 00000801 00000000"
	if list, o := c.Mappings(); o.Want(OK) != nil || len(list) != 1 || list[0] != (Mapping{ProgramNFS, 3, TCP, 2049}) {
		t.Errorf("DUMP: %+v", list)
	}
}

// TestStrict: replies that break a rule are found out.
func TestStrict(t *testing.T) {
	for name, x := range map[string]struct {
		call func(Client) error
		body string
	}{
		"an unknown status":        {func(c Client) error { return c.Getattr("h").Err }, "00000003"},
		"a long result":            {func(c Client) error { return c.Getattr("h").Err }, "00000000" + attrBytes + "00000000"},
		"a short result":           {func(c Client) error { return c.Getattr("h").Err }, "00000000" + attrBytes[:44]},
		"an error with attributes": {func(c Client) error { return c.Getattr("h").Err }, "00000046" + attrBytes},
		"a boolean of 2":           {func(c Client) error { return c.Remove("h", "n").Err }, "00000000 00000002 00000000"},
		"dirty padding":            {func(c Client) error { return c.Read("h", 0, 8).Err }, "00000000 00000000 00000003 00000001 00000003 616263 01"},
		"too much data":            {func(c Client) error { return c.Read("h", 0, 2).Err }, "00000000 00000000 00000003 00000001 00000003 616263 00"},
		"two counts":               {func(c Client) error { return c.Read("h", 0, 8).Err }, "00000000 00000000 00000002 00000001 00000003 616263 00"},
		"a read that stalls":       {func(c Client) error { return c.Read("h", 0, 8).Err }, "00000000 00000000 00000000 00000000 00000000"},
		"a weaker write": {func(c Client) error { return c.Write("h", 0, []byte("a"), FileSync).Err },
			"00000000 00000000 00000000 00000001 00000000 0000000000000000"},
		"a write of nothing": {func(c Client) error { return c.Write("h", 0, []byte("a"), Unstable).Err },
			"00000000 00000000 00000000 00000000 00000000 0000000000000000"},
		"a right nobody asked for": {func(c Client) error { return c.Access("h", AccessRead).Err }, "00000000 00000000 00000003"},
		"a handle too long":        {func(c Client) error { return c.Lookup("h", "n").Err }, "00000000 00000044" + strings.Repeat("00", 68) + "00000000 00000000"},
		"an empty handle":          {func(c Client) error { return c.Lookup("h", "n").Err }, "00000000 00000000 00000000 00000000"},
		"a name with a slash": {func(c Client) error { return c.Readdir("h", 0, Verifier{}, 1000).Err },
			"00000000 00000000 0000000000000000 00000001 0000000000000002 00000001 2f 000000 0000000000000009 00000000 00000001"},
		"a list over its size": {func(c Client) error { return c.Readdir("h", 0, Verifier{}, 40).Err },
			"00000000 00000000 0000000000000000 00000001 0000000000000002 00000001 61 000000 0000000000000009 00000000 00000001"},
		"a list without end": {func(c Client) error { return c.Readdir("h", 0, Verifier{}, 40).Err },
			"00000000 00000000 0000000000000000 00000000 00000000"},
		"a mount without a flavor": {func(c Client) error { return c.Mnt("/").Err }, "00000000 00000004 61626364 00000000"},
	} {
		c := answering(t, func(call []byte) []byte { return results(call, bytesOf(t, x.body)) })
		if err := x.call(c); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRefusals: RPC's own answers are told apart.
func TestRefusals(t *testing.T) {
	for _, x := range []struct {
		words string
		want  Refusal
	}{
		{"00000001 00000000 00000000 00000000 00000001", Refusal{Stat: ProgUnavail}},
		{"00000001 00000000 00000000 00000000 00000002 00000003 00000004", Refusal{Stat: ProgMismatch, Low: 3, High: 4}},
		{"00000001 00000000 00000000 00000000 00000003", Refusal{Stat: ProcUnavail}},
		{"00000001 00000001 00000000 00000002 00000002", Refusal{Denied: true, Stat: RPCMismatch, Low: 2, High: 2}},
		{"00000001 00000001 00000001 00000005", Refusal{Denied: true, Stat: AuthError, Auth: 5}},
	} {
		c := answering(t, func(call []byte) []byte { return Record(append(call[:4:4], bytesOf(t, x.words)...), 5) })
		var got *Refusal
		if err := c.Null().Err; !errors.As(err, &got) || *got != x.want {
			t.Errorf("%s: %v", x.words, err)
		}
	}
}

// TestStray: an answer that nobody waits for ends the connection.
func TestStray(t *testing.T) {
	c := answering(t, func(call []byte) []byte {
		call[3]++
		return results(call, nil)
	})
	if err := c.Null().Err; !errors.Is(err, ErrProtocol) {
		t.Errorf("an answer with another XID: %v", err)
	}
}

// FuzzReply: no bytes of a server can do more than be refused.
func FuzzReply(f *testing.F) {
	ok := bytesOf(f, "00000001 00000001 00000000 00000000 00000000 00000000 00000000"+attrBytes)
	f.Add(uint8(0), ok)
	f.Add(uint8(8), bytesOf(f, "00000001 00000001 00000000 00000000 00000000 00000000 00000000 00000000 0102030405060708"+
		"00000001 0000000000000002 00000001 61 000000 0000000000000009 00000001"+attrBytes+"00000001 00000004 61626364 00000000 00000001"))
	f.Add(uint8(3), bytesOf(f, "00000001 00000001 00000001 00000001 00000005"))
	f.Fuzz(func(t *testing.T, kind uint8, msg []byte) {
		bodies := []body{&AttrRes{}, &WccRes{}, &LookupRes{}, &AccessRes{}, &ReadlinkRes{}, &ReadRes{}, &WriteRes{}, &CommitRes{},
			&ReaddirRes{plus: true}, &ReaddirRes{}, &MakeRes{}, &RenameRes{}, &LinkRes{}, &FsstatRes{}, &FsinfoRes{}, &PathconfRes{},
			&MntRes{}, &DumpRes{}, &ExportRes{}}
		_, results, err := ParseReply(msg)
		if err != nil {
			return
		}
		d := decoder{b: results}
		st := Status(d.u32())
		bodies[int(kind)%len(bodies)].read(&d, st == OK)
		_ = d.done()
	})
}
