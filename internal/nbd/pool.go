package nbd

import (
	"context"
	"strings"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/vol"
	"varve/internal/when"
)

// Volumes is the Backend that exports every volume of a pool: "X" to read and
// write, "X@WHEN" read-only as it was. Times without a zone are of loc. The
// description of an export names its pool.
func Volumes(e *engine.Engine, loc *time.Location) Backend { return volumes{e, loc} }

type volumes struct {
	e   *engine.Engine
	loc *time.Location
}

// List implements Backend. Moments are not listed: there is one for each LSN.
func (b volumes) List(context.Context) ([]Export, error) {
	var out []Export
	for _, d := range b.e.Datasets(false) {
		out = append(out, Export{Name: d.Name, Size: d.Size, Description: b.description()})
	}
	return out, nil
}

// Open implements Backend.
func (b volumes) Open(_ context.Context, name string, c Client, kick func()) (Disk, error) {
	if name == "" {
		all := b.e.Datasets(false)
		if len(all) != 1 {
			return nil, fail.New(fail.NotFound, "no default export: the pool has %d volumes", len(all)).WithHint("name one")
		}
		name = all[0].Name
	}
	var at *when.Spec
	if strings.Contains(name, "@") {
		a, err := when.ParseAddress(name, b.loc)
		if err != nil {
			return nil, err
		}
		if a.To != nil || a.Path != "" || a.Partition != 0 {
			return nil, fail.New(fail.Invalid, "export %q is more than a volume and a moment", name).WithHint("use NAME or NAME@WHEN")
		}
		name, at = a.Dataset, a.When
	}
	v, err := vol.Open(b.e, name, at, engine.Caller{Proto: "NBD", Addr: c.Addr}, kick)
	if err != nil {
		return nil, err
	}
	return &disk{v, b.loc, b.description()}, nil
}

func (b volumes) description() string { return "pool " + b.e.Identity() }

// disk makes a vol.Volume a Disk.
type disk struct {
	*vol.Volume
	loc         *time.Location
	description string
}

func (d *disk) Info() Export {
	return Export{Name: d.Name(), Size: d.Size(), ReadOnly: d.ReadOnly(), Description: d.description}
}

func (d *disk) Cache(off, n uint64) error {
	return d.Volume.Cache(context.Background(), off, n)
}

func (d *disk) Close() error {
	d.Volume.Close()
	return nil
}

const (
	namespace = "varve:"

	// changedSince begins the name of a context; a WHEN ends it. It marks what
	// was changed since that moment of the volume.
	changedSince = namespace + "changed@"

	// maxListed bounds the snapshots that are listed, the newest ones. Any
	// moment can be selected, listed or not.
	maxListed = 1024
)

// Contexts implements Disk.
func (d *disk) Contexts(query string) []string {
	switch query {
	case "":
		return []string{changedSince}
	case namespace, changedSince:
		return d.snapshots()
	}
	c, err := d.OpenContext(query)
	if err != nil {
		return nil
	}
	c.Close()
	return []string{query}
}

func (d *disk) snapshots() []string {
	names, err := d.Snapshots(maxListed)
	if err != nil {
		return nil // renamed or destroyed meanwhile
	}
	for i := range names {
		names[i] = changedSince + names[i]
	}
	return names
}

// OpenContext implements Disk.
func (d *disk) OpenContext(name string) (Context, error) {
	w, ok := strings.CutPrefix(name, changedSince)
	if !ok {
		return nil, fail.New(fail.NotFound, "no such context").WithHint("there are %s and %sWHEN", baseAllocation, changedSince)
	}
	at, err := when.Parse(w, d.loc)
	if err != nil {
		return nil, err
	}
	c, err := d.Since(at)
	if err != nil {
		return nil, err
	}
	return changes{c}, nil
}

// stateChanged is the flag of varve:changed@WHEN.
const stateChanged = 1 << 0

// changes makes vol.Changes a Context.
type changes struct{ *vol.Changes }

// Status implements Context.
func (c changes) Status(off, n uint64, visit func(n uint64, flags uint32) bool) error {
	return c.Map(off, n, func(s Span) bool {
		if s.Hole {
			return visit(s.Len, 0)
		}
		return visit(s.Len, stateChanged)
	})
}
