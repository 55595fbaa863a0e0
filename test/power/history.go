package power

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync"
)

// history knows every change that was sent, when it was sent and when its
// reply came, on a clock that counts these events. It answers one question:
// can this be what the disks held at one cut through the order of operations?
//
// Two requests are ordered iff the reply to one came before the other was
// sent. A cut is a prefix of such an order iff no request that it lacks was
// answered before one that it holds was sent; that is, iff there is a time T
// such that everything it holds was sent by T and nothing it lacks was answered
// before T. A unit is never changed by two requests at a time, so the versions
// of a unit are ordered, and each version allows T an interval: from its own
// sending to the answer to the next. The cut is sound iff some T lies in an
// interval of every unit, of all volumes together.
type history struct {
	mu      sync.Mutex
	now     uint64
	flushed uint64 // what was answered before this time is durable
	first   opID   // ID of ops[0]
	ops     []op
	volumes [][]unit
}

// op is one request that changed units.
type op struct {
	sent    uint64
	replied uint64 // never, if no reply came
	zero    bool   // TRIM or WRITE_ZEROES
	durable bool   // FUA
}

const never = math.MaxUint64

// unit is what may stand in unitSize bytes of a volume.
type unit struct {
	base     opID   // at the last settle
	versions []opID // sent since then, in order
	busy     bool   // a request on it is in flight
}

// newHistory begins a history of empty volumes of so many units each.
func newHistory(units ...uint64) *history {
	h := &history{first: 1}
	for _, n := range units {
		h.volumes = append(h.volumes, make([]unit, n))
	}
	return h
}

// span is a range of units of one volume.
type span struct {
	vol   int
	first uint64
	n     uint64
}

// tick returns the time of an event that is no change.
func (h *history) tick() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now++
	return h.now
}

// hold takes a range for one request, unless another has some of it.
func (h *history) hold(s span) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	units := h.units(s)
	if slices.ContainsFunc(units, func(u unit) bool { return u.busy }) {
		return false
	}
	for i := range units {
		units[i].busy = true
	}
	return true
}

func (h *history) units(s span) []unit { return h.volumes[s.vol][s.first : s.first+s.n] }

// release gives a range back.
func (h *history) release(s span) {
	h.mu.Lock()
	defer h.mu.Unlock()
	units := h.units(s)
	for i := range units {
		units[i].busy = false
	}
}

// sending records a change of a held range that is about to be sent.
func (h *history) sending(s span, zero, durable bool) opID {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now++
	id := h.first + opID(len(h.ops))
	h.ops = append(h.ops, op{sent: h.now, replied: never, zero: zero, durable: durable})
	units := h.units(s)
	for i := range units {
		units[i].versions = append(units[i].versions, id)
	}
	return id
}

// answered records that a change was answered, and releases its range.
func (h *history) answered(s span, id opID) {
	h.mu.Lock()
	h.now++
	h.ops[id-h.first].replied = h.now
	h.mu.Unlock()
	h.release(s)
}

// flushAnswered records that a flush which was sent at that time was answered.
func (h *history) flushAnswered(sent uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.flushed = max(h.flushed, sent)
}

// current checks that p, read from a held range, is its newest version: a
// change is readable as soon as it is answered.
func (h *history) current(s span, p []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, u := range h.units(s) {
		at := s.first + uint64(i)
		got, err := identify(p[i*unitSize:(i+1)*unitSize], s.vol, at)
		if err != nil {
			return fmt.Errorf("read back of volume %d unit %d: %w", s.vol, at, err)
		}
		want := u.base
		if n := len(u.versions); n > 0 {
			if want = u.versions[n-1]; h.ops[want-h.first].zero {
				want = 0
			}
		}
		if got != want {
			return fmt.Errorf("read back of volume %d unit %d: op %d, but op %d was answered", s.vol, at, got, want)
		}
	}
	return nil
}

// image is what was found on the volumes: for each the owner of each unit, or
// nil for a volume that was not looked at.
type image [][]opID

// recovered checks an image that a restarted server shows: it must be a cut,
// and hold all that a flush or FUA has made durable.
func (h *history) recovered(m image) error { return h.check(m, h.flushed, never, true) }

// moment checks an image of a moment that was asked for at time from and
// acknowledged at time to: it must be a cut between the two.
func (h *history) moment(m image, from, to uint64) error { return h.check(m, from, to, false) }

func (h *history) check(m image, from, to uint64, durable bool) error {
	c := cut{from: from, to: to, fromWhy: "a flush or the request itself", toWhy: "the acknowledgement"}
	for vol, owners := range m {
		for at, id := range owners {
			spans := h.intervals(&h.volumes[vol][at], id, durable)
			if len(spans) == 0 {
				return fmt.Errorf("volume %d unit %d holds op %d, %s", vol, at, id, h.whyNot(&h.volumes[vol][at], id))
			}
			c.require(spans, vol, at, id)
		}
	}
	return c.decide()
}

// interval is a range of times, both ends included.
type interval struct{ from, to uint64 }

// intervals returns when a cut may have shown id in the unit, in order and
// apart from each other. Zeros may be any of several versions.
func (h *history) intervals(u *unit, id opID, durable bool) []interval {
	var list []interval
	add := func(sent uint64, next int) {
		v := interval{sent, never}
		if next < len(u.versions) {
			v.to = h.op(u.versions[next]).replied
		}
		if n := len(list); n > 0 && v.from <= list[n-1].to {
			list[n-1].to = v.to
			return
		}
		list = append(list, v)
	}
	if u.base == id {
		add(0, 0)
	}
	for i, v := range u.versions {
		o := h.op(v)
		if durable && o.durable && o.replied != never {
			list = list[:0] // it cannot have gone back before this one
		}
		if v == id || id == 0 && o.zero {
			add(o.sent, i+1)
		}
	}
	return list
}

func (h *history) op(id opID) *op { return &h.ops[id-h.first] }

func (h *history) whyNot(u *unit, id opID) string {
	switch {
	case id != 0 && id == u.base || slices.Contains(u.versions, id):
		return "older than an answered FUA"
	case id >= h.first+opID(len(h.ops)):
		return "which was never sent"
	case id == 0:
		return fmt.Sprintf("zeros, which nobody put there after op %d", u.base)
	}
	return fmt.Sprintf("which was not sent there since op %d was found in place", u.base)
}

// settle makes an image the state that the next recovery starts from: what a
// restarted server has shown is durable.
func (h *history) settle(m image) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for vol, owners := range m {
		for at, id := range owners {
			u := &h.volumes[vol][at]
			u.base, u.versions, u.busy = id, u.versions[:0], false
		}
	}
	h.first += opID(len(h.ops))
	h.ops = h.ops[:0]
	h.flushed = 0
}

// cut looks for the time T.
type cut struct {
	from, to       uint64
	fromWhy, toWhy string
	choices        [][]interval // of units that leave more than one
}

func (c *cut) require(spans []interval, vol, at int, id opID) {
	if len(spans) > 1 {
		c.choices = append(c.choices, spans)
		return
	}
	if s := spans[0]; s.from > c.from {
		c.from, c.fromWhy = s.from, fmt.Sprintf("volume %d unit %d, which holds op %d", vol, at, id)
	}
	if s := spans[0]; s.to < c.to {
		c.to, c.toWhy = s.to, fmt.Sprintf("volume %d unit %d, which holds op %d and lacks the next", vol, at, id)
	}
}

func (c *cut) decide() error {
	if c.from > c.to {
		return fmt.Errorf("no prefix of history: the cut is not before %d because of %s, and not after %d because of %s",
			c.from, c.fromWhy, c.to, c.toWhy)
	}
	type edge struct {
		at    uint64
		delta int
	}
	var edges []edge
	for _, spans := range c.choices {
		for _, s := range spans {
			if s.from = max(s.from, c.from); s.from <= min(s.to, c.to) {
				edges = append(edges, edge{s.from, +1}, edge{min(s.to, c.to), -1})
			}
		}
	}
	// Where one interval ends and another begins, both hold.
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(b.delta, a.delta)) })
	covered, best := 0, 0
	for _, e := range edges {
		covered += e.delta
		best = max(best, covered)
	}
	if best < len(c.choices) {
		return fmt.Errorf("no prefix of history: between %d and %d at most %d of %d zeroed units agree", c.from, c.to, best, len(c.choices))
	}
	return nil
}
