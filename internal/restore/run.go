package restore

import (
	"context"
	"fmt"
	"io"

	"varve/internal/dump"
	"varve/internal/fail"
)

// Op is what is done with an archive.
type Op uint8

// The operations, as the letters of restore(8).
const (
	Extract Op = iota // -x: make the paths that are wanted
	Update            // -r: make a tree what the archive says, level by level
	Compare           // -C: tell how a tree differs from the archive
	List              // -t: tell the names
)

// Options say what to do with an archive.
type Options struct {
	Op      Op
	Root    Dir      // nil with List, and to make nothing but read all of it
	Paths   []string // of Extract, Compare, List: what is wanted, with all below it; none: all
	Shallow bool     // not what is below it
	GoOn    bool     // behind damage
	Names   bool     // tell the name of each object
	memory  int      // bound of what grows with the names: bytes; 0: namesMemory

	// Say is told everything, from the calling goroutine. An error that it returns ends
	// the work.
	Say func(Message) error
}

// restorer is one run.
type restorer struct {
	Options
	ctx    context.Context
	a      *Archive
	names  *names   // the tree as it is to be
	wanted *choice  // what is wanted of it
	old    *table   // the tree as the last archive left it, or nil
	places []uint32 // names.byPlace
	dress  dresses
	next   *Object // the first that is no directory
	dirs   *dirCache
	out    Result
}

// Run reads an archive and does with it what o says. Partial and what Differences
// say is no error. Corrupt: damage, without GoOn. Of Update: BaseMissing if the
// archive does not follow the one before it, Exists if a chain was restored here
// already.
func Run(ctx context.Context, v Volumes, o Options) (Result, error) {
	if o.memory == 0 {
		o.memory = namesMemory
	}
	r := &restorer{Options: o, ctx: ctx, names: namesWithin(o.memory), dress: dresses{spool{limit: o.memory}}}
	defer r.close()
	a, err := Open(v, o.GoOn, r.damage)
	if err != nil {
		return r.out, err
	}
	r.a = a
	err = r.run()
	return r.out, err
}

func (r *restorer) close() {
	if r.a != nil {
		r.a.Close()
	}
	if r.dirs != nil {
		r.dirs.close()
	}
	if r.old != nil {
		r.old.names.close()
	}
	r.names.close()
	r.dress.close()
}

func (r *restorer) run() error {
	if err := r.a.Maps(); err != nil {
		return err
	}
	s := summary(&r.a.First)
	if r.a.Dumped != nil {
		s.Inodes = r.a.Dumped.Count()
		r.out.Left = s.Inodes
	}
	if err := r.Say(Message{Archive: s}); err != nil {
		return err
	}
	if r.Op == Update && r.Root != nil {
		if err := r.chain(); err != nil {
			return err
		}
	}
	if err := r.readDirs(); err != nil {
		return err
	}
	if err := r.plan(); err != nil {
		return err
	}
	switch r.Op {
	case List:
		return r.list()
	case Compare:
		return r.compare()
	case Update:
		return r.update()
	}
	return r.extract()
}

// damage tells of damage, and ends the work unless it is to go on.
func (r *restorer) damage(d Damage) error {
	r.out.Damages++
	if err := r.Say(Message{Damage: &d}); err != nil {
		return err
	}
	if !r.GoOn {
		return fail.New(fail.Corrupt, "the archive is damaged: %s", d).WithHint("-y goes on with what is behind it")
	}
	return nil
}

// lose tells what is lost of an inode.
func (r *restorer) lose(ino uint32, paths []string, ranges []Range, format string, args ...any) error {
	r.out.Losses++
	return r.Say(Message{Loss: &Loss{Ino: ino, Paths: paths, What: fmt.Sprintf(format, args...), Ranges: ranges}})
}

func (r *restorer) note(format string, args ...any) error {
	return r.Say(Message{Note: fmt.Sprintf(format, args...)})
}

// told tells that an object was dealt with, in a directory under a name or, with "", the
// directory itself.
func (r *restorer) told(ino uint32, dir int, name string) error {
	path := ""
	if r.Names { // which takes time to find out
		path = r.names.path(dir, name)
	}
	return r.toldPath(ino, path)
}

func (r *restorer) toldPath(ino uint32, path string) error {
	r.out.Files++
	if r.out.Left > 0 {
		r.out.Left--
	}
	if r.Names {
		if err := r.Say(Message{Name: &Name{ino, show(path)}}); err != nil {
			return err
		}
	}
	return r.progress()
}

func (r *restorer) progress() error {
	if err := r.ctx.Err(); err != nil {
		return fail.New(fail.Canceled, "interrupted")
	}
	p := r.out.Progress
	return r.Say(Message{Progress: &p})
}

// readDirs reads the directories, which come before everything else.
func (r *restorer) readDirs() error {
	for {
		o, err := r.a.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if o.Type != dump.ModeDir {
			r.next = o
			return nil
		}
		if err := r.readDir(o); err != nil {
			return err
		}
		if err := r.ctx.Err(); err != nil {
			return fail.New(fail.Canceled, "interrupted")
		}
	}
}

func (r *restorer) readDir(o *Object) error {
	r.names.beginDir(o.Ino)
	rec := len(r.names.dirs) - 1
	var said error
	bad := func(what string) {
		if err := r.lose(o.Ino, nil, nil, "directory %d has %s; it is left out", o.Ino, what); err != nil {
			said = err
		}
	}
	d := dirents{order: r.a.order, bad: bad, fn: func(e entry) error {
		if r.Op == Update && o.Ino == dump.RootIno && (e.name == TableName || e.name == stageName) {
			bad("the name " + quote(e.name) + ", which varve restore -r uses itself")
			return said
		}
		fresh, err := r.names.add(e)
		if err == nil && !fresh {
			bad("the name " + quote(e.name) + " twice")
		}
		return err
	}}
	end := uint64(0)
	lost, err := r.a.Data(func(off uint64, p []byte) error {
		if off < end {
			return nil // a hole after all: the names that were there are names, wherever they belong
		}
		end = off + uint64(len(p))
		if err := d.read(p); err != nil {
			return err
		}
		return said
	})
	if err != nil {
		return err
	}
	if err := r.names.endDir(func(name string) { bad("the name " + quote(name) + " twice") }); err != nil {
		return err
	}
	if said != nil {
		return said
	}
	if len(lost) > 0 {
		if err := r.lose(o.Ino, nil, lost, "names in directory %d", o.Ino); err != nil {
			return err
		}
	}
	xattrs, gone, err := r.a.Xattrs()
	if err != nil {
		return err
	}
	for _, what := range gone {
		if err := r.lose(o.Ino, nil, nil, "of directory %d: %s", o.Ino, what); err != nil {
			return err
		}
	}
	r.names.dirs[rec].dress, err = r.dress.put(o.attr(xattrs))
	return err
}

// plan makes the tree as it is to be, and finds what is wanted of it.
func (r *restorer) plan() error {
	if r.old != nil {
		if err := r.inherit(); err != nil {
			return err
		}
	}
	if err := r.names.index(); err != nil {
		return err
	}
	var said error
	err := r.names.connect(func(ino uint32, what string) {
		if err := r.lose(ino, nil, nil, "%s", what); err != nil {
			said = err
		}
	})
	if err == nil {
		err = said
	}
	if err != nil {
		return err
	}
	for i, d := range r.names.dirs {
		if !r.names.placed(i) {
			if err := r.lose(d.ino, nil, nil, "directory %d, which no name leads to, with what is in it", d.ino); err != nil {
				return err
			}
		}
	}
	r.places = r.names.byPlace()
	r.wanted, err = r.choose()
	return err
}

// dumped reports whether an inode should be in the archive.
func (r *restorer) dumped(ino uint32) bool { return r.a.Dumped == nil || r.a.Dumped.Has(ino) }

// link is a name of an object, and the directory that it is in.
type link struct {
	dir  int
	name string
}

// links returns the names of an inode that are wanted.
func (r *restorer) links(ino uint32) ([]link, error) {
	places, err := r.names.links(ino)
	if err != nil {
		return nil, err
	}
	var list []link
	for _, at := range places {
		dir := r.names.holder(at, r.places)
		if !r.names.placed(dir) || !r.wanted.has(dir, at) {
			continue
		}
		e, _, err := r.names.entry(at)
		if err != nil {
			return nil, err
		}
		list = append(list, link{dir, e.name})
	}
	return list, nil
}

// paths shows names, a few of them if there are many.
func (r *restorer) paths(list []link) (out []string) {
	for _, l := range list[:min(len(list), 16)] {
		out = append(out, show(r.names.path(l.dir, l.name)))
	}
	return out
}
