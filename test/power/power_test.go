// Package power kills the real server with SIGKILL while a client that knows
// what was flushed keeps it busy, and checks after each restart that every
// disk holds a prefix of the history with all that was flushed in it.
//
// VARVE_SEED repeats the choices of a run, though not its timing; VARVE_KILLS is
// how often each of the pools is killed.
package power

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"varve/test/daemon"
)

const (
	serveWithin = 2 * time.Second // a killed server serves again
	drainWithin = 20 * time.Second
)

// pools says what to kill: the same test over different ways to lay the log.
var pools = []struct {
	name  string
	init  []string
	serve []string
}{
	{"default", nil, nil},
	{"small-segments", []string{"--segment-size", "4M"}, []string{"--checkpoint-interval", "1s"}},
	{"many-checkpoints", []string{"--segment-size", "16M"}, []string{"--checkpoint-interval", "100ms"}},
}

var disks = []struct {
	name  string
	size  uint64
	conns int
}{
	{"a", 32 << 20, 3},
	{"b", 16 << 20, 2},
}

func TestKillUnderLoad(t *testing.T) {
	t.Parallel()
	seed := setting("VARVE_SEED", uint64(time.Now().UnixNano()))
	kills := int(setting("VARVE_KILLS", 12))
	t.Logf("VARVE_SEED=%d", seed)
	bin, err := daemon.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var sum tally
	for i, p := range pools {
		t.Run(p.name, func(t *testing.T) {
			r := newRig(t, bin, rand.New(rand.NewPCG(seed, uint64(i))), p.serve)
			r.create(p.init)
			for r.kills < kills {
				r.round()
			}
			r.farewell()
			t.Logf("%v", r.tally)
			sum.add(r.tally)
		})
	}
	t.Logf("in all: %v", sum)
	if c := sum.count; min(c.write, c.trim, c.zeroes, c.fua, c.flush, c.read, sum.snapshots) == 0 {
		t.Errorf("some kind of request was never answered: %+v, %d snapshots", c, sum.snapshots)
	}
	if sum.kills < len(pools)*kills {
		t.Errorf("%d kills, want %d", sum.kills, len(pools)*kills)
	}
}

// setting returns a number from the environment.
func setting(name string, otherwise uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
		return n
	}
	return otherwise
}

// tally says what a run did.
type tally struct {
	kills     int
	snapshots int
	count     counts
	slowest   time.Duration // from exec to serving
}

func (s *tally) add(o tally) {
	s.kills += o.kills
	s.snapshots += o.snapshots
	s.count.add(o.count)
	s.slowest = max(s.slowest, o.slowest)
}

func (s tally) String() string {
	return fmt.Sprintf("%d kills, slowest restart %v, %d snapshots verified, answered %+v", s.kills, s.slowest.Round(time.Millisecond), s.snapshots, s.count)
}

// rig is one pool under test.
type rig struct {
	tally
	t      *testing.T
	rand   *rand.Rand
	pool   daemon.Pool
	args   []string
	server *daemon.Server
	h      *history
	shots  []shot
}

// shot is an acknowledged snapshot of the first disk and what it must hold.
type shot struct {
	name     string
	from, to uint64
	image    []opID // nil until it was looked at
}

func newRig(t *testing.T, bin string, r *rand.Rand, args []string) *rig {
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
	var units []uint64
	for _, d := range disks {
		units = append(units, d.size/unitSize)
	}
	return &rig{t: t, rand: r, pool: daemon.Pool{Bin: bin, Dir: filepath.Join(dir, "p")}, args: args, h: newHistory(units...)}
}

func (r *rig) create(init []string) {
	r.t.Helper()
	r.run(append([]string{"init", r.pool.Dir}, init...)...)
	r.serve()
	r.t.Cleanup(func() { r.server.Kill() })
	for _, d := range disks {
		r.run("volume", "create", d.name, "--size", fmt.Sprint(d.size))
	}
}

func (r *rig) run(args ...string) {
	r.t.Helper()
	if _, err := r.pool.Run(args...); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) serve() {
	r.t.Helper()
	var err error
	if r.server, err = r.pool.Serve(r.args...); err != nil {
		r.t.Fatal(err)
	}
	if err := r.server.WaitReady(r.pool.Socket(), 30*time.Second); err != nil {
		r.t.Fatal(err)
	}
}

// round is: load, kill, restart, look.
func (r *rig) round() {
	loads := r.loads(nil)
	var killed atomic.Bool
	taken := make(chan shot, 1)
	go func() { taken <- r.snapshot(&killed) }()
	timer := time.AfterFunc(50*time.Millisecond+time.Duration(r.rand.Int64N(int64(1500*time.Millisecond))), func() {
		killed.Store(true)
		r.server.Kill()
	})
	defer timer.Stop()
	n, err := drive(loads)
	if !killed.Load() {
		r.t.Fatalf("the connections ended before the kill: %v; alive %v\n%s", err, r.server.Alive(), r.server.Log())
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.server.Kill() // wait until it is gone
	r.count.add(n)
	r.kills++
	if s := <-taken; s.name != "" {
		r.shots = append(r.shots, s)
	}
	r.restart()
	m := r.look(r.h.recovered)
	r.lookAtSnapshots()
	r.h.settle(m)
}

func (r *rig) loads(stop <-chan struct{}) []*load {
	var loads []*load
	for vol, d := range disks {
		for range d.conns {
			c, err := dial(r.pool.Socket(), d.name)
			if err != nil {
				r.t.Fatal(err)
			}
			if c.size != d.size {
				r.t.Fatalf("export %s has %d bytes, want %d", d.name, c.size, d.size)
			}
			loads = append(loads, &load{h: r.h, c: c, vol: vol, rand: rand.New(rand.NewPCG(r.rand.Uint64(), 0)), pick: anything, stop: stop})
		}
	}
	return loads
}

// snapshot takes one of the first disk under load. It returns none if the kill
// came first.
func (r *rig) snapshot(killed *atomic.Bool) shot {
	s := shot{name: fmt.Sprintf("s%d", r.kills), from: r.h.tick()}
	_, err := r.pool.Run("snapshot", disks[0].name+"@"+s.name)
	s.to = r.h.tick()
	if err != nil {
		if !killed.Load() {
			r.t.Error(err)
		}
		return shot{}
	}
	return s
}

// restart starts the server again, now and then killing it while it recovers,
// and measures how long it takes until both disks can be read.
func (r *rig) restart() {
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
	for _, d := range disks {
		c, err := dial(r.pool.Socket(), d.name)
		if err != nil {
			r.t.Fatalf("%v\n%s", err, r.server.Log())
		}
		if err := c.send(cmdRead, 0, 1, 0, 4096, nil); err != nil {
			r.t.Fatal(err)
		}
		if a, err := c.receive(nil); err != nil || a.errno != 0 {
			r.t.Fatalf("first READ of %s: %v, NBD error %d\n%s", d.name, err, a.errno, r.server.Log())
		}
		c.close()
	}
	took := time.Since(r.server.Started)
	r.slowest = max(r.slowest, took)
	if took > serveWithin {
		r.t.Errorf("served again after %v, want at most %v\n%s", took, serveWithin, r.server.Log())
	}
}

// look reads the disks and judges them.
func (r *rig) look(judge func(image) error) image {
	r.t.Helper()
	var m image
	for vol, d := range disks {
		m = append(m, r.read(vol, d.name))
	}
	if err := judge(m); err != nil {
		r.t.Fatalf("after %d kills: %v\n%s", r.kills, err, r.server.Log())
	}
	return m
}

// lookAtSnapshots judges the new ones, and some of the older ones.
func (r *rig) lookAtSnapshots() {
	r.t.Helper()
	for i := range r.shots {
		s := &r.shots[i]
		switch old := s.image; {
		case old == nil:
			s.image = r.read(0, disks[0].name+"@"+s.name)
			if err := r.h.moment(image{s.image, nil}, s.from, s.to); err != nil {
				r.t.Fatalf("snapshot %s after %d kills: %v", s.name, r.kills, err)
			}
			r.snapshots++
		case r.rand.IntN(len(r.shots)) == 0:
			r.sameAs(s)
		}
	}
}

// sameAs checks that an older snapshot still holds what it held.
func (r *rig) sameAs(s *shot) {
	for at, id := range r.read(0, disks[0].name+"@"+s.name) {
		if id != s.image[at] {
			r.t.Fatalf("snapshot %s changed after %d kills: unit %d holds op %d, held %d", s.name, r.kills, at, id, s.image[at])
		}
	}
}

func (r *rig) read(vol int, export string) []opID {
	r.t.Helper()
	c, err := dial(r.pool.Socket(), export)
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.close()
	owners, err := owners(c, vol)
	if err != nil {
		r.t.Fatalf("%s after %d kills: %v", export, r.kills, err)
	}
	return owners
}

// owners reads an export and tells who wrote each unit.
func owners(c *conn, vol int) ([]opID, error) {
	var list []opID
	err := c.readAll(func(off uint64, p []byte) error {
		for i := 0; i < len(p); i += unitSize {
			id, err := identify(p[i:i+unitSize], vol, (off+uint64(i))/unitSize)
			if err != nil {
				return fmt.Errorf("byte %d: %w", off+uint64(i), err)
			}
			list = append(list, id)
		}
		return nil
	})
	return list, err
}

// farewell ends the server as an operator would: SIGTERM. Then everything that
// was answered is there, flushed or not, and the pool is whole.
func (r *rig) farewell() {
	stop := make(chan struct{})
	loads := r.loads(stop)
	time.AfterFunc(300*time.Millisecond, func() { close(stop) })
	n, err := drive(loads)
	if err != nil {
		r.t.Fatal(err)
	}
	r.count.add(n)
	if err := r.server.Stop(drainWithin); err != nil {
		r.t.Fatal(err)
	}
	if out, err := r.pool.Run("check", r.pool.Dir, "--data"); err != nil {
		r.t.Fatalf("%v\n%s", err, out)
	}
	r.serve()
	now := r.h.tick()
	r.look(func(m image) error { return r.h.moment(m, now, never) })
}
