package scsi

import (
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
)

// Options tune a Server. The zero value of each field means its default.
type Options struct {
	Logger *slog.Logger // default: no log

	// EraseRate bounds what SANITIZE OVERWRITE writes, for each unit: bytes per
	// second; default 64 MiB.
	EraseRate int64
}

// Server holds the logical units of a pool for as long as somebody uses them or
// they have something to remember. Safe for concurrent use.
type Server struct {
	log       *slog.Logger
	eraseRate int64

	background sync.WaitGroup
	closing    atomic.Bool
	era        atomic.Uint64 // counts Replaced: what was seen before is not

	mu    sync.Mutex
	units map[Identity]*unit
	past  int // units of past moments that remember something, and nobody uses
	seed  maphash.Seed
	seen  map[uint64]bool // hashes of initiator port and unit, that a power-on attention was for; whether it lost a reservation since
}

// maxSeen bounds Server.seen. When it is full all are told anew.
const maxSeen = 1 << 16

// maxPast bounds Server.past: who may log in to a volume could register, or stop a
// unit, at every LSN of its history. Beyond it such a unit forgets with its last nexus.
const maxPast = 256

// NewServer returns a server without units.
func NewServer(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.EraseRate <= 0 {
		o.EraseRate = 64 << 20
	}
	return &Server{
		log:       o.Logger,
		eraseRate: o.EraseRate,
		units:     make(map[Identity]*unit),
		seed:      maphash.MakeSeed(),
		seen:      make(map[uint64]bool),
	}
}

// Ending tells what runs in the background to end, and does not wait: sessions may
// be waiting for it. Close follows.
func (s *Server) Ending() { s.closing.Store(true) }

// Close ends what runs in the background. A SANITIZE that is ended by it has
// failed, and says so after the restart. The nexuses are closed before.
func (s *Server) Close() {
	s.closing.Store(true)
	s.background.Wait()
}

// unitOf returns the unit of a disk, with a use counted; the first use loads
// what outlives restarts.
func (s *Server) unitOf(d Disk) (*unit, error) {
	id := d.Identity()
	s.mu.Lock()
	u := s.units[id]
	if u == nil {
		u = newUnit(s, id)
		s.units[id] = u
	} else if u.uses == 0 && id.LSN != 0 {
		s.past--
	}
	if u.uses == 0 {
		u.renew(d)
	}
	u.uses++
	s.mu.Unlock()
	if err := u.load(d); err != nil {
		s.release(u)
		return nil, err
	}
	return u, nil
}

// release ends a use. A unit with nothing to remember is forgotten.
func (s *Server) release(u *unit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u.uses--
	switch {
	case u.uses > 0:
	case u.forgettable() || u.id.LSN != 0 && s.past == maxPast:
		delete(s.units, u.id)
	case u.id.LSN != 0:
		s.past++
	}
}

// Replaced tells that a volume may hold other bytes than its initiators have seen,
// as after a rollback: who comes from now on is told of a power on again (29/00),
// of whichever unit, and throws away what it has in its caches. It does not wait.
func (s *Server) Replaced() { s.era.Add(1) }

// greeting is the unit attention with which a nexus begins: POWER ON for an
// initiator port that comes to a unit for the first time since the server began, or
// since Replaced; I_T NEXUS LOSS for one whose reservation ended with its nexus
// before. A session that is made again without such a loss is told nothing.
func (s *Server) greeting(port string, u *unit) (x attention, ok bool) {
	key := s.visitor(port, u)
	s.mu.Lock()
	defer s.mu.Unlock()
	lost, was := s.seen[key]
	switch {
	case lost:
		x = attnNexusLoss
	case !was:
		x = attnPowerOn
	default:
		return x, false
	}
	if len(s.seen) >= maxSeen {
		clear(s.seen)
	}
	s.seen[key] = false
	return x, true
}

// lost notes that an initiator port lost a reservation with its nexus.
func (s *Server) lost(port string, u *unit) {
	key := s.visitor(port, u)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.seen[key]; ok {
		s.seen[key] = true
	}
}

func (s *Server) visitor(port string, u *unit) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	maphash.WriteComparable(&h, u.id)
	maphash.WriteComparable(&h, s.era.Load())
	h.WriteString(port)
	return h.Sum64()
}
