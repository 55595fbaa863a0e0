package engine_test

import (
	"fmt"
	"maps"
	"sort"
	"strings"
	"time"

	"varve/internal/engine"
	"varve/internal/when"
)

// reach says whether a moment can be had.
type reach int

const (
	never  reach = iota // it must be refused
	maybe               // it may be refused; what is served must be right
	always              // it must be served
)

// reach says what becomes of a moment of a dataset that is there.
func (s *sim) reach(id, lsn uint64) reach {
	if s.m.at(id, lsn) == nil {
		return never
	}
	now, passed := s.m.now(), false
	for lsn < s.m.origin[id].made {
		f := s.m.origin[id]
		id, lsn = f.parent, min(lsn, f.at)
		if then := s.m.worlds[s.m.horizons[s.m.last()][id]][id]; then != nil && then.floor.lsn > f.at {
			passed = true // a rollback left the line of the fork, and a child may have absorbed that
		}
		if now[id].gone { // a child absorbs it sooner or later
			if passed = true; lsn >= s.m.origin[id].made {
				return never
			}
		}
	}
	r := always
	if s.m.horizons[s.m.last()][id] > lsn {
		r = s.pinned(id, lsn)
	}
	if passed {
		return min(r, maybe)
	}
	return r
}

// pinned says what becomes of a moment that is behind its dataset's horizon.
func (s *sim) pinned(id, lsn uint64) reach {
	for key, at := range s.m.snaps[s.m.last()] {
		if at == lsn && strings.HasPrefix(key, snapKey(id, "")) {
			return always
		}
	}
	if _, _, changed := s.e.Line(id); changed <= lsn {
		return always
	}
	d := s.m.now()[id]
	if d.destroyed {
		return maybe // a guard may keep it
	}
	snaps, err := s.e.Snapshots(d.name)
	s.must("snapshots", err)
	for _, x := range snaps {
		if x.LSN == lsn {
			return always
		}
	}
	return never
}

// forget lets go of something, as people and policies do.
func (s *sim) forget() {
	names := liveNames(s.m.now())
	if len(names) == 0 {
		return
	}
	name := names[s.knob.IntN(len(names))]
	switch pick := s.knob.IntN(10); {
	case pick < 4:
		s.prune(name)
	case pick < 6:
		s.letGo(name)
	case pick < 7:
		s.expire(name)
	case pick < 9:
		s.destroyNow(name)
	}
	if s.knob.IntN(2) == 0 {
		phase := "retire"
		if s.conf.moves {
			phase = "move"
		}
		s.reclaim(phase)
	}
}

// prune moves the horizon of a dataset.
func (s *sim) prune(name string) {
	id, _ := s.m.now().named(name)
	s.pruneTo(id, name, s.moment(id))
}

func (s *sim) pruneTo(id uint64, name string, lsn uint64) {
	before := atLSN(lsn)
	s.intend("prune", nil, nil)
	plan, err := s.e.Prune(simCaller, name, engine.PruneOptions{Before: &before, DryRun: true})
	s.must("prune", err)
	var steps []func()
	for _, snap := range plan[0].Points {
		steps = append(steps, func() { s.m.setSnap(snapKey(id, snap), 0) })
	}
	if h := plan[0].HorizonLSN; h > s.m.horizons[s.m.last()][id] && h > s.m.born(id) {
		steps = append(steps, func() { s.m.setHorizon(id, h) })
	}
	s.intend("prune", s.m.now(), nil)
	s.steps = steps
	done, err := s.e.Prune(simCaller, name, engine.PruneOptions{Before: &before})
	s.must("prune", err)
	if fmt.Sprint(done[0].Points) != fmt.Sprint(plan[0].Points) || done[0].HorizonLSN != plan[0].HorizonLSN {
		s.t.Fatalf("a dry run of prune said %+v, it did %+v", plan[0], done[0])
	}
	for _, step := range steps {
		s.m.push(s.m.now())
		step()
		s.noteTime()
	}
	s.steps, s.pending = nil, nil
	if lsn := s.e.Status().LastLSN; lsn != s.m.last() {
		s.t.Fatalf("prune %s to %d (%+v): lsn is %d, the model's is %d", name, before.LSN, done[0], lsn, s.m.last())
	}
	s.flushed = s.m.last()
	s.stats["prune"]++
}

// letGo destroys a snapshot.
func (s *sim) letGo(name string) {
	id, _ := s.m.now().named(name)
	snaps, err := s.e.Snapshots(name)
	s.must("snapshots", err)
	if len(snaps) == 0 {
		return
	}
	snap := snaps[s.knob.IntN(len(snaps))]
	if len(snap.Holds) > 0 {
		return
	}
	s.run("destroy snapshot", s.m.now(), func() { s.m.setSnap(snapKey(id, snap.Name), 0) }, func() error {
		_, err := s.e.DestroySnapshot(simCaller, name, snap.Name)
		return err
	})
}

// expire lets a snapshot go by itself.
func (s *sim) expire(name string) {
	id, _ := s.m.now().named(name)
	snaps, err := s.e.Snapshots(name)
	s.must("snapshots", err)
	if len(snaps) == 0 {
		return
	}
	snap := snaps[s.knob.IntN(len(snaps))].Name
	s.run("expire", s.m.now(), nil, func() error {
		_, err := s.e.Expire(simCaller, name, snap, s.clock.now().Add(time.Second))
		return err
	})
	s.clock.mu.Lock()
	s.clock.t = s.clock.t.Add(2 * time.Second)
	s.clock.mu.Unlock()
	s.pruneTo(id, name, s.moment(id))
}

// destroyNow makes a dataset gone for good.
func (s *sim) destroyNow(name string) {
	id, d := s.m.now().named(name)
	if s.count(d.isShare()) == 1 {
		return // tests want one of each kind
	}
	snaps, err := s.e.Snapshots(name)
	s.must("snapshots", err)
	for _, snap := range snaps {
		if len(snap.Holds) > 0 {
			s.release(name, snap.Name)
		}
	}
	nd := *d
	nd.destroyed, nd.gone = true, true
	s.run("gone", s.m.now().with(id, &nd), nil, func() error {
		_, err := s.e.Destroy(simCaller, name, true)
		return err
	})
	for s.knob.IntN(3) > 0 {
		s.intend("bury", s.m.now(), nil)
		if s.e.DrainStep() {
			s.did("drain", s.m.now(), true)
		}
		s.must("bury", s.e.Flush())
		s.intend("bury", nil, nil)
		s.joinCheckpoint()
		s.must("bury", s.e.Checkpoint())
	}
}

// reclaim gives back what is free.
func (s *sim) reclaim(phase string) {
	s.intend(phase, nil, nil)
	s.joinCheckpoint()
	for range 2 {
		s.must(phase, s.e.Checkpoint())
	}
	segs, err := s.store.List()
	s.must(phase, err)
	damaged := 0
	if s.conf.moves {
		r, err := s.e.Squeeze()
		s.must(phase, err)
		s.stats["segments moved"] += r.Compacted
		damaged = r.Damaged
	} else {
		s.must(phase, s.e.Reclaim(s.knob.IntN(2) == 0))
	}
	after, err := s.store.List()
	s.must(phase, err)
	if damaged > 0 {
		s.must(phase, s.store.ReadAt(after[0].Number, make([]byte, block), 0)) // without power nothing can be read
		s.t.Fatalf("%d segments count as damaged", damaged)
	}
	if len(segs) > 0 && after[0].Number > segs[0].Number {
		s.stats["segments retired at the beginning"]++
	}
	s.stats[phase]++
}

// rest empties all lists that checkpoints empty.
func (s *sim) rest() {
	s.joinCheckpoint()
	for i := 0; s.e.DrainStep(); i++ {
		s.did("drain", s.m.now(), true)
	}
	s.must("checkpoint", s.e.Checkpoint())
	for i := 0; s.e.MoreToDo(); i++ {
		if i == 1000 {
			s.t.Fatal("checkpoints never come to rest")
		}
		s.must("checkpoint", s.e.Checkpoint())
	}
}

// noteTime remembers when the last operation happened: it may be forgotten when
// somebody asks.
func (s *sim) noteTime() {
	for _, name := range liveNames(s.m.now()) {
		m, err := s.e.Resolve(name, when.Spec{Kind: when.Now})
		s.must("resolve", err)
		s.m.times[s.m.last()] = m.Time.UnixNano()
		return
	}
}

// born is when a dataset was made.
func (m *model) born(id uint64) uint64 {
	return uint64(sort.Search(len(m.worlds), func(i int) bool { return m.worlds[i][id] != nil }))
}

// setHorizon notes that the last operation moved a dataset's horizon.
func (m *model) setHorizon(id, lsn uint64) {
	n := maps.Clone(m.horizons[m.last()])
	n[id] = lsn
	m.horizons[m.last()] = n
}
