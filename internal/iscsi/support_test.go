package iscsi

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/scsi"
	"varve/internal/segstore/mem"
	client "varve/test/iscsiclient"
)

const diskName = Prefix + "d"

// house is a pool in memory with a volume "d" of 16 MiB that is served.
type house struct {
	t      testing.TB
	e      *engine.Engine
	srv    *Server
	addrs  []string
	hooked *hooks
}

type inner = Targets

// hooks are what tests change of disks.
type hooks struct {
	inner
	mu    sync.Mutex
	write func(off uint64) // called before each write
	kicks []func()
	cold  bool   // TryReadAt and TryWriteAt never succeed
	open  func() // called before each Open
}

func (h *hooks) set(write func(off uint64)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.write = write
}

func (h *hooks) Open(ctx context.Context, l LUN, addr string, kick func()) (scsi.Disk, error) {
	h.mu.Lock()
	f := h.open
	h.mu.Unlock()
	if f != nil {
		f()
	}
	d, err := h.inner.Open(ctx, l, addr, kick)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	h.kicks = append(h.kicks, kick)
	h.mu.Unlock()
	return &hookedDisk{d, h}, nil
}

type hookedDisk struct {
	scsi.Disk
	h *hooks
}

func (d *hookedDisk) WriteAt(p []byte, off uint64) error {
	d.h.mu.Lock()
	f := d.h.write
	d.h.mu.Unlock()
	if f != nil {
		f(off)
	}
	return d.Disk.WriteAt(p, off)
}

func (d *hookedDisk) TryWriteAt(p []byte, off uint64) bool {
	d.h.mu.Lock()
	f, cold := d.h.write, d.h.cold
	d.h.mu.Unlock()
	if cold || off%4096 != 0 || len(p)%4096 != 0 { // edges have to be read
		return false
	}
	if f != nil {
		f(off)
	}
	return d.Disk.TryWriteAt(p, off)
}

func (d *hookedDisk) TryReadAt(p []byte, off uint64, spans *[]scsi.Span) (bool, error) {
	d.h.mu.Lock()
	cold := d.h.cold
	d.h.mu.Unlock()
	if cold {
		return false, nil
	}
	return d.Disk.TryReadAt(p, off, spans)
}

func open(t testing.TB, o Options, portals int) *house {
	t.Helper()
	store := mem.New(4<<20, 256<<20)
	if err := engine.Format(store, time.Now(), rand.NewChaCha8([32]byte{})); err != nil {
		t.Fatal(err)
	}
	e, err := engine.Open(engine.Options{Store: store, CheckpointEvery: -1, BaseOps: 64})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if _, err := e.CreateVolume(engine.Caller{}, "d", 16<<20); err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, e: e, hooked: &hooks{inner: Volumes(e, time.UTC)}}
	var ls []net.Listener
	for range portals {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ls = append(ls, l)
		h.addrs = append(h.addrs, l.Addr().String())
	}
	h.srv = New(h.hooked, ls, o)
	served := make(chan error, 1)
	go func() { served <- h.srv.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := h.srv.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *house) set(props ...string) {
	h.t.Helper()
	for i := 0; i < len(props); i += 2 {
		if _, err := h.e.Set(engine.Caller{}, "d", props[i], props[i+1]); err != nil {
			h.t.Fatal(err)
		}
	}
}

// login logs in to "d" and takes the attention of a first login.
func (h *house) login(o client.Options) *client.Client {
	h.t.Helper()
	if o.Target == "" {
		o.Target = diskName
	}
	c, err := client.Login(h.addrs[0], o)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	if _, err := c.Do(client.TestUnitReady()); err != nil {
		h.t.Fatal(err)
	}
	return c
}

// good executes a command that must succeed.
func good(t *testing.T, c *client.Client, cmd client.Command) *client.Result {
	t.Helper()
	r, err := c.Do(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != client.Good || r.Response != 0 {
		t.Fatalf("command %#x: status %#x, response %d, sense %s", cmd.CDB[0], r.Status, r.Response, r.Key())
	}
	return r
}

// filled is n bytes that say what they are.
func filled(n int, seed byte) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(p)
	return p
}

// expect reads back what must be there.
func expect(t *testing.T, c *client.Client, lba uint64, want []byte) {
	t.Helper()
	if got := good(t, c, client.Read16(lba, len(want)/512)); !bytes.Equal(got.Data, want) {
		t.Fatalf("LBA %d has other bytes", lba)
	}
}

// askText sends a text request, with the target's tag of the one before, and returns
// the answer.
func askText(t *testing.T, c *client.Client, more uint32, keys []byte) *client.PDU {
	t.Helper()
	p := &client.PDU{Data: keys}
	p.Header[0], p.Header[1] = client.OpText, 0x80
	p.Put(16, c.Tag())
	p.Put(20, more)
	p.Put(24, c.CmdSN)
	c.CmdSN++
	return ask(t, c, p)
}

// ask sends a PDU and returns the next that comes.
func ask(t *testing.T, c *client.Client, p *client.PDU) *client.PDU {
	t.Helper()
	if err := c.Send(p); err != nil {
		t.Fatal(err)
	}
	r, err := c.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return r
}
