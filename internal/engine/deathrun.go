package engine

import (
	"encoding/binary"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/segment"
	"varve/internal/varint"
)

// deathList says what a run of deaths waits for. The numbers are on disk.
type deathList uint8

const (
	historyList deathList = 1 // own data that history still needs: for the horizon
	foreignList deathList = 2 // of an ancestor's blocks: inert until the ancestor is absorbed
	dataBucket  deathList = 3 // own data before the horizon: for its pins
	nodeBucket  deathList = 4 // own tree nodes: for the roots that have them
	lostList    deathList = 5 // cannot be read: never freed
	asideBucket deathList = 6 // own tree nodes of roots aside: for those
)

// deathRun is a run of deaths on one list of a line, as an item of the pool
// tree says it: a few deaths in the item itself, more in pages.
type deathRun struct {
	seq         uint64
	line        uint64 // that it belongs to: where it begins
	list        deathList
	pins        pinRange // of a bucket: what keeps them
	count       uint64   // deaths
	data, nodes int64    // blocks
	first, last uint64   // the lowest and the highest moment of a death
	few         []death  // the deaths, where there are no pages
	addr        uint64   // of the first page
	crc         []uint32 // of each page
}

const (
	runPages   = oplog.MaxExtentBlocks
	inlineMost = 24 // deaths in an item: each has at most 33 bytes
)

// tally notes what the deaths of a run come to.
func (x *deathRun) tally(ds []death) {
	for _, d := range ds {
		if x.count == 0 {
			x.first, x.last = d.death, d.death
		}
		x.first, x.last = min(x.first, d.death), max(x.last, d.death)
		x.count++
		if d.kind == dataDeath {
			x.data += int64(d.count)
		} else {
			x.nodes += int64(d.count)
		}
	}
}

func (x *deathRun) record() []byte {
	b := putUvarints([]byte{byte(x.list)}, x.line, x.pins.first, x.pins.last, x.count, uint64(x.data), uint64(x.nodes), x.first, x.last, uint64(len(x.crc)))
	if len(x.crc) == 0 {
		for _, d := range x.few {
			b = putUvarints(append(b, byte(d.kind)), uint64(d.count), d.addr, d.birth, d.death-d.birth)
		}
		return b
	}
	b = binary.AppendUvarint(b, x.addr)
	for _, c := range x.crc {
		b = binary.LittleEndian.AppendUint32(b, c)
	}
	return b
}

func parseDeathRun(seq uint64, v []byte) (*deathRun, error) {
	r := varint.Reader{B: v}
	x := &deathRun{seq: seq, list: deathList(r.Byte()), line: r.Uvarint(), pins: pinRange{r.Uvarint(), r.Uvarint()}, count: r.Uvarint()}
	x.data, x.nodes, x.first, x.last = int64(r.Uvarint()), int64(r.Uvarint()), r.Uvarint(), r.Uvarint()
	pages := r.Uvarint()
	r.Bad = r.Bad || x.list < historyList || x.list > asideBucket || pages > runPages || x.count == 0 || pages == 0 && x.count > inlineMost
	if pages > 0 {
		x.addr = r.Uvarint()
		for ; pages > 0 && !r.Bad; pages-- {
			x.crc = append(x.crc, r.Uint32())
		}
		return x, recordEnd(&r, "death run", seq)
	}
	for n := x.count; n > 0 && !r.Bad; n-- {
		d := death{kind: deathKind(r.Byte()), count: uint16(r.Uvarint()), addr: r.Uvarint(), birth: r.Uvarint()}
		d.death = d.birth + r.Uvarint()
		r.Bad = r.Bad || !d.sane()
		x.few = append(x.few, d)
	}
	return x, recordEnd(&r, "death run", seq)
}

// readRun returns the deaths of a run, verified.
func (e *Engine) readRun(dataset uint64, x *deathRun) ([]death, error) {
	if len(x.crc) == 0 {
		return x.few, nil
	}
	data := make([]byte, len(x.crc)*BlockSize)
	if err := e.readBlocks(segment.Addr(x.addr), data); err != nil {
		return nil, err
	}
	out := make([]death, 0, x.count)
	for i, crc := range x.crc {
		page := data[i*BlockSize : (i+1)*BlockSize]
		if segment.Checksum(page) != crc {
			a := segment.Addr(x.addr) + segment.Addr(i)
			return nil, fail.New(fail.Corrupt, "segment %d block %d (deaths of dataset %d): checksum mismatch", a.Segment(), a.Block(), dataset)
		}
		var err error
		if out, err = decodeDeaths(out, page); err != nil {
			return nil, err
		}
	}
	if uint64(len(out)) != x.count {
		return nil, fail.New(fail.Corrupt, "death run %d of dataset %d has %d deaths, not %d", x.seq, dataset, len(out), x.count)
	}
	return out, nil
}

// writeRun brings as many of ds as one run takes to the log, and returns the
// rest. It does not record the run.
func (e *Engine) writeRun(dataset uint64, x *deathRun, ds []death) (rest []death, err error) {
	if len(ds) <= inlineMost {
		x.few = append([]death(nil), ds...)
		x.tally(ds)
		return nil, nil
	}
	data := make([]byte, 0, min(runPages, (len(ds)+deathsPerPage-1)/deathsPerPage)*BlockSize)
	for len(ds) > 0 && len(x.crc) < runPages {
		data = data[:len(data)+BlockSize]
		page := data[len(data)-BlockSize:]
		n := encodeDeaths(page, dataset, ds)
		x.crc = append(x.crc, segment.Checksum(page))
		x.tally(ds[:n])
		ds = ds[n:]
	}
	x.addr, err = e.putBlocks(segment.Deaths, data, x.crc)
	return ds, err
}
