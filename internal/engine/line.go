package engine

import (
	"slices"

	"varve/internal/tree"
)

// line is a stretch of a dataset's history without a way back: from where it was
// made, or from a rollback, to the next rollback or now. A rollback ends one and
// begins the next, which forks from the moment gone back to, as the first line of
// a clone forks from one of its origin:
//
//	line 1   --1----2----3----4----5|          ended by the rollback at 6
//	                     \
//	line 6                6----7----8---       began with what was at 3
//
// What was born up to the fork is the parent's: when the younger line drops it,
// that death is foreign, and inert. When nothing but that one line needs the
// parent any more, it absorbs it (bury), and the two are one line. A line that is
// buried itself leaves those deaths to the parent, if it went on from it.
type line struct {
	d              *dataset
	id             uint64    // the operation that made it
	spans          []stretch // of moments: its own, and those of the lines that it absorbed
	gaps           []stretch // see inGap
	parent         *line
	fork, forkFrom uint64 // the moment of the parent, and the parent's root that the first tree was made from
	fromAside      bool   // or from the root aside at the fork, which shares nodes with that one
	began          *root  // that root, until what it does not share is entered as given up
	goesOn         bool   // what lived on the parent at the fork, and when it ended, did not die there: it is here
	children       int    // lines that forked from it

	dataPins  pinSet // moments whose data is needed
	views     pinSet // of these, what overlays and views hold, in memory only
	nodePins  pinSet // roots whose nodes are
	asidePins pinSet // roots aside, which have nodes of their own
	led       ledger
	drops     []tree.Drop // taken, of freezes later than the last cut
	estate    estate      // what is dead and not yet free; under Engine.ckpt
}

// stretch are the moments from one operation on, up to the one before another;
// to is 0 while it has no end.
type stretch struct{ from, to uint64 }

// now is the line of the present.
func (d *dataset) now() *line { return d.lines[len(d.lines)-1] }

// lineAt returns the line that a moment of d lies on: of one before d was made,
// the first.
func (d *dataset) lineAt(lsn uint64) *line {
	for i := len(d.lines) - 1; i >= 0; i-- {
		for _, s := range d.lines[i].spans {
			if s.from <= lsn && (lsn < s.to || s.to == 0) {
				return d.lines[i]
			}
		}
	}
	return d.lines[0]
}

// end is where a line that a rollback ended ends; 0 for the present one.
func (l *line) end() uint64 { return l.spans[len(l.spans)-1].to }

// joinSpans makes one of two stretches of a line where no other line has a moment
// between them: a line that absorbs one after another has few. d.mu is held.
func (d *dataset) joinSpans() {
	taken := func(from, to uint64) bool {
		return slices.ContainsFunc(d.lines, func(l *line) bool {
			return slices.ContainsFunc(l.spans, func(s stretch) bool { return from <= s.from && s.from < to })
		})
	}
	for _, l := range d.lines {
		out := []stretch{l.spans[0]}
		for _, s := range l.spans[1:] {
			if last := &out[len(out)-1]; taken(last.to, s.from) {
				out = append(out, s)
			} else {
				last.to = s.to
			}
		}
		l.spans = out
	}
}

// lineOf is lineAt for who does not hold d.mu.
func (d *dataset) lineOf(lsn uint64) *line {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lineAt(lsn)
}

// inoAfter returns the number after the last one that d gave an object.
func (d *dataset) inoAfter() uint64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.nextIno
}

// begin adds a line to d that forks from a moment of parent, or from nothing.
// im is what its first tree was made from. d.mu is held, and the gate exclusively: so
// nobody else holds the mutexes of both.
func (d *dataset) begin(start uint64, parent *line, fork uint64, im *overlay) *line {
	l := &line{d: d, id: start, spans: []stretch{{from: start}}, parent: parent, fork: fork, forkFrom: im.from, fromAside: im.past != nil, began: im.past}
	l.led.fork = fork
	l.estate.init()
	d.lines = append(d.lines, l)
	if parent != nil {
		parent.addFork(l, 1)
	}
	return l
}

// addFork notes that a line needs the moment it forked from (1), or no longer
// does (-1).
func (l *line) addFork(c *line, n int) {
	if l.d != c.d {
		l.d.mu.Lock()
		defer l.d.mu.Unlock()
	}
	if l.children += n; n < 0 {
		l.dropFork(c)
		return
	}
	l.dataPins.add(c.fork)
	if c.fromAside {
		l.d.rootAt(c.fork).forks++
	} else {
		l.nodePins.add(c.forkFrom)
	}
}

// dropFork is addFork's end for who holds l.d.mu.
func (l *line) dropFork(c *line) {
	l.dataPins.remove(c.fork)
	if c.fromAside {
		l.d.rootAt(c.fork).forks--
	} else {
		l.nodePins.remove(c.forkFrom)
	}
}

// continues reports whether l went on from another line of its dataset: what it
// drops of that one is history of the same dataset.
func (l *line) continues() bool { return l.parent != nil && l.parent.d == l.d }

// waiting returns the runs of deaths that wait for the horizon, and how many
// blocks of data there are: those of the line before among them. estate.mu is
// held.
func (l *line) waiting() (runs []*deathRun, blocks int64) {
	es := &l.estate
	runs, blocks = es.history, es.historyBlocks+es.unfiled
	if l.continues() {
		runs, blocks = slices.Concat(runs, es.foreign), blocks+es.foreignData
	}
	return runs, blocks
}

// over reports whether l has no head any more.
func (l *line) over() bool { return l.end() != 0 || l.d.gone }
