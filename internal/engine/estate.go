package engine

import (
	"slices"
	"sync"
)

// estate is what is dead on a line and not free yet:
//
//	history   own data, in the order of death: what history may still need
//	data      own data behind the horizon, by the pins that keep it
//	nodes     own tree nodes, by the roots that have them
//	asides    own tree nodes that only roots aside have, by these
//	foreign   an ancestor's blocks that this line gave up: inert until the
//	          ancestor is gone and absorbed
//
// Only checkpoints change it, under Engine.ckpt; mu is for who reads counters
// meanwhile. All of it follows from the log: after a crash, replay and the next
// checkpoint do again what was not written.
type estate struct {
	mu      sync.RWMutex
	history []*deathRun
	foreign []*deathRun
	lost    []*deathRun
	data    buckets
	nodes   buckets
	asides  buckets

	// Deaths that no run has yet.
	newHistory, newForeign []death

	renamed   []*deathRun // whose bucket changed, or that nobody needs, when the pool was opened
	absorbing []ancestor  // whose foreign deaths are still to be taken over
	returning []ancestor  // lines that went on from this one, and are buried: what they gave up of it is dead here

	historyBlocks, foreignBlocks, lostBlocks int64
	foreignData                              int64 // of foreignBlocks
	unfiled                                  int64 // own data that a checkpoint is about to file
}

func (es *estate) init() {
	es.data, es.nodes, es.asides = newBuckets(dataBucket), newBuckets(nodeBucket), newBuckets(asideBucket)
}

// sorts are the buckets of each kind.
func (es *estate) sorts() []*buckets { return []*buckets{&es.data, &es.nodes, &es.asides} }

// filing is what one checkpoint does to the estate of one line.
type filing struct {
	e  *Engine
	c  *cut
	s  *setCut
	x  *lineCut
	l  *line
	es *estate
}

// horizonRuns bounds the runs of history that one checkpoint goes through.
const horizonRuns = 256

// fileDeaths files what died up to the cut, follows what changed of pins and
// horizon, and frees what nobody needs. On an error nothing is lost: the next
// checkpoint goes on.
func (e *Engine) fileDeaths(c *cut, s *setCut) error {
	for _, x := range s.lines {
		f := filing{e, c, s, x, x.l, &x.l.estate}
		for _, step := range []func() error{f.adopted, f.absorb, f.takeBack, f.pins, f.deaths, f.horizon, f.write} {
			if err := step(); err != nil {
				return err
			}
		}
	}
	return nil
}

// deaths files what died.
func (f *filing) deaths() error {
	ds := f.x.deaths
	f.x.deaths = nil
	for i, y := range ds {
		if err := f.file(y); err != nil {
			f.x.deaths = ds[i:]
			return err
		}
	}
	f.es.mu.Lock()
	f.es.unfiled = 0
	f.es.mu.Unlock()
	return nil
}

// adopted writes what opening the pool changed: pins that were in memory only
// are gone.
func (f *filing) adopted() error {
	renamed := f.es.renamed
	f.es.renamed = nil
	for _, x := range renamed {
		if f.es.filed(x) {
			f.record(x)
			continue
		}
		if err := f.freeRun(x); err != nil {
			return err
		}
	}
	return nil
}

// filed reports whether a run that opening the pool moved is in a bucket: pins keep
// it still.
func (es *estate) filed(x *deathRun) bool {
	bs := es.sorts()[slices.IndexFunc(es.sorts(), func(bs *buckets) bool { return bs.list == x.list })]
	b := bs.all[x.pins]
	return b != nil && slices.Contains(b.runs, x)
}

// pins follows what pins came and went.
func (f *filing) pins() error {
	for _, bs := range []struct {
		*buckets
		now []uint64
	}{{&f.es.data, f.x.dataPins}, {&f.es.nodes, f.x.nodePins}, {&f.es.asides, f.x.asidePins}} {
		f.es.mu.Lock()
		free, moved := bs.setPins(bs.now)
		f.es.mu.Unlock()
		for _, x := range moved {
			f.record(x)
		}
		for _, b := range free {
			if err := f.freeDeaths(b.fresh); err != nil {
				return err
			}
			for _, x := range b.runs {
				if err := f.freeRun(x); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// file brings one death to the list on which it waits, or frees what died.
func (f *filing) file(x death) error {
	switch {
	case x.birth <= f.x.fork:
		f.es.mu.Lock()
		f.es.newForeign = append(f.es.newForeign, x)
		f.es.foreignBlocks += int64(x.count)
		if x.kind == dataDeath {
			f.es.foreignData += int64(x.count)
		}
		f.es.mu.Unlock()
		return nil
	case x.kind == nodeDeath:
		return f.sort(&f.es.nodes, x)
	case x.kind == asideNode:
		return f.sort(&f.es.asides, x)
	case x.death <= f.x.horizon:
		return f.sort(&f.es.data, x)
	}
	f.es.mu.Lock()
	f.es.newHistory = append(f.es.newHistory, x)
	f.es.historyBlocks += int64(x.count)
	f.es.mu.Unlock()
	return nil
}

// sort puts a death into the bucket of the pins that need it, or frees.
func (f *filing) sort(bs *buckets, x death) error {
	f.es.mu.Lock()
	kept := bs.place(x)
	f.es.mu.Unlock()
	if kept {
		return nil
	}
	return f.e.space.add(x.addr, uint64(x.count))
}

// horizon sorts what has fallen behind the horizon.
func (f *filing) horizon() error {
	h := f.x.horizon
	kept := f.es.history[:0:0]
	budget := horizonRuns
	for i, x := range f.es.history {
		if x.first > h {
			kept = append(kept, x)
			continue
		}
		if budget == 0 {
			f.s.more = true
			kept = append(kept, f.es.history[i:]...)
			break
		}
		budget--
		if err := f.passRun(x, h); err != nil {
			f.setHistory(append(kept, f.es.history[i:]...))
			return err
		}
	}
	f.setHistory(kept)
	return nil
}

func (f *filing) setHistory(runs []*deathRun) {
	f.es.mu.Lock()
	defer f.es.mu.Unlock()
	f.es.history = runs
}

// passRun files the deaths of a run of history anew: those up to h are behind
// the horizon now.
func (f *filing) passRun(x *deathRun, h uint64) error {
	ds, err := f.read(x)
	if ds == nil {
		f.es.mu.Lock()
		f.es.historyBlocks -= x.data
		f.es.mu.Unlock()
		return err
	}
	if err := f.forget(x); err != nil {
		return err
	}
	f.es.mu.Lock()
	f.es.historyBlocks -= x.data
	f.es.mu.Unlock()
	for _, y := range ds {
		if err := f.file(y); err != nil {
			return err
		}
	}
	return nil
}

// read returns the deaths of a run. Where they are damaged, the run goes to the
// lost ones, whose blocks are never freed, and nil is returned.
func (f *filing) read(x *deathRun) ([]death, error) {
	ds, err := f.e.readRun(f.l.d.id, x)
	if err == nil {
		return ds, nil
	}
	if !unreadable(err) {
		return nil, err
	}
	f.e.logger.Error("a list of dead blocks cannot be read; they stay", "dataset", f.l.d.name, "blocks", x.data+x.nodes, "err", err)
	f.e.quarantined.Add(int64(len(x.crc)))
	x.list = lostList
	f.lose(x)
	f.record(x)
	return nil, nil
}

// lose files a run of which nothing is ever freed.
func (f *filing) lose(x *deathRun) {
	f.es.mu.Lock()
	defer f.es.mu.Unlock()
	f.es.lost = append(f.es.lost, x)
	f.es.lostBlocks += x.data + x.nodes
}

// freeRun frees all that a run lists, and the run.
func (f *filing) freeRun(x *deathRun) error {
	ds, err := f.read(x)
	if ds == nil {
		return err
	}
	if err := f.forget(x); err != nil {
		return err
	}
	return f.freeDeaths(ds)
}

func (f *filing) freeDeaths(ds []death) error {
	for _, x := range ds {
		if err := f.e.space.add(x.addr, uint64(x.count)); err != nil {
			return err
		}
	}
	return nil
}

// forget removes a run, and frees its pages.
func (f *filing) forget(x *deathRun) error {
	f.c.records[itemKey(tagDeaths, f.l.d.id, x.seq)] = nil
	if len(x.crc) == 0 {
		return nil
	}
	return f.e.space.add(x.addr, uint64(len(x.crc)))
}

func (f *filing) record(x *deathRun) {
	f.c.records[itemKey(tagDeaths, f.l.d.id, x.seq)] = x.record()
}

// write brings the deaths that no run has yet into runs.
func (f *filing) write() error {
	es := f.es
	runs, rest, err := f.runs(historyList, pinRange{}, es.newHistory)
	es.mu.Lock()
	es.history, es.newHistory = append(es.history, runs...), rest
	es.mu.Unlock()
	if err != nil {
		return err
	}
	runs, rest, err = f.runs(foreignList, pinRange{}, es.newForeign)
	es.mu.Lock()
	es.foreign, es.newForeign = append(es.foreign, runs...), rest
	es.mu.Unlock()
	if err != nil {
		return err
	}
	for _, bs := range es.sorts() {
		for _, b := range bs.grown() {
			if err := f.writeBucket(bs.list, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeBucket brings what is new in a bucket into runs, together with its last
// run where that is small: a bucket that grows by a little each time stays in
// few runs.
func (f *filing) writeBucket(list deathList, b *bucket) error {
	if n := len(b.runs); n > 0 && len(b.runs[n-1].crc) == 0 {
		last := b.runs[n-1]
		b.runs = b.runs[:n-1]
		b.fresh = append(last.few, b.fresh...)
		if err := f.forget(last); err != nil {
			return err
		}
	}
	runs, rest, err := f.runs(list, b.pins, b.fresh)
	b.runs, b.fresh = append(b.runs, runs...), rest
	return err
}

// runs writes deaths as runs of a list; rest is what was not written.
func (f *filing) runs(list deathList, pins pinRange, ds []death) (out []*deathRun, rest []death, err error) {
	for len(ds) > 0 {
		x := &deathRun{seq: f.l.d.deathSeq, line: f.l.id, list: list, pins: pins}
		rest, err := f.e.writeRun(f.l.d.id, x, ds)
		if err != nil {
			return out, ds, err
		}
		ds = rest
		f.l.d.deathSeq++
		f.record(x)
		out = append(out, x)
	}
	return out, nil, nil
}

// adopt files a run that was read from the pool tree; ok is false where nobody
// needs what it lists any more.
func (es *estate) adopt(x *deathRun) (moved, ok bool) {
	ok = true
	switch x.list {
	case historyList:
		es.history = append(es.history, x)
		es.historyBlocks += x.data
	case foreignList:
		es.foreign = append(es.foreign, x)
		es.foreignBlocks += x.data + x.nodes
		es.foreignData += x.data
	case lostList:
		es.lost = append(es.lost, x)
		es.lostBlocks += x.data + x.nodes
	case dataBucket:
		moved, ok = es.data.adopt(x)
	case nodeBucket:
		moved, ok = es.nodes.adopt(x)
	case asideBucket:
		moved, ok = es.asides.adopt(x)
	}
	return moved, ok
}

// sorted reports whether all that is dead waits for pins only, or is foreign.
func (es *estate) sorted() bool {
	return len(es.history)+len(es.newHistory)+len(es.newForeign)+len(es.renamed)+len(es.absorbing)+len(es.returning) == 0
}

// empty reports whether moreover no pin keeps anything.
func (es *estate) empty() bool {
	return es.sorted() && len(es.data.all)+len(es.nodes.all)+len(es.asides.all) == 0
}
