package files

import (
	"context"
	"slices"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/inode"
	"varve/internal/oplog"
)

// Version is what a path was from an operation on.
type Version struct {
	LSN     uint64    `json:"lsn" doc:"Of the last operation that made it: SHARE@lsn:N:/path is this version"`
	Time    time.Time `json:"time"`
	What    string    `json:"what" doc:"What happened: created, written, resized, attributes, linked, renamed, replaced, removed, rolled back, there"`
	Client  string    `json:"client,omitempty" doc:"Empty: the server itself"`
	Ino     uint64    `json:"ino,omitempty"`
	Size    uint64    `json:"size" doc:"Bytes"`
	Gone    bool      `json:"gone,omitempty" doc:"From here on there is nothing at that path"`
	Changes int       `json:"changes" doc:"How many operations made it"`
	Other   Text      `json:"other,omitempty" doc:"Renamed: its other name, before or after"`
}

// burst is how close to each other changes of one kind are that are one
// version.
const burst = 2 * time.Second

// maxSizes bounds how many files of which nobody asked are remembered by their
// size, in case that they are renamed to the path that is asked for.
const maxSizes = 100_000

// Versions visits what there was at a path, oldest first, from the making of
// the share on; what was removed too. Changes of one kind by one client that
// follow each other within two seconds, with no snapshot in between, are one
// version, unless all are wanted. NotFound if there never was anything.
func (f *Files) Versions(ctx context.Context, share, path string, all bool, fn func(Version) error) error {
	names, err := split(path)
	if err != nil {
		return err
	}
	info, err := f.share(share)
	if err != nil {
		return err
	}
	t := &tracer{
		f: f, id: info.ID, names: names, chain: make([]uint64, len(names)+1), all: all, fn: fn,
		sizes: make(map[uint64]uint64),
	}
	if err := t.begin(&info); err != nil {
		return err
	}
	err = f.e.Log(ctx, engine.LogQuery{Dataset: share}, func(op *oplog.Op, _ bool) error { return t.op(engine.Describe(op)) })
	if err == nil {
		err = t.flush()
	}
	if err == nil && t.visited == 0 {
		err = fail.New(fail.NotFound, "there never was a %s in %s", join(names), share).
			WithHint("a file that was renamed has its older versions under its older name")
	}
	return err
}

// tracer follows a path through the log. chain has the inode of each directory
// on the way, from the root, and at the end that of the path; 0: nothing there.
type tracer struct {
	f       *Files
	id      uint64 // of the share
	names   []string
	chain   []uint64
	size    uint64            // of the last in chain
	sizes   map[uint64]uint64 // of others that were made lately
	all     bool
	fn      func(Version) error
	pending *Version
	visited int
}

func (t *tracer) last() uint64 { return t.chain[len(t.chain)-1] }

// begin finds what there was when the share was made: for a clone, all that it
// began with.
func (t *tracer) begin(i *engine.DatasetInfo) error {
	if err := t.look(i.CreatedLSN); err != nil || t.last() == 0 {
		return err
	}
	return t.note(Version{LSN: i.CreatedLSN, Time: i.Created, What: "there"})
}

// look finds the chain and the size at a moment.
func (t *tracer) look(lsn uint64) error {
	v, err := t.f.e.OpenViewID(t.id, lsn)
	if err != nil {
		return err
	}
	defer v.Close()
	return v.Look(func(r inode.Reader) error {
		clear(t.chain)
		t.chain[0], t.size = inode.Root, 0
		for n, name := range t.names {
			e, ok, err := inode.Lookup(r, v.Seed(), t.chain[n], name)
			if err != nil || !ok {
				return err
			}
			t.chain[n+1] = e.Ino
		}
		i, err := inode.Load(r, t.last())
		t.size = i.Size
		return err
	})
}

// op takes the next operation of the share's line.
func (t *tracer) op(op engine.OpInfo) error {
	switch {
	case op.Kind == oplog.Rollback.String(), op.Kind == oplog.Undo.String():
		return t.rolledBack(op)
	case op.Kind == oplog.Snapshot.String():
		return t.flush() // what a snapshot keeps is a version of its own
	case op.File == nil:
		return nil
	}
	switch op.Kind {
	case oplog.Remove.String(), oplog.Rmdir.String():
		return t.left(op, Version{What: "removed"})
	case oplog.Move.String():
		return t.moved(op)
	case oplog.Create.String(), oplog.Mkdir.String(), oplog.Symlink.String(), oplog.Mknod.String():
		size := max(op.Size, uint64(len(op.File.Target)))
		t.remember(op.File.Ino, size)
		return t.arrived(op, op.File.Dir, op.Name, Version{What: "created"}, func() error { return nil })
	case oplog.Link.String():
		return t.arrived(op, op.File.Dir, op.Name, Version{What: "linked"}, func() error { return t.look(op.LSN) })
	}
	return t.changed(op)
}

func (t *tracer) remember(ino, size uint64) {
	if len(t.sizes) >= maxSizes {
		clear(t.sizes)
	}
	t.sizes[ino] = size
}

// changed takes an operation on an inode and none of its names.
func (t *tracer) changed(op engine.OpInfo) error {
	ino := op.File.Ino
	size, known := t.sizes[ino]
	v := Version{What: "attributes"}
	if ino == t.last() {
		size, known = t.size, true
	}
	switch {
	case op.Kind == oplog.WriteFile.String():
		size, v.What = max(size, op.Off+op.Len), "written"
	case op.Kind == oplog.Setattr.String() && slices.Contains(op.File.Set, "size"):
		size, known, v.What = op.Size, true, "resized"
	}
	if known {
		t.remember(ino, size)
	}
	if ino != t.last() {
		return nil
	}
	t.size = size
	return t.event(op, v)
}

// onPath reports whether a name in a directory is on the path, and which one.
func (t *tracer) onPath(dir uint64, name string) (n int, ok bool) {
	for n, want := range t.names {
		if t.chain[n] == dir && want == name {
			return n + 1, true
		}
	}
	return 0, false
}

// left takes a name away: what was at its end or below is gone from the path.
func (t *tracer) left(op engine.OpInfo, v Version) error {
	n, ok := t.onPath(op.File.Dir, op.Name)
	if !ok {
		return nil
	}
	was := t.last()
	clear(t.chain[n:])
	if was == 0 {
		return nil
	}
	t.remember(was, t.size)
	v.Gone = true
	t.size = 0
	return t.event(op, v)
}

// arrived puts an inode on the path. What is below it, or how long it is, find
// has to find out, where it is not known.
func (t *tracer) arrived(op engine.OpInfo, dir uint64, name string, v Version, find func() error) error {
	n, ok := t.onPath(dir, name)
	if !ok {
		return nil
	}
	was := t.last()
	clear(t.chain[n:])
	t.chain[n] = op.File.Ino
	size, known := t.sizes[op.File.Ino]
	t.size = size
	if n < len(t.names) || !known {
		if err := find(); err != nil {
			return err
		}
	}
	if t.last() == 0 {
		return nil
	}
	if was != 0 && was != t.last() {
		v.What = "replaced"
	}
	return t.event(op, v)
}

// moved takes a rename: away from the path, onto it, or both.
func (t *tracer) moved(op engine.OpInfo) error {
	if _, onto := t.onPath(op.File.Dir2, op.File.Name2); !onto {
		return t.left(op, Version{What: "renamed", Other: Text(op.File.Name2)})
	}
	if n, away := t.onPath(op.File.Dir, op.Name); away {
		clear(t.chain[n:]) // a directory cannot move below itself: n is where it comes from
	}
	return t.arrived(op, op.File.Dir2, op.File.Name2, Version{What: "renamed", Other: Text(op.Name)}, func() error { return t.look(op.LSN) })
}

// rolledBack looks at what a rollback of the share made of the path.
func (t *tracer) rolledBack(op engine.OpInfo) error {
	was := t.last()
	clear(t.sizes)
	if err := t.look(op.LSN); err != nil || was == 0 && t.last() == 0 {
		return err
	}
	return t.event(op, Version{What: "rolled back", Gone: t.last() == 0})
}

// event makes an operation a version, or a part of the last one.
func (t *tracer) event(op engine.OpInfo, v Version) error {
	v.LSN, v.Time, v.Client = op.LSN, op.Time, op.Client
	return t.note(v)
}

func (t *tracer) note(v Version) error {
	v.Ino, v.Size, v.Changes = t.last(), t.size, 1
	if p := t.pending; p != nil && !t.all && p.joins(&v) {
		v.Changes += p.Changes
		if weight[v.What] <= weight[p.What] {
			v.What = p.What // a file that is created and filled at once was created
		}
		t.pending = &v
		return nil
	}
	if err := t.flush(); err != nil {
		return err
	}
	t.pending = &v
	return nil
}

// weight orders what may happen to a file at a path: one version is called by the
// heaviest. What is not here comes before all.
var weight = map[string]int{"attributes": -3, "resized": -2, "written": -1}

// joins reports whether a version is only a step to the next one.
func (v *Version) joins(next *Version) bool {
	return weight[next.What] < 0 && !v.Gone && v.What != "there" && v.Ino == next.Ino && v.Client == next.Client && next.Time.Sub(v.Time) < burst
}

func (t *tracer) flush() error {
	if t.pending == nil {
		return nil
	}
	v := *t.pending
	t.pending = nil
	t.visited++
	return t.fn(v)
}
