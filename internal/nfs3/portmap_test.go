package nfs3

import (
	"context"
	"net"
	"testing"
	"time"
)

func portmapCall(proc uint32, args ...uint32) []byte {
	var p []byte
	for _, a := range args {
		p = put32(p, a)
	}
	return callBytes(42, progPortmap, versPortmap, proc, put64(nil, authNone), p)
}

func TestPortmap(t *testing.T) {
	m := NewPortmap(2049, nil)
	for _, x := range []struct{ prog, vers, proto, want uint32 }{
		{progNFS, 3, protoTCP, 2049}, {progMount, 3, protoTCP, 2049}, {progMount, 1, protoTCP, 2049},
		{progNFS, 3, 17, 0}, {progNFS, 4, protoTCP, 0}, {100021, 4, protoTCP, 0}, {progMount, 0, protoTCP, 0},
	} {
		d := decoder{p: m.answer(nil, portmapCall(portmapGetport, x.prog, x.vers, x.proto, 0)[4:])[replyHead:]}
		if got := d.u32(); got != x.want || d.bad {
			t.Errorf("%+v: port %d", x, got)
		}
	}
	for want, p := range map[uint32][]byte{
		rpcNoProgram:   callBytes(1, progNFS, 3, 0, put64(nil, 0), nil),
		rpcMismatch:    callBytes(1, progPortmap, 4, 0, put64(nil, 0), nil),
		rpcNoProcedure: portmapCall(5), // CALLIT
		rpcGarbageArgs: portmapCall(portmapGetport, 1, 2),
	} {
		if got := be.Uint32(m.answer(nil, p[4:])[24:]); got != want {
			t.Errorf("accept status %d, want %d", got, want)
		}
	}
	if p := m.answer(nil, []byte("not a call")); p != nil {
		t.Errorf("answered with %x", p)
	}
}

func TestPortmapListens(t *testing.T) {
	m := NewPortmap(2049, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() { ended <- m.Serve(l) }()
	go func() { ended <- m.ServePacket(pc) }()

	c := dial(t, l.Addr().String())
	for range 3 {
		c.write(portmapCall(portmapDump))
		r := c.reply()
		n := 0
		for r.flag() {
			if prog, vers, proto, port := r.u32(), r.u32(), r.u32(), r.u32(); port != 2049 || proto != protoTCP || prog < progNFS || vers > 3 {
				t.Error(prog, vers, proto, port)
			}
			n++
		}
		if r.end(); n != 3 {
			t.Errorf("%d programs", n)
		}
	}
	c.write(put32(nil, lastFragment|(portmapRecord+1)))
	c.expectEnd()

	u, err := net.Dial("udp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	u.SetDeadline(time.Now().Add(waitLimit))
	u.Write([]byte("garbage, which is not answered"))
	u.Write(portmapCall(portmapGetport, progNFS, 3, protoTCP, 0)[4:])
	p := make([]byte, 100)
	n, err := u.Read(p)
	if err != nil || n != replyHead || be.Uint32(p) != 42 || be.Uint32(p[24:]) != 2049 {
		t.Errorf("%x, %v", p[:n], err)
	}

	idle := dial(t, l.Addr().String())
	idle.write(portmapCall(portmapNull))
	idle.reply().end()
	if err := m.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	idle.expectEnd()
	if err := m.Serve(l); err == nil {
		t.Error("Serve after Shutdown")
	}
}
