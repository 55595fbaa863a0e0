package engine_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/segment"
	"varve/internal/segstore"
	"varve/internal/vfs"
	"varve/internal/vol"
	"varve/internal/when"
)

// The simulation: one random script of operations runs against the engine and
// against a plain model, which keeps the whole state after every LSN.

const block = engine.BlockSize

// config is one way to run a script. None of it may change what it means.
type config struct {
	name       string
	segment    int64
	cache      int64
	frame      int
	checkpoint int // one operation in so many takes a checkpoint
	baseOps    uint64
	reopen     int           // one in so many closes and opens the pool
	drain      int           // one in so many makes a drain step
	forget     int           // one in so many lets go of something
	moves      bool          // what is alive is moved together
	marker     time.Duration // 0: no markers but by Close
	spill      bool          // views go to a scratch file
	volumes    bool          // no shares
	alone      bool          // checkpoints run between operations only, so that a run can be repeated exactly
}

func (c config) options(s segstore.Store, clock *clock) engine.Options {
	var scratch func() (engine.Scratch, error)
	if c.spill {
		scratch = func() (engine.Scratch, error) {
			return vfs.NewMem(1).Open("scratch", os.O_CREATE|os.O_RDWR, 0o600)
		}
	}
	return engine.Options{
		Scratch: scratch,
		Store:   s, Now: clock.now, CheckpointEvery: -1, CacheBytes: c.cache, BaseOps: c.baseOps, MaxFrame: c.frame,
		Segment: func(o *segment.Options) { o.MarkerDelay = cmp.Or(c.marker, -1) },
	}
}

// clock advances by a second for each look at it.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(time.Millisecond)
	return c.t
}

// sim runs a script.
type sim struct {
	t     testing.TB
	rng   *rand.Rand // decides the script only
	knob  *rand.Rand // decides what the configuration leaves to chance
	conf  config
	m     model
	e     *engine.Engine
	store *gatedStore
	clock *clock

	flushed uint64     // every operation up to it was acknowledged as durable
	pending world      // what the operation under way leaves, if it happens
	made    func()     // and what else the model then notes
	steps   []func()   // where it is several operations, what the model notes of each
	phase   string     // what a crash interrupts
	begins  func()     // is told that a phase begins, if not nil
	beside  chan error // of the checkpoint that runs beside the script
	stamp   uint64     // of the next written block
	serial  int
	settled bool // no dying list is left
	stats   map[string]int
}

const (
	smallSize = 1 << 20
	largeSize = 20 << 20 // large enough for a large trim
)

// script chooses and runs one operation. Both sides of each choice draw the
// same random numbers, whatever the configuration.
func (s *sim) step() {
	pick := s.rng.IntN(100)
	w := s.m.now()
	names := liveNames(w)
	if s.lacks() || pick < 2 && len(names) < 6 {
		s.create()
		return
	}
	name := names[s.rng.IntN(len(names))]
	_, d := w.named(name)
	switch {
	case d.isShare() && pick < 67:
		s.scribe(name).step()
	case pick < 55:
		s.write(name)
	case pick < 67:
		s.trim(name)
	case pick < 75:
		s.flush()
	case pick < 84:
		s.snapshot(name)
	case pick < 89:
		if len(names) < 6 {
			s.clone(name)
		}
	case pick < 94:
		s.rollback(name)
	case pick < 96:
		s.destroy(name)
	case pick < 98:
		s.undestroy()
	default:
		s.rename(name)
	}
}

func liveNames(w world) []string {
	var out []string
	for id := uint64(1); id <= uint64(len(w)); id++ {
		if d := w[id]; d != nil && !d.destroyed {
			out = append(out, d.name)
		}
	}
	return out
}

// did records that an operation happened: the world after it.
func (s *sim) did(what string, w world, durable bool) {
	lsn := s.e.Status().LastLSN
	s.pending = nil
	if lsn != uint64(len(s.m.worlds)) {
		s.t.Fatalf("%s: lsn is %d, the model's is %d", what, lsn, len(s.m.worlds))
	}
	s.m.push(w)
	s.stats[what]++
	if s.conf.forget > 0 {
		s.noteTime()
	}
	if durable {
		s.flushed = lsn
	}
}

// intend notes what the operation under way will leave: a crash may come after
// it was logged and before it was answered.
func (s *sim) intend(phase string, w world, made func()) {
	s.phase, s.pending, s.made, s.steps = phase, w, made, nil
	if s.begins != nil {
		s.begins()
	}
}

// must fails the test on an error, unless the power has gone.
func (s *sim) must(what string, err error) {
	if err != nil {
		panic(stopped{fmt.Errorf("%s: %w", what, err)})
	}
}

// stopped carries an error out of a script: a crash under test, or a failure.
type stopped struct{ err error }

// lacks reports whether there is no live dataset of a kind that the script
// wants.
func (s *sim) lacks() bool {
	return s.count(false) == 0 || !s.conf.volumes && s.count(true) == 0
}

func (s *sim) count(shares bool) (n int) {
	for _, d := range s.m.now() {
		if !d.destroyed && d.isShare() == shares {
			n++
		}
	}
	return n
}

// create makes a volume, or a share where there are fewer of those.
func (s *sim) create() {
	if !s.conf.volumes && s.count(false) > s.count(true) {
		s.createShare()
		return
	}
	size := uint64(smallSize)
	if s.rng.IntN(3) == 0 {
		size = largeSize
	}
	s.serial++
	name := fmt.Sprintf("v%d", s.serial)
	id := s.nextID()
	w := s.m.now().with(id, &disk{name: name, size: size, blocks: map[uint64]*[block]byte{}})
	s.intend("create", w, nil)
	_, err := s.e.CreateVolume(engine.Caller{Proto: "test", Addr: "sim"}, name, size)
	s.must("create", err)
	s.did("create", w, true)
}

// nextID is the id that the next dataset gets: they are never reused.
func (s *sim) nextID() uint64 { return uint64(len(s.m.now()) + 1) }

func (s *sim) open(name string) *vol.Volume {
	v, err := vol.Open(s.e, name, nil, engine.Caller{Proto: "test", Addr: "sim"}, func() {})
	s.must("open", err)
	return v
}

func (s *sim) write(name string) {
	_, d := s.m.now().named(name)
	n := 1 + s.rng.IntN(3*block)
	if s.rng.IntN(4) == 0 {
		n = block * (1 + s.rng.IntN(100))
	}
	off := uint64(s.rng.Int64N(int64(d.size)))
	if s.rng.IntN(3) > 0 {
		off = off / block * block
	}
	if s.rng.IntN(2) == 0 {
		off %= 64 * block // make them meet
	}
	s.writeAt(name, off, int(min(uint64(n), d.size-off, engine.MaxWrite-off%engine.MaxWrite)))
}

func (s *sim) writeAt(name string, off uint64, n int) {
	id, d := s.m.now().named(name)
	p := s.payload(n)
	v := s.open(name)
	defer v.Close()
	w := s.m.now().with(id, d.written(p, off))
	s.intend("write", w, nil)
	s.must("write", v.WriteAt(p, off))
	s.did("write", w, false)
}

func (s *sim) trim(name string) {
	id, d := s.m.now().named(name)
	total := d.size / block
	first := uint64(s.rng.Int64N(int64(total)))
	n := 1 + uint64(s.rng.IntN(80))
	if s.rng.IntN(3) == 0 {
		first, n = first%200, total
	}
	n = min(n, total-first)
	v := s.open(name)
	defer v.Close()
	nd := *d
	nd.blocks = maps.Clone(d.blocks)
	for b := range nd.blocks {
		if b >= first && b < first+n {
			delete(nd.blocks, b)
		}
	}
	what := "trim"
	if n > 4200 {
		what, nd.large = "large trim", true
	}
	w := s.m.now().with(id, &nd)
	s.intend(what, w, nil)
	s.must("trim", v.Trim(first*block, n*block))
	s.did(what, w, false)
	if what == "large trim" && s.knob.IntN(2) == 0 { // else no crash would ever come in one
		s.must(what, s.e.Flush())
		s.flushed = s.m.last()
	}
}

func (s *sim) flush() {
	s.intend("flush", nil, nil)
	s.must("flush", s.e.Flush())
	s.flushed = s.m.last()
	s.stats["flush"]++
}

func (s *sim) snapshot(name string) {
	id, d := s.m.now().named(name)
	s.serial++
	snap := fmt.Sprintf("s%d", s.serial)
	switch s.rng.IntN(6) {
	case 0:
		s.snapshotAll(snap)
	case 1:
		s.snapshotAt(id, name, snap)
	case 2:
		if d.isShare() {
			s.setProperty(id, d)
		} else {
			s.resize(id, d)
		}
	default:
		s.run("snapshot", s.m.now(), func() { s.m.setSnap(snapKey(id, snap), s.m.last()) }, func() error {
			_, err := s.e.Snapshot(simCaller, name, snap)
			return err
		})
	}
	if s.rng.IntN(4) == 0 {
		s.hold(id, name)
	}
}

var simCaller = engine.Caller{Proto: "test"}

func snapKey(id uint64, snap string) string { return fmt.Sprintf("%d@%s", id, snap) }

// run takes one operation of the catalog through the engine and the model.
func (s *sim) run(phase string, w world, made func(), do func() error) {
	s.intend(phase, w, made)
	s.must(phase, do())
	s.did(phase, w, true)
	if made != nil {
		made()
	}
}

func (s *sim) release(name, snap string) {
	s.run("release", s.m.now(), nil, func() error {
		_, err := s.e.Release(simCaller, name, snap, "tag")
		return err
	})
}

func (s *sim) snapshotAll(snap string) {
	made := func() {
		for id, d := range s.m.now() {
			if !d.destroyed {
				s.m.setSnap(snapKey(id, snap), s.m.last())
			}
		}
	}
	s.run("snapshot", s.m.now(), made, func() error {
		_, err := s.e.SnapshotAll(simCaller, snap)
		return err
	})
}

func (s *sim) snapshotAt(id uint64, name, snap string) {
	lsn := s.moment(id)
	if f, ok := s.m.origin[id]; ok && lsn < f.made {
		return // its origin's moment
	}
	s.run("snapshot", s.m.now(), func() { s.m.setSnap(snapKey(id, snap), lsn) }, func() error {
		_, err := s.e.SnapshotAt(simCaller, name, snap, atLSN(lsn))
		return err
	})
}

func (s *sim) resize(id uint64, d *disk) {
	if d.size > largeSize {
		return
	}
	nd := *d
	nd.size += 4 * block
	s.run("resize", s.m.now().with(id, &nd), nil, func() error {
		_, err := s.e.Resize(simCaller, d.name, nd.size)
		return err
	})
}

// hold puts a tag on a snapshot, sees that it holds, and takes it off.
func (s *sim) hold(id uint64, name string) {
	snaps, err := s.e.Snapshots(name)
	s.must("snapshots", err)
	if len(snaps) == 0 {
		return
	}
	pick := snaps[s.rng.IntN(len(snaps))]
	if len(pick.Holds) > 0 {
		return
	}
	snap := pick.Name
	s.run("hold", s.m.now(), nil, func() error {
		_, err := s.e.Hold(simCaller, name, snap, "tag")
		return err
	})
	if _, err := s.e.DestroySnapshot(simCaller, name, snap); !fail.Is(err, fail.Busy) {
		s.must("hold", err)
		s.t.Fatalf("a held snapshot was destroyed")
	}
	s.release(name, snap)
	if s.rng.IntN(2) == 0 {
		s.run("destroy snapshot", s.m.now(), func() { s.m.setSnap(snapKey(id, snap), 0) }, func() error {
			_, err := s.e.DestroySnapshot(simCaller, name, snap)
			return err
		})
	}
}

// moment draws a reachable moment of a dataset.
func (s *sim) moment(id uint64) uint64 {
	snaps := s.m.snapshots(id)
	for {
		lsn := s.rng.Uint64N(s.m.last() + 1)
		if s.conf.forget > 0 && len(snaps) > 0 && s.knob.IntN(3) == 0 {
			lsn = snaps[s.knob.IntN(len(snaps))]
		}
		if s.rng.IntN(3) == 0 {
			lsn = s.m.last() - min(s.m.last(), s.rng.Uint64N(4))
		}
		if s.reach(id, lsn) == always {
			return lsn
		}
	}
}

func atLSN(lsn uint64) when.Spec { return when.Spec{Kind: when.LSN, LSN: lsn} }

func (s *sim) destroy(name string) {
	id, d := s.m.now().named(name)
	if s.count(d.isShare()) == 1 {
		return // tests want one of each kind
	}
	snaps, err := s.e.Snapshots(name)
	s.must("snapshots", err)
	for _, snap := range snaps {
		if len(snap.Holds) > 0 { // a crash came before its release
			s.release(name, snap.Name)
		}
	}
	nd := *d
	nd.destroyed = true
	w := s.m.now().with(id, &nd)
	s.intend("destroy", w, nil)
	_, err = s.e.Destroy(engine.Caller{Proto: "test"}, name, false)
	s.must("destroy", err)
	s.did("destroy", w, true)
}

func (s *sim) undestroy() {
	w := s.m.now()
	for id := uint64(1); id <= uint64(len(w)); id++ {
		d := w[id]
		if d == nil || !d.destroyed || d.gone {
			continue
		}
		nd := *d
		nd.destroyed = false
		s.intend("undestroy", w.with(id, &nd), nil)
		_, err := s.e.Undestroy(engine.Caller{Proto: "test"}, d.name, "")
		s.must("undestroy", err)
		s.did("undestroy", w.with(id, &nd), true)
		return
	}
}

func (s *sim) rename(name string) {
	id, d := s.m.now().named(name)
	s.serial++
	nd := *d
	nd.name = fmt.Sprintf("r%d", s.serial)
	w := s.m.now().with(id, &nd)
	s.intend("rename", w, nil)
	_, err := s.e.Rename(engine.Caller{Proto: "test"}, name, nd.name)
	s.must("rename", err)
	s.did("rename", w, true)
}

// between does what the configuration asks for between operations.
func (s *sim) between() {
	if c := s.conf.checkpoint; c > 0 && s.knob.IntN(c) == 0 {
		s.intend("checkpoint", nil, nil)
		s.joinCheckpoint()
		if s.conf.alone {
			s.must("checkpoint", s.e.Checkpoint())
			s.stats["checkpoint"]++
			return
		}
		if s.knob.IntN(2) == 0 {
			s.checkpointUnder(s.store)
			s.stats["checkpoint"]++
			return
		}
		done, e := make(chan error, 1), s.e
		go func() { done <- e.Checkpoint() }()
		s.beside = done
		if s.knob.IntN(2) == 0 { // else operations go on between its cut and its super root
			s.joinCheckpoint()
		}
		s.stats["checkpoint"]++
	}
	if c := s.conf.drain; c > 0 && s.knob.IntN(c) == 0 {
		s.intend("drain", s.m.now(), nil)
		if s.e.DrainStep() {
			s.did("drain", s.m.now(), true)
		} else {
			s.must("drain", s.e.Flush()) // it says why it could not
		}
	}
	if c := s.conf.forget; c > 0 && s.knob.IntN(c) == 0 {
		s.forget()
	}
	if c := s.conf.reopen; c > 0 && s.knob.IntN(c) == 0 {
		s.intend("close", nil, nil)
		s.joinCheckpoint()
		s.must("close", s.e.Close(context.Background()))
		s.intend("open", nil, nil)
		s.openEngine()
		s.stats["reopen"]++
	}
}

// joinCheckpoint waits for the checkpoint that runs beside the script.
func (s *sim) joinCheckpoint() {
	if s.beside != nil {
		err := <-s.beside
		s.beside = nil
		s.must("checkpoint", err)
	}
}

// newSim formats a pool in store and opens it.
func newSim(t testing.TB, conf config, store segstore.Store, seed uint64) *sim {
	s := &sim{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), knob: rand.New(rand.NewPCG(seed, 2)), conf: conf,
		m:     model{worlds: []world{{}}, origin: map[uint64]fork{}, snaps: []map[string]uint64{{}}, horizons: []map[uint64]uint64{{}}, times: []int64{0}},
		store: &gatedStore{Store: store}, clock: newClock(), stats: map[string]int{},
	}
	if err := engine.Format(store, s.clock.now(), seedReader{s.knob}); err != nil {
		t.Fatal(err)
	}
	s.openEngine()
	return s
}

type seedReader struct{ r *rand.Rand }

func (s seedReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(s.r.Uint32())
	}
	return len(p), nil
}
