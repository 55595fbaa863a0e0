package engine

import (
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"varve/internal/segment"
	"varve/internal/tree"
)

// dataset is one line of history and its head. The catalog fields change only
// under Engine.gate held exclusively (or in recovery); the head and what its
// operations touch, under mu.
type dataset struct {
	id           uint64
	kind         datasetKind
	name         string
	created      stamp
	parent       uint64   // the dataset it forked from, or 0
	origin       *dataset // that dataset, or nil
	fork         uint64   // the moment of the parent that it began with
	absorbed     bool     // it took over a parent that was gone: what was before it was made is not its past
	destroyed    stamp    // zero: it is there
	gone         bool     // destroyed for good
	snaps        []*snapshot
	deathSeq     uint64              // number of the next run of deaths; under Engine.ckpt
	resetting    atomic.Bool         // to what it was when it was made
	lines        []*line             // the last one is the present's
	stretchItems uint64              // items of what their records have no room for
	props        map[string]property // never changed in place: others read it
	propsVersion atomic.Uint64       // the operation that set one last
	state        []byte              // of a front end; never changed in place
	mu           sync.RWMutex
	head         image
	frozen       *tree.Version // of the present state, or nil
	changed      uint64        // the last operation that changed the head
	touched      atomic.Bool   // changed since the last cut; on Engine.touchedSets then
	retired      []retiredHead // heads that were replaced; their drops are still to be taken
	left         []*leftHead   // the same, for the nodes that only they had
	nextIno      uint64        // of a share: the next object's number; no rollback turns it back
	dying        []*dying
	roots        []*root    // by LSN, the newest last
	asides       int        // roots aside
	fresh        []*root    // of these, the ones not on disk yet
	plain        []*root    // of these, the last checkpoints'
	horizon      stamp      // every moment from it on is kept
	repeats      pinSet     // moments from which on operations are being repeated
	paused       *errPaused // while operations on the data have to wait; else nil
	givenUp      uint64     // in recovery: the first operation of those that AcceptLoss gives up, else 0;
	damage       error      // and why
	lost         []extent   // the data of these
	losses       []stretch  // of operations that were given up at some opening

	clients map[*Head]struct{} // attached front ends; under Engine.clients
}

// datasetKind says what a dataset is. The numbers are on disk.
type datasetKind uint8

const (
	volumeKind datasetKind = 0
	shareKind  datasetKind = 1
)

func (k datasetKind) String() string {
	if k == shareKind {
		return "share"
	}
	return "volume"
}

// stamp is when something happened, by the log and by the clock.
type stamp struct {
	lsn  uint64
	time int64 // Unix nanoseconds
}

func (s stamp) wall() time.Time { return time.Unix(0, s.time).UTC() }

// snapshot is a named moment of a dataset.
type snapshot struct {
	id      uint64 // the operation that made it
	name    string
	lsn     uint64 // the moment
	time    int64
	at      int64 // when the moment was
	guard   bool  // made by a rollback, for what it left
	kept    bool  // made by the schedule of the property keep
	expires int64 // when it goes by itself: Unix nanoseconds; 0: never
	holds   []string
}

// retiredHead is the tree of a head that was replaced, and the line it ended.
type retiredHead struct {
	tree *tree.Tree
	line *line
}

// leftHead is a head that was replaced: by a rollback, or because its dataset is
// gone. Its nodes that nobody else has died with it; checkpoints enter their
// deaths in bounded steps.
type leftHead struct {
	at   uint64   // the operation; the nodes' death
	root *root    // what the head was
	born uint64   // nodes born up to it live on in the new head, or died before
	next tree.Key // nodes whose keys begin before it are entered
}

// root is a moment whose tree is at hand: replays start there.
type root struct {
	figures
	lsn    uint64
	pos    segment.Position // operations after lsn lie in frames after it
	base   bool             // kept for the views of history
	plain  bool             // one of the last checkpoints'
	aside  bool             // replayed: the nodes made for it were never the head's
	from   *root            // of one aside: the root whose nodes it shares; it may not be listed any more
	shared int              // roots aside that were replayed from it and are not on disk yet: who needs their moments replays anew
	snaps  int              // snapshots of its moment
	walks  int              // dying lists and left heads that walk it
	forks  int              // of one aside: lines whose first tree was made from it
	views  int              // of one aside: overlays and views of it, in memory only
	ref    tree.Ref         // its node on disk, valid when version is nil
	vers   *tree.Version    // until it is written
}

// dying is a range of an old tree whose extents are dead and not yet entered
// in the ledger. Drain operations empty it in bounded steps.
type dying struct {
	id     uint64   // the operation that made it; the extents' death
	root   *root    // the old tree
	next   tree.Key // first item still to visit
	end    tree.Key // first item beyond the range
	born   uint64   // only extents born after this moment died
	counts bool     // the head's mapped still counts them
	stuck  bool     // the disk does not give what it lists: it waits until the pool is opened again
}

func (d *dataset) snapshot(name string) *snapshot {
	for _, s := range d.snaps {
		if s.name == name {
			return s
		}
	}
	return nil
}

// rootBefore returns the newest root at or before lsn, or nil; with own, the
// newest whose nodes were all the head's once.
func (d *dataset) rootBefore(lsn uint64, own bool) *root {
	i := sort.Search(len(d.roots), func(i int) bool { return d.roots[i].lsn > lsn })
	for i > 0 && own && d.roots[i-1].aside {
		i--
	}
	if i == 0 {
		return nil
	}
	return d.roots[i-1]
}

// addRoot files r, which is not on disk yet, and returns it; of two roots of
// one moment the first stays, and is returned.
func (d *dataset) addRoot(r *root) *root {
	i := sort.Search(len(d.roots), func(i int) bool { return d.roots[i].lsn >= r.lsn })
	if i < len(d.roots) && d.roots[i].lsn == r.lsn {
		r.vers.Close()
		return d.roots[i]
	}
	d.roots = slices.Insert(d.roots, i, r)
	d.fresh = append(d.fresh, r)
	d.pinRoot(r)
	if r.aside {
		r.from.shared++
	}
	return r
}

// pinRoot keeps the nodes of a root.
func (d *dataset) pinRoot(r *root) {
	d.lineAt(r.lsn).nodePins.add(r.lsn)
	if r.aside {
		d.lineAt(r.lsn).asidePins.add(r.lsn)
		d.lineAt(r.from.lsn).nodePins.add(r.from.lsn)
		d.asides++
	}
}

// rootAt returns the root of exactly that moment, or nil.
func (d *dataset) rootAt(lsn uint64) *root {
	if r := d.rootBefore(lsn, false); r != nil && r.lsn == lsn {
		return r
	}
	return nil
}

// plainRoots is how many roots of ordinary checkpoints a dataset keeps.
const plainRoots = 2

// thin files r as the newest checkpoint's root and returns the roots that go
// for it.
func (d *dataset) thin(r *root) (gone []*root) {
	if len(d.plain) == 0 || d.plain[len(d.plain)-1] != r {
		d.plain = append(d.plain, r)
	}
	r.plain = true
	for len(d.plain) > plainRoots && d.plain[0].vers == nil {
		old := d.plain[0]
		d.plain = d.plain[1:]
		old.plain = false
		if d.discard(old) {
			gone = append(gone, old)
		}
	}
	return gone
}

// discard removes a root that nothing keeps. Whoever shares its nodes has a pin
// of nodes there, which stays.
func (d *dataset) discard(r *root) bool {
	if r.base || r.plain || r.walks > 0 || r.snaps > 0 || r.shared > 0 || r.forks > 0 || r.views > 0 || r.vers != nil {
		return false
	}
	i := slices.Index(d.roots, r)
	if i < 0 {
		return false
	}
	d.roots = slices.Delete(d.roots, i, i+1)
	d.lineAt(r.lsn).nodePins.remove(r.lsn)
	if r.aside {
		d.lineAt(r.lsn).asidePins.remove(r.lsn)
		d.lineAt(r.from.lsn).nodePins.remove(r.from.lsn)
		d.asides--
	}
	return true
}

// holdsMoment reports whether a moment of d's own line is kept. d.mu is held.
func (d *dataset) holdsMoment(lsn uint64) bool {
	if d.gone {
		return false
	}
	if lsn >= d.horizon.lsn || d.changed <= lsn {
		return true
	}
	r := d.rootAt(lsn)
	return r != nil && r.snaps > 0
}

// freeze names the head's present state: the state after lsn. Its nodes are
// born with the last operation that changed them, not with the moment at which
// somebody looks: so whoever pins a moment in between finds them alive.
func (d *dataset) freeze(lsn uint64, pos segment.Position) *root {
	r := &root{figures: d.head.figures, lsn: lsn, pos: pos, vers: d.version()}
	for _, y := range d.dying {
		r.rough = r.rough || y.counts
	}
	return r
}

// version freezes the head. Until an operation changes it, that is the same
// version each time: pages that Prepare copied for an operation that did not
// happen are no change. So a node dies at a moment after that of every root
// which holds it. The caller closes the version.
func (d *dataset) version() *tree.Version {
	if d.frozen == nil {
		d.frozen = d.head.tree.Freeze(d.changed)
	}
	return d.frozen.Retain()
}

// thaw notes that the head is another than version names. dataset.mu is held.
func (d *dataset) thaw() {
	if d.frozen != nil {
		d.frozen.Close()
		d.frozen = nil
	}
}

// open returns a writable tree that starts from the root. dataset.mu is held.
func (r *root) open(c *tree.Cache) *tree.Tree {
	if r.vers != nil {
		return c.OpenRoot(r.vers)
	}
	return c.Open(r.ref)
}

// version returns a handle to the root's tree. dataset.mu is held.
func (r *root) version(c *tree.Cache) *tree.Version {
	if r.vers != nil {
		return r.vers.Retain()
	}
	return c.OpenVersion(r.ref)
}

// overlay returns an overlay with nothing over the root yet. dataset.mu is held.
func (r *root) overlay(c *tree.Cache, of *image) *overlay {
	im := &overlay{image: image{figures: r.figures, tree: r.open(c), seed: of.seed, since: of.since}, pos: r.pos, from: r.lsn}
	if r.aside {
		im.from, im.past = r.from.lsn, r
	}
	return im
}
