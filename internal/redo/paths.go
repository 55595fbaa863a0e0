package redo

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"varve/internal/engine"
	"varve/internal/inode"
	"varve/internal/oplog"
)

// looker is a state of a share.
type looker interface {
	Look(func(inode.Reader) error) error
}

// paths tells where objects are: in a state, or where operations left out had
// made them. It remembers directories.
type paths struct {
	in   looker
	dirs map[uint64]place
}

func newPaths(in looker) paths { return paths{in, map[uint64]place{}} }

// maxDirs bounds what is remembered.
const maxDirs = 64 << 10

func (p *paths) forget(ino uint64) { delete(p.dirs, ino) }

// of returns the path of what an operation is about: an object of that number.
func (p *paths) of(ino uint64, op *oplog.Op, left *leftOut) (string, error) {
	if n := namesOf(op); len(n) > 0 {
		return p.path(n[0], left)
	}
	at, err := p.where(ino, left)
	if err != nil {
		return "", err
	}
	return p.path(at, left)
}

// path returns the path of a name in a directory.
func (p *paths) path(at place, left *leftOut) (string, error) {
	s := "/" + at.name
	for range maxUp {
		if at.dir == inode.Root {
			break
		}
		dir := at.dir
		if at.dir == 0 {
			break
		}
		up, ok := p.dirs[dir]
		if !ok {
			var err error
			if up, err = p.where(dir, left); err != nil {
				return "", err
			}
			if len(p.dirs) < maxDirs {
				p.dirs[dir] = up
			}
		}
		s = "/" + up.name + s
		at = up
	}
	return s, nil
}

// where finds the newest name of an object; the directory is 0 where it has none.
func (p *paths) where(ino uint64, left *leftOut) (place, error) {
	if ino == inode.Root {
		return place{}, nil
	}
	if o := left.objects[ino]; o.made {
		return o.place, nil
	}
	found, err := p.names(map[uint64]bool{ino: true})
	if err != nil {
		return place{}, err
	}
	if at, ok := found[ino]; ok {
		return at, nil
	}
	return place{name: fmt.Sprintf("(inode %d)", ino)}, nil
}

// names finds a name of each of the objects that is there, in the directory where
// it got the newest one.
func (p *paths) names(wanted map[uint64]bool) (map[uint64]place, error) {
	in := map[uint64]bool{}
	for ino := range wanted {
		err := p.in.Look(func(r inode.Reader) error {
			i, ok, err := inode.Find(r, ino)
			if ok {
				in[i.Parent] = true
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	found := map[uint64]place{}
	for _, dir := range slices.Sorted(maps.Keys(in)) {
		err := p.in.Look(func(r inode.Reader) error {
			return inode.List(r, dir, 0, func(e inode.Entry) bool {
				if wanted[e.Ino] {
					found[e.Ino] = place{dir, e.Name}
				}
				return true
			})
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// changes lists what is otherwise in the result than in the present: of what
// operations left out had changed.
func (p *player) changes(present *engine.View) error {
	if !p.a.IsShare() {
		p.report.Changed = p.left.bytes[0].bytes()
		return nil
	}
	here, there := map[uint64]bool{}, map[uint64]bool{}
	for _, ino := range slices.Sorted(maps.Keys(p.left.objects)) {
		var was, is inode.Inode
		var had, has bool
		err := present.Look(func(r inode.Reader) (err error) {
			was, had, err = inode.Find(r, ino)
			return err
		})
		if err == nil {
			err = p.result.Look(func(r inode.Reader) (err error) {
				is, has, err = inode.Find(r, ino)
				return err
			})
		}
		if err != nil {
			return err
		}
		if !had && !has || had && has && was == is && len(p.left.bytes[ino]) == 0 {
			continue
		}
		if p.report.Changed++; p.report.Changed <= maxChanges {
			here[ino], there[ino] = had, has
		}
	}
	return p.list(here, there, present)
}

// list shows the objects that differ, by path.
func (p *player) list(here, there map[uint64]bool, present *engine.View) error {
	wanted := map[uint64]bool{}
	for ino := range here {
		wanted[ino] = true
	}
	now, then := newPaths(present), newPaths(p.result)
	none := newLeftOut()
	text := func(of *paths, found map[uint64]place, ino uint64) (string, error) {
		at, ok := found[ino]
		if !ok {
			return fmt.Sprintf("(inode %d)", ino), nil
		}
		return of.path(at, &none)
	}
	had, err := now.names(wanted)
	if err != nil {
		return err
	}
	has, err := then.names(wanted)
	if err != nil {
		return err
	}
	for _, ino := range slices.Sorted(maps.Keys(wanted)) {
		c := Altered{What: "restored"}
		if there[ino] {
			if c.Path, err = text(&then, has, ino); err != nil {
				return err
			}
		}
		was := ""
		if here[ino] {
			if was, err = text(&now, had, ino); err != nil {
				return err
			}
		}
		switch {
		case !there[ino]:
			c.What, c.Path = "removed", was
		case !here[ino]:
			c.What = "back"
		case was != c.Path:
			c.Was = was
		}
		p.report.Changes = append(p.report.Changes, c)
	}
	slices.SortFunc(p.report.Changes, func(a, b Altered) int { return strings.Compare(a.Path, b.Path) })
	return nil
}
