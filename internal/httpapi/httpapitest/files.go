package httpapitest

import (
	"context"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/files"
	"varve/internal/restore"
	"varve/internal/when"
)

// CreateShare makes a share, which has no files: see List.
func (p *Pool) CreateShare(c engine.Caller, name string, mode, uid, gid uint32) (engine.Done, error) {
	return p.change(c, func(d *engine.Done) error {
		if err := p.free(name); err != nil {
			return err
		}
		s := p.add(d, name, 0)
		s.Kind, s.Inodes = "share", 1
		p.Roots = append(p.Roots, files.Entry{Path: "/", Type: "dir", Ino: 2, Mode: mode, UID: uid, GID: gid})
		return nil
	})
}

// Set sets a property of whatever name, but for Unset.
func (p *Pool) Set(c engine.Caller, dataset, property, value string) (engine.Done, error) {
	return p.change(c, func(*engine.Done) error {
		d, err := p.find(dataset)
		if err != nil {
			return err
		}
		if property == p.Unset {
			return fail.New(fail.Invalid, "%s cannot be set here", property)
		}
		if d.Properties == nil {
			d.Properties = make(map[string]string)
		}
		if d.Properties[property] = value; value == "" {
			delete(d.Properties, property)
		}
		return nil
	})
}

// errNoFiles is what the shares of this pool answer: they have none.
var errNoFiles = fail.New(fail.NotFound, "there are no files here")

// List visits History.Entries.
func (p *Pool) List(ctx context.Context, place files.Place, _ bool, fn func(files.Entry) error) (*engine.Moment, error) {
	var m *engine.Moment
	if place.When != nil {
		at, err := p.Resolve(place.Share, *place.When)
		if err != nil {
			return nil, err
		}
		m = &at
	}
	return m, p.slowly(ctx, visit(p, p.History.Entries, fn))
}

// Open finds nothing.
func (p *Pool) Open(context.Context, files.Place) (*files.File, error) { return nil, errNoFiles }

// Compare visits History.Differences.
func (p *Pool) Compare(ctx context.Context, share, _ string, from, to when.Spec, fn func(files.Difference) error) (a, b engine.Moment, err error) {
	if a, err = p.Resolve(share, from); err != nil {
		return a, b, err
	}
	if b, err = p.Resolve(share, to); err != nil {
		return a, b, err
	}
	return a, b, p.slowly(ctx, visit(p, p.History.Differences, fn))
}

// Versions visits History.Versions.
func (p *Pool) Versions(_ context.Context, _, _ string, _ bool, fn func(files.Version) error) error {
	return visit(p, p.History.Versions, fn)
}

// Copy says that it copied something, and does not.
func (p *Pool) Copy(ctx context.Context, c engine.Caller, _ files.Place, _, path string, _ bool, tell func(files.Progress)) (files.Copied, error) {
	out := files.Copied{Progress: files.Progress{Files: 2, Bytes: 8192}, Path: files.Text(path)}
	tell(out.Progress)
	d, err := p.change(c, func(*engine.Done) error { return p.slowly(ctx, nil) })
	out.LSN = d.LSN
	return out, err
}

// Restore says that it did what Copy does.
func (p *Pool) Restore(ctx context.Context, c engine.Caller, share, path string, w when.Spec, tell func(files.Progress)) (files.Copied, error) {
	m, err := p.Resolve(share, w)
	if err != nil {
		return files.Copied{}, err
	}
	out, err := p.Copy(ctx, c, files.Place{}, share, path, false, tell)
	out.Moment, out.Guard = &m, "before-rollback-1"
	return out, err
}

// RestoreArchive reads the archive, which has to be one.
func (p *Pool) RestoreArchive(ctx context.Context, _ engine.Caller, _, _ string, v restore.Volumes, o restore.Options) (restore.Result, error) {
	o.Root = nil
	return restore.Run(ctx, v, o)
}
