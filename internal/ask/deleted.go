package ask

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"varve/internal/fail"
	"varve/internal/files"
	"varve/internal/inode"
	"varve/internal/oplog"
)

// Deleted is a name that was in a directory and is not any more.
type Deleted struct {
	Name   files.Text `json:"name"`
	LSN    uint64     `json:"lsn" doc:"Of the operation that took it away"`
	Before uint64     `json:"before" doc:"The last moment at which it was there: SHARE@lsn:N:/path/name"`
	Time   time.Time  `json:"time"`
	Client string     `json:"client,omitempty" doc:"Who did it; empty: the server itself"`
	UID    uint32     `json:"uid"`
	What   string     `json:"what" doc:"removed, renamed, rolled back"`
	To     files.Text `json:"to,omitempty" doc:"Renamed: the path that it got"`
}

// maxDeleted bounds how many names are told, and how many a directory may have
// had when it went as a whole.
const maxDeleted = 200_000

// Deleted visits, by name, the names that were in the directory of that path
// within history, and are not there now: each as it went last. What was replaced
// is there. The path may be gone too. NotFound where there never was anything.
func (a *Asker) Deleted(ctx context.Context, share, path string, fn func(*Deleted) error) error {
	info, err := a.e.Dataset(share)
	if err != nil {
		return err
	}
	if info.Kind != "share" {
		return fail.New(fail.Invalid, "%s is a volume: it has blocks, not files", share)
	}
	w := &went{a: a, id: info.ID, names: make(map[string]Deleted), oldest: max(info.OldestLSN, info.CreatedLSN)}
	if w.path, err = clean(path); err != nil {
		return err
	}
	q := Query{Dataset: share}
	for _, k := range []oplog.Kind{oplog.Remove, oplog.Rmdir, oplog.Move, oplog.Rollback, oplog.Undo} {
		q.Filter.Kinds.Add(k)
	}
	if err := a.visit(ctx, q, false, w.op); err != nil {
		return err
	}
	now, there, err := a.list(info.ID, a.e.Status().LastLSN, w.path)
	if err != nil {
		return err
	}
	if !there && len(w.names) == 0 {
		return fail.New(fail.NotFound, "there never was a directory %s in %s, nor anything in it", cmp.Or(w.path, "/"), share)
	}
	for _, name := range now {
		delete(w.names, name)
	}
	list := make([]Deleted, 0, len(w.names))
	for _, d := range w.names {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b Deleted) int { return cmp.Compare(a.Name, b.Name) })
	for i := range list {
		if err := fn(&list[i]); err != nil {
			return err
		}
	}
	return nil
}

// clean is a path without superfluous slashes; "" is the root.
func clean(path string) (string, error) {
	var b strings.Builder
	if !strings.HasPrefix(path, "/") {
		return "", fail.New(fail.Invalid, "%.100q is no path", path).WithHint("a path begins with /")
	}
	for name := range strings.SplitSeq(path, "/") {
		switch name {
		case "", ".":
		case "..":
			return "", fail.New(fail.Invalid, "%.100q has \"..\" in it", path).WithHint("write the path without it")
		default:
			b.WriteString("/" + name)
		}
	}
	return b.String(), nil
}

// went collects what went from a directory.
type went struct {
	a      *Asker
	id     uint64
	path   string
	oldest uint64
	names  map[string]Deleted
}

func (w *went) op(op *oplog.Op, path, path2 string) error {
	d := Deleted{LSN: op.LSN, Before: op.LSN - 1, Time: time.Unix(0, op.Time).UTC(), Client: clientName(op), UID: op.UID, What: "removed"}
	switch op.Kind {
	case oplog.Rollback, oplog.Undo:
		d.What = "rolled back"
		return w.all(d, "")
	case oplog.Move:
		d.What = "renamed"
		if path != "" && path == w.path || strings.HasPrefix(w.path, path+"/") { // with the directory
			return w.all(d, path2+strings.TrimPrefix(w.path, path))
		}
	}
	if name, ok := strings.CutPrefix(path, w.path+"/"); ok && !strings.Contains(name, "/") {
		d.To = files.Text(path2)
		return w.note(d, name)
	}
	return nil
}

func (w *went) note(d Deleted, name string) error {
	if len(w.names) >= maxDeleted {
		return fail.New(fail.TooBig, "more than %d names went from there", maxDeleted).WithHint("varve log --op remove --path shows them")
	}
	d.Name = files.Text(name)
	w.names[name] = d
	return nil
}

// all notes that everything in the directory went, to the directory to.
func (w *went) all(d Deleted, to string) error {
	if d.Before < w.oldest {
		return nil
	}
	names, _, err := w.a.list(w.id, d.Before, w.path)
	for _, name := range names {
		if to != "" {
			d.To = files.Text(to + "/" + name)
		}
		if err == nil {
			err = w.note(d, name)
		}
	}
	return err
}

// list returns the names in a directory at a moment, and whether it was there.
func (a *Asker) list(id, lsn uint64, path string) (names []string, there bool, err error) {
	v, err := a.e.OpenViewID(id, lsn)
	if err != nil {
		return nil, false, err
	}
	defer v.Close()
	ino := uint64(inode.Root)
	for name := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if path == "" {
			break
		}
		var e inode.Entry
		ok := false
		err := v.Look(func(r inode.Reader) error {
			i, err := inode.Load(r, ino)
			if err == nil && i.IsDir() {
				e, ok, err = inode.Lookup(r, v.Seed(), ino, name)
			}
			return err
		})
		if err != nil || !ok {
			return nil, false, err
		}
		ino = e.Ino
	}
	err = entries(v, ino, func(e *inode.Entry) error {
		if len(names) >= maxDeleted {
			return fail.New(fail.TooBig, "the directory had more than %d names", maxDeleted)
		}
		names = append(names, e.Name)
		return nil
	})
	return names, true, err
}
