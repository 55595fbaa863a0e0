package engine_test

import (
	"fmt"
	"slices"
	"testing"

	"varve/internal/engine"
)

// Lines that leave each other and come back to the same snapshots, most of them of
// the past: the books are right, whatever of it is forgotten.
func TestTurningBack(t *testing.T) {
	c := config{segment: 512 << 10, forget: 1, baseOps: 25, alone: true, volumes: true}
	booksHold(t, 40, func(uint64) config { return c }, (*sim).turn)
}

// turn is a step of TestTurningBack.
func (s *sim) turn() {
	name, ok := one(s, liveNames(s.m.now()))
	if !ok {
		s.create()
		return
	}
	id, _ := s.m.now().named(name)
	snaps := slices.DeleteFunc(s.m.snapshots(id), func(lsn uint64) bool { return lsn < s.m.origin[id].made })
	back, ok := one(s, snaps)
	switch pick := s.rng.IntN(20); {
	case pick < 5:
		for range 1 + s.rng.IntN(3) {
			s.writeAt(name, uint64(s.rng.IntN(250))*block, 1+s.rng.IntN(2*block))
		}
	case pick < 7:
		s.serial++
		s.snapshotAt(id, name, fmt.Sprintf("s%d", s.serial))
	case pick < 10 && ok:
		s.rollbackTo(name, back)
	case pick < 11 && ok && s.count(false) < 4:
		s.cloneAt(name, back)
	case pick < 12:
		s.destroyNow(name)
	case pick < 13:
		s.letGo(name)
	case pick < 15:
		s.writeAt(name, 0, 1) // else it keeps its horizon
		s.pruneTo(id, name, s.m.last())
		for range s.rng.IntN(5) {
			s.must("checkpoint", s.e.Checkpoint())
		}
	case pick < 18:
		s.must("checkpoint", s.e.Checkpoint())
	default:
		if s.intend("drain", s.m.now(), nil); s.e.DrainStep() {
			s.did("drain", s.m.now(), true)
		}
	}
}

func (s *sim) clone(name string) {
	id, _ := s.m.now().named(name)
	s.cloneAt(name, s.moment(id))
}

func (s *sim) cloneAt(name string, lsn uint64) {
	id, now := s.m.now().named(name)
	s.serial++
	to := fmt.Sprintf("c%d", s.serial)
	d := *s.m.at(id, lsn)
	d.name, d.destroyed, d.next, d.props = to, false, now.next, nil
	for own, at := id, lsn; at < s.m.origin[own].made; { // the line on which the moment lies
		own, at = s.m.origin[own].parent, min(at, s.m.origin[own].at)
		d.next = s.m.now()[own].next
	}
	newID := s.nextID()
	w := s.m.now().with(newID, &d)
	made := func() { s.m.origin[newID] = fork{id, lsn, s.m.last()} }
	s.intend("clone", w, made)
	_, err := s.e.Clone(engine.Caller{Proto: "test"}, name, atLSN(lsn), to)
	s.must("clone", err)
	s.did("clone", w, true)
	made()
}

func (s *sim) rollback(name string) {
	id, _ := s.m.now().named(name)
	lsn := s.moment(id)
	for lsn < s.m.origin[id].made { // its origin's
		lsn = s.moment(id)
	}
	s.rollbackTo(name, lsn)
}

func (s *sim) rollbackTo(name string, lsn uint64) {
	id, now := s.m.now().named(name)
	d := *s.m.at(id, lsn)
	d.name, d.destroyed, d.next, d.props = now.name, false, now.next, now.props
	d.floor = instant{lsn: s.m.last() + 1}
	w := s.m.now().with(id, &d)
	s.intend("rollback", w, nil)
	done, err := s.e.Rollback(engine.Caller{Proto: "test"}, name, atLSN(lsn), false)
	s.must("rollback", err)
	s.did("rollback", w, true)
	s.m.times[s.m.last()] = done.Time.UnixNano()
	if s.begins == nil && s.m.last()%4 == 0 { // what it left is still what it was
		s.compare("just before a rollback", id, s.m.last()-1)
	}
}
