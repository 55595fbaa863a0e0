package power

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"varve/test/daemon"
	nfs "varve/test/nfsclient"
)

const (
	shareDirs  = 4
	shareFiles = 3
	shareConns = 3
	inFlight   = 8 // requests of one connection
)

// TestKillSharesUnderLoad kills a server while clients make, name, change,
// write and remove files. After each restart everything that was answered is
// there, what was not was done wholly or not at all, data are a prefix of
// history with all that was committed, and requests that were not answered are
// sent again and succeed, whether they had been done or not.
func TestKillSharesUnderLoad(t *testing.T) {
	t.Parallel()
	seed := setting("VARVE_SEED", uint64(time.Now().UnixNano()))
	kills := int(setting("VARVE_KILLS", 12))
	t.Logf("VARVE_SEED=%d", seed)
	bin, err := daemon.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range pools {
		t.Run(p.name, func(t *testing.T) {
			r := newShareRig(t, bin, rand.New(rand.NewPCG(seed, uint64(i))), p.serve)
			r.create(p.init)
			for r.kills < kills {
				r.round()
			}
			r.farewell()
			t.Logf("%d kills, slowest restart %v, %d requests sent again, of which %d had been done; answered %v and %v",
				r.kills, r.slowest.Round(time.Millisecond), r.again, r.wasDone, r.names.done, r.counts)
			for _, what := range []string{"CREATE", "MKDIR", "SYMLINK", "MKNOD", "LINK", "RENAME", "REMOVE", "RMDIR", "SETATTR"} {
				if r.names.done[what] == 0 {
					t.Errorf("no %s was answered", what)
				}
			}
			if r.again == 0 || r.wasDone == 0 {
				t.Errorf("no request that was done and not answered was sent again")
			}
		})
	}
}

// shareRig is one pool under test.
type shareRig struct {
	t      *testing.T
	rand   *rand.Rand
	pool   daemon.Pool
	args   []string
	addr   string
	server *daemon.Server
	h      *history
	names  *tree
	files  []nfs.FH
	xids   atomic.Uint32

	mu     sync.Mutex
	counts map[string]int
	verf   nfs.Verifier // of this server
	old    map[nfs.Verifier]bool

	kills, again, wasDone int
	slowest               time.Duration
}

func newShareRig(t *testing.T, bin string, r *rand.Rand, args []string) *shareRig {
	dir, err := os.MkdirTemp("", "varve-power-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the pool is kept in %s", dir)
			return
		}
		os.RemoveAll(dir)
	})
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	var units []uint64
	for range shareFiles {
		units = append(units, dataUnits)
	}
	rig := &shareRig{t: t, rand: r, pool: daemon.Pool{Bin: bin, Dir: filepath.Join(dir, "p")}, addr: addr,
		args: append([]string{"--nfs", addr}, args...), h: newHistory(units...), counts: map[string]int{}, old: map[nfs.Verifier]bool{}}
	rig.xids.Store(r.Uint32())
	return rig
}

func (r *shareRig) xid() uint32 { return r.xids.Add(1) }

func (r *shareRig) count(what string) {
	r.mu.Lock()
	r.counts[what]++
	r.mu.Unlock()
}

// verifier: one server has one, and none that an earlier one had.
func (r *shareRig) verifier(v nfs.Verifier) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.verf == (nfs.Verifier{}) {
		r.verf = v
	}
	if v != r.verf || r.old[v] {
		return fmt.Errorf("write verifier %x, was %x; of a killed server: %v", v, r.verf, r.old[v])
	}
	return nil
}

func (r *shareRig) create(init []string) {
	r.t.Helper()
	r.run(append([]string{"init", r.pool.Dir}, init...)...)
	r.serve()
	r.t.Cleanup(func() { r.server.Kill() })
	r.run("share", "create", "home")
	c, root := r.connect()
	defer c.Conn.Close()
	var dirs []nfs.FH
	for i := range shareDirs {
		dirs = append(dirs, r.made(c.Mkdir(root, fmt.Sprint("dir", i), nfs.Mode(0o755))))
	}
	for i := range shareFiles {
		r.files = append(r.files, r.made(c.CreateGuarded(root, fmt.Sprint("file", i), nfs.Mode(0o644))))
	}
	r.names = newTree(dirs)
}

func (r *shareRig) made(m nfs.MakeRes) nfs.FH {
	r.t.Helper()
	if err := m.Want(nfs.OK); err != nil || m.FH == "" {
		r.t.Fatalf("making an object: %v", err)
	}
	return m.FH
}

func (r *shareRig) run(args ...string) {
	r.t.Helper()
	if _, err := r.pool.Run(args...); err != nil {
		r.t.Fatal(err)
	}
}

func (r *shareRig) serve() {
	r.t.Helper()
	var err error
	if r.server, err = r.pool.Serve(r.args...); err != nil {
		r.t.Fatal(err)
	}
	if err := r.server.WaitReady(r.pool.Socket(), 30*time.Second); err != nil {
		r.t.Fatal(err)
	}
}

// connect opens a connection and mounts the share.
func (r *shareRig) connect() (nfs.Client, nfs.FH) {
	r.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		conn, err := nfs.Dial(r.addr)
		if err == nil {
			c := nfs.Client{Conn: conn}.As(0, 0)
			m := c.Mnt("/home")
			if err = m.Want(nfs.OK); err == nil || r.names == nil {
				return c, m.FH
			}
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%v\n%s", err, r.server.Log())
		}
	}
}

func (r *shareRig) workers(stop <-chan struct{}) (list []*worker, hangUp func()) {
	var conns []*nfs.Conn
	for range shareConns {
		c, _ := r.connect()
		conns = append(conns, c.Conn)
		for range inFlight {
			list = append(list, &worker{rig: r, c: c, rng: rand.New(rand.NewPCG(r.rand.Uint64(), 0)), stop: stop})
		}
	}
	return list, func() {
		for _, c := range conns {
			c.Close()
		}
	}
}

// round is: load, kill, restart, look, send again what was not answered.
func (r *shareRig) round() {
	workers, hangUp := r.workers(nil)
	var killed atomic.Bool
	timer := time.AfterFunc(50*time.Millisecond+time.Duration(r.rand.Int64N(int64(1200*time.Millisecond))), func() {
		killed.Store(true)
		r.server.Kill()
	})
	defer timer.Stop()
	err := driveShares(workers)
	hangUp()
	if err != nil {
		r.t.Fatalf("%v\n%s", err, r.server.Log())
	}
	if !killed.Load() {
		r.t.Fatalf("the connections ended before the kill; alive %v\n%s", r.server.Alive(), r.server.Log())
	}
	r.server.Kill() // wait until it is gone
	r.kills++
	r.restart()
	c, _ := r.connect()
	defer c.Conn.Close()
	r.look(c)
}

func (r *shareRig) restart() {
	r.old[r.verf], r.verf = true, nfs.Verifier{}
	for r.rand.IntN(4) == 0 {
		s, err := r.pool.Serve(r.args...)
		if err != nil {
			r.t.Fatal(err)
		}
		time.Sleep(time.Duration(r.rand.Int64N(int64(80 * time.Millisecond))))
		s.Kill()
		r.kills++
	}
	r.serve()
	c, _ := r.connect()
	c.Conn.Close()
	took := time.Since(r.server.Started)
	r.slowest = max(r.slowest, took)
	if took > serveWithin {
		r.t.Errorf("served again after %v, want at most %v\n%s", took, serveWithin, r.server.Log())
	}
}

// look judges data and names, and settles what was open.
func (r *shareRig) look(c nfs.Client) {
	r.t.Helper()
	var m image
	for i := range r.files {
		m = append(m, r.owners(c, i))
	}
	if err := r.h.recovered(m); err != nil {
		r.t.Fatalf("after %d kills: %v\n%s", r.kills, err, r.server.Log())
	}
	r.h.settle(m)
	open, err := r.names.judge(r.list(c))
	if err != nil {
		r.t.Fatalf("after %d kills: %v\n%s", r.kills, err, r.server.Log())
	}
	for _, o := range open {
		r.sendAgain(c, o)
	}
	if _, err := r.names.judge(r.list(c)); err != nil {
		r.t.Fatalf("after %d kills, and sending again what was not answered: %v\n%s", r.kills, err, r.server.Log())
	}
}

// sendAgain sends half of the requests that were not answered once more. They
// must succeed, done or not.
func (r *shareRig) sendAgain(c nfs.Client, o *change) {
	r.t.Helper()
	if r.rand.IntN(2) == 0 {
		r.names.settled(o)
		return
	}
	done := o.applied
	outcome, fh := o.call(c.Repeating(o.xid))
	if err := outcome.Want(nfs.OK); err != nil {
		r.t.Fatalf("after %d kills: %s sent again, which was done: %v: %v\n%s", r.kills, o, done, err, r.server.Log())
	}
	r.again++
	if done {
		r.wasDone++
	}
	if done && fh != "" && fh != o.set[0].to.fh {
		r.t.Errorf("%s sent again names another object", o)
	}
	r.names.answered(o, fh)
}

func (r *shareRig) owners(c nfs.Client, file int) []opID {
	r.t.Helper()
	var list []opID
	const step = 1 << 20 / unitSize
	for at := uint64(0); at < dataUnits; at += step {
		p, o := readUnits(c, r.files[file], span{vol: file, first: at, n: step})
		if err := o.Want(nfs.OK); err != nil {
			r.t.Fatalf("READ: %v\n%s", err, r.server.Log())
		}
		for i := range uint64(step) {
			id, err := identify(p[i*unitSize:(i+1)*unitSize], file, at+i)
			if err != nil {
				r.t.Fatalf("after %d kills, file %d byte %d: %v", r.kills, file, (at+i)*unitSize, err)
			}
			list = append(list, id)
		}
	}
	return list
}

// list reads all names.
func (r *shareRig) list(c nfs.Client) found {
	r.t.Helper()
	f := found{}
	subdirs := make([]uint32, shareDirs)
	nlinks := make([]uint32, shareDirs)
	for d, dir := range r.names.dirs {
		for cookie, v, eof := uint64(0), (nfs.Verifier{}), false; !eof; {
			got := c.Readdirplus(dir, cookie, v, 4096, 32<<10)
			if err := got.Want(nfs.OK); err != nil {
				r.t.Fatalf("READDIRPLUS: %v\n%s", err, r.server.Log())
			}
			for _, e := range got.Entries {
				cookie = e.Cookie
				if e.Name == "." {
					nlinks[d] = e.Attr.Nlink
				}
				if e.Name == "." || e.Name == ".." {
					continue
				}
				var n int
				if _, err := fmt.Sscanf(e.Name, "n%02d", &n); err != nil || n >= namesPerDir {
					r.t.Fatalf("an entry called %q", e.Name)
				}
				f[d*namesPerDir+n] = seen{kind: e.Attr.Type, id: e.Attr.UID, version: e.Attr.GID, nlink: e.Attr.Nlink, fh: e.FH, size: e.Attr.Size}
				if e.Attr.Type == nfs.Dir {
					subdirs[d]++
				}
			}
			v, eof = got.Verf, got.EOF
		}
		if nlinks[d] != 2+subdirs[d] {
			r.t.Errorf("directory %d has %d links and %d subdirectories", d, nlinks[d], subdirs[d])
		}
	}
	return f
}

// farewell ends the server as an operator would, under load: everything that
// was answered is there, committed or not, and the pool is whole.
func (r *shareRig) farewell() {
	stop := make(chan struct{})
	workers, hangUp := r.workers(stop)
	time.AfterFunc(300*time.Millisecond, func() { close(stop) })
	if err := driveShares(workers); err != nil {
		r.t.Fatal(err)
	}
	hangUp()
	if err := r.server.Stop(drainWithin); err != nil {
		r.t.Fatal(err)
	}
	if out, err := r.pool.Run("check", r.pool.Dir, "--data"); err != nil {
		r.t.Fatalf("%v\n%s", err, out)
	}
	r.serve()
	now := r.h.tick()
	c, _ := r.connect()
	defer c.Conn.Close()
	var m image
	for i := range r.files {
		m = append(m, r.owners(c, i))
	}
	if err := r.h.moment(m, now, never); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.names.judge(r.list(c)); err != nil {
		r.t.Fatal(err)
	}
	if err := r.verifierKept(c); err != nil {
		r.t.Error(err)
	}
}

// verifierKept: nothing was lost, so that nothing need be written again.
func (r *shareRig) verifierKept(c nfs.Client) error {
	got := c.Commit(r.files[0], 0, 0)
	if err := got.Want(nfs.OK); err != nil {
		return err
	}
	if got.Verf != r.verf {
		return fmt.Errorf("verifier %x after a proper restart, was %x", got.Verf, r.verf)
	}
	return nil
}
