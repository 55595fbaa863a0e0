package nfs3

import (
	"bytes"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"varve/internal/fs"
)

// script is a connection on which the client has said everything already.
type script struct {
	in *bytes.Reader

	mu     sync.Mutex
	out    bytes.Buffer
	closed bool
}

func (s *script) Read(p []byte) (int, error) { return s.in.Read(p) }

func (s *script) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	return s.out.Write(p)
}

func (s *script) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	return nil
}

func (s *script) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *script) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 940} }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

var fuzzHandle = func() []byte {
	b := new(fs.FS).Encode(fs.Handle{Dataset: 1, Ino: 2})
	return b[:]
}()

// allCalls is a call of each procedure, with XIDs of their own.
func allCalls() (calls [][]byte) {
	xid := uint32(100)
	for proc := range uint32(nfsProcs + 1) {
		xid++
		calls = append(calls, callBytes(xid, progNFS, versNFS, proc, sysCred(1000, 100, 4, 5), anyArgs(proc, fuzzHandle)))
	}
	for proc := range uint32(mountProcs + 1) {
		xid++
		calls = append(calls, callBytes(xid, progMount, 3, proc, put64(nil, authNone), putOpaque(nil, "/home/d")))
	}
	return calls
}

// FuzzConnection feeds a whole connection. It must end, every reply must be
// whole and answer a call that was made, and only once.
func FuzzConnection(f *testing.F) {
	calls := allCalls()
	for _, c := range calls {
		f.Add(c)
	}
	all := bytes.Join(calls, nil)
	f.Add(all)
	f.Add(append(put32(nil, 8), append(calls[1][4:12:12], append(put32(nil, lastFragment|uint32(len(calls[1])-12)), calls[1][12:]...)...)...))
	f.Add(callBytes(7, progNFS, versNFS, procWrite, sysCred(0, 0), writeArgs(fuzzHandle, 0, 2, make([]byte, 70_000))))
	f.Add(callBytes(7, 100227, 3, 0, putOpaque(put32(nil, 6), "gss"), nil))
	s := newServer(newStill(new(fs.FS)), Options{Workers: 2})
	f.Fuzz(func(t *testing.T, in []byte) {
		s.seen = duplicates{}
		s.seen.init()
		sc := &script{in: bytes.NewReader(in)}
		s.admit(sc)
		s.conns.Wait()
		sent := xidsOf(in)
		out := sc.out.Bytes()
		for len(out) > 0 {
			if len(out) < 12 || be.Uint32(out)&^lastFragment > uint32(len(out)-4) || be.Uint32(out[8:]) != msgReply {
				t.Fatalf("replies end with %.40x", out)
			}
			xid := be.Uint32(out[4:])
			if sent[xid]--; sent[xid] < 0 {
				t.Fatalf("a reply to %d too many", xid)
			}
			out = out[4+be.Uint32(out)&^lastFragment:]
		}
		if len(s.mounts.set) > maxMounts || len(s.conns.All()) > 0 || !s.flying.TryAcquire(int64(s.opt.MaxRequests)) {
			t.Fatal("something is left")
		}
		s.flying.Release(int64(s.opt.MaxRequests))
	})
}

// xidsOf counts the XIDs of the records in a stream.
func xidsOf(in []byte) map[uint32]int {
	xids := map[uint32]int{}
	var record []byte
	for len(in) >= 4 {
		mark := be.Uint32(in)
		n := min(int(mark&^lastFragment), len(in)-4)
		record = append(record, in[4:4+n]...)
		in = in[4+n:]
		if mark&lastFragment != 0 {
			if len(record) >= 4 {
				xids[be.Uint32(record)]++
			}
			record = record[:0]
		}
	}
	return xids
}

// FuzzArgs feeds the decoder of each procedure. What it takes lies in the call
// and within its limits.
func FuzzArgs(f *testing.F) {
	for proc := range uint32(nfsProcs) {
		f.Add(uint8(proc), anyArgs(proc, fuzzHandle))
	}
	f.Add(uint8(procCreate), put64(createArgs(fuzzHandle, "x", createExclusive), 77))
	f.Add(uint8(procSetattr), putTime(putFlag(sizeAttr(fh(fuzzHandle), 7), true), 9e9))
	f.Add(uint8(nfsProcs+mountMnt), putOpaque(nil, "/home"))
	table := append(nfsTable[:], mountTable[:]...)
	f.Fuzz(func(t *testing.T, proc uint8, in []byte) {
		p := &table[int(proc)%len(table)]
		var a args
		d := decoder{p: in}
		p.decode(&a, &d)
		if d.bad {
			return
		}
		if len(a.fh) > maxHandle || len(a.fh2) > maxHandle || len(a.data) > maxIO || len(a.data) > int(a.count) {
			t.Fatalf("%+v", a)
		}
		if len(a.fh)+len(a.fh2)+len(a.name)+len(a.name2)+len(a.target)+len(a.data) > len(in) {
			t.Fatalf("more than the %d bytes that there are: %+v", len(in), a)
		}
		if m := a.set.Mode; m != nil && *m > 0o7777 {
			t.Fatalf("mode %o", *m)
		}
		if p.room != nil {
			if n := p.room(&a); n < smallReply && p.early == false || n > maxRecord+512 {
				t.Fatalf("room for %d bytes", n)
			}
		}
	})
}

// FuzzPortmap feeds calls to the portmapper: it says nothing, or little.
func FuzzPortmap(f *testing.F) {
	for proc := range uint32(6) {
		f.Add(portmapCall(proc, progNFS, 3, protoTCP, 0)[4:])
	}
	f.Add(callBytes(1, progPortmap, 4, 3, sysCred(0, 0), nil)[4:])
	m := NewPortmap(2049, nil)
	f.Fuzz(func(t *testing.T, in []byte) {
		p := m.answer(nil, in)
		if p == nil {
			return
		}
		if len(p) > portmapReply || be.Uint32(p) != lastFragment|uint32(len(p)-4) || be.Uint32(p[4:]) != be.Uint32(in) {
			t.Fatalf("%x", p)
		}
	})
}

// FuzzRule feeds properties of a share. A rule that is one says the same when
// it is written down as EXPORT shows it.
func FuzzRule(f *testing.F) {
	f.Add("", "", "", "", "")
	f.Add("10.0.0.0/8, ::1,::ffff:192.168.1.1/120", "ro", "all", "1", "4294967295")
	f.Fuzz(func(t *testing.T, clients, access, squash, uid, gid string) {
		props := map[string]string{propClients: clients, propAccess: access, propSquash: squash, propAnonUID: uid, propAnonGID: gid}
		r, err := parseRule(props)
		if err != nil {
			return
		}
		if len(r.clients) == 0 || len(r.clients) > maxClients {
			t.Fatalf("%d clients", len(r.clients))
		}
		props[propClients] = strings.Join(r.names, ",")
		again, err := parseRule(props)
		if err != nil || !slices.Equal(again.clients, r.clients) || again.squash != r.squash {
			t.Fatalf("%+v and %+v, %v", r, again, err)
		}
	})
}
