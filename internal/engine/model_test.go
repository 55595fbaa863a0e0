package engine_test

import (
	"maps"
	"slices"
	"strings"
)

// The plain model that simulations are compared with.

// disk is one dataset in the model, a volume or a share: immutable blocks by
// number, or immutable objects.
type disk struct {
	name      string
	destroyed bool
	gone      bool // for good
	large     bool // a dying list had a part in it: its blocks may be counted too high

	size   uint64 // of a volume
	blocks map[uint64]*[block]byte

	files map[uint64]*object // of a share, by inode number
	next  uint64             // inode number: nothing turns it back
	floor instant            // of the last rollback
	props map[string]string
}

func (d *disk) isShare() bool { return d.files != nil }

// world is everything after one LSN. Worlds share what did not change.
type world map[uint64]*disk

func (w world) named(name string) (uint64, *disk) {
	for id, d := range w {
		if d.name == name && !d.destroyed {
			return id, d
		}
	}
	return 0, nil
}

func (w world) with(id uint64, d *disk) world {
	n := maps.Clone(w)
	n[id] = d
	return n
}

// model is the history of worlds. lines tells how to find a moment of a clone
// from before it was made.
type model struct {
	worlds   []world // by LSN
	origin   map[uint64]fork
	snaps    []map[string]uint64 // by LSN: the moment of each "id@snapshot"
	horizons []map[uint64]uint64 // by LSN: of each dataset that has one
	times    []int64             // by LSN: Unix nanoseconds, 0 until somebody asks
}

type fork struct{ parent, at, made uint64 }

func (m *model) last() uint64 { return uint64(len(m.worlds) - 1) }
func (m *model) now() world   { return m.worlds[m.last()] }

// push adds what comes after the last operation.
func (m *model) push(w world) {
	m.worlds = append(m.worlds, w)
	m.times = append(m.times, 0)
	m.snaps = append(m.snaps, m.snaps[len(m.snaps)-1])
	m.horizons = append(m.horizons, m.horizons[len(m.horizons)-1])
}

// snapshots returns the moments that a dataset's snapshots name.
func (m *model) snapshots(id uint64) (out []uint64) {
	for key, at := range m.snaps[m.last()] {
		if strings.HasPrefix(key, snapKey(id, "")) {
			out = append(out, at)
		}
	}
	slices.Sort(out)
	return out
}

// setSnap notes a snapshot that the last operation made, or destroyed (lsn 0).
func (m *model) setSnap(key string, lsn uint64) {
	n := maps.Clone(m.snaps[m.last()])
	n[key] = lsn
	if lsn == 0 {
		delete(n, key)
	}
	m.snaps[m.last()] = n
}

// at returns dataset id as it was after lsn, nil if it was not there.
func (m *model) at(id, lsn uint64) *disk {
	for {
		f, ok := m.origin[id]
		if !ok || lsn >= f.made {
			return m.worlds[lsn][id]
		}
		id, lsn = f.parent, min(lsn, f.at)
	}
}

// truncate forgets what a crash took.
func (m *model) truncate(lsn uint64) {
	m.worlds = m.worlds[:lsn+1]
	for id, f := range m.origin {
		if f.made > lsn {
			delete(m.origin, id)
		}
	}
	m.snaps, m.times, m.horizons = m.snaps[:lsn+1], m.times[:lsn+1], m.horizons[:lsn+1]
}

func (d *disk) written(p []byte, off uint64) *disk {
	n := *d
	n.blocks = overwritten(d.blocks, p, off)
	return &n
}

// overwritten returns blocks with the bytes p at off.
func overwritten(blocks map[uint64]*[block]byte, p []byte, off uint64) map[uint64]*[block]byte {
	n := maps.Clone(blocks)
	if n == nil {
		n = map[uint64]*[block]byte{}
	}
	for len(p) > 0 {
		b, in := off/block, off%block
		var data [block]byte
		if old := n[b]; old != nil {
			data = *old
		}
		k := copy(data[in:], p)
		n[b] = &data
		p, off = p[k:], off+uint64(k)
	}
	return n
}
