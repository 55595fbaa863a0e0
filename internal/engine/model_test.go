package engine_test

import "maps"

// The plain model that simulations are compared with.

// disk is one dataset in the model: immutable blocks by number.
type disk struct {
	name      string
	size      uint64
	destroyed bool
	blocks    map[uint64]*[block]byte
}

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
	worlds []world // by LSN
	origin map[uint64]fork
	snaps  []map[string]uint64 // by LSN: the moment of each "id@snapshot"
}

type fork struct{ parent, at, made uint64 }

func (m *model) last() uint64 { return uint64(len(m.worlds) - 1) }
func (m *model) now() world   { return m.worlds[m.last()] }

// push adds what comes after the last operation.
func (m *model) push(w world) {
	m.worlds = append(m.worlds, w)
	m.snaps = append(m.snaps, m.snaps[len(m.snaps)-1])
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
	m.snaps = m.snaps[:lsn+1]
}

func (d *disk) written(p []byte, off uint64) *disk {
	n := *d
	n.blocks = maps.Clone(d.blocks)
	for len(p) > 0 {
		b, in := off/block, off%block
		var data [block]byte
		if old := n.blocks[b]; old != nil {
			data = *old
		}
		k := copy(data[in:], p)
		n.blocks[b] = &data
		p, off = p[k:], off+uint64(k)
	}
	return &n
}
