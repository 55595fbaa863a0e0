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
// write, "X@WHEN" read-only as it was. Times without a zone are of loc.
func Volumes(e *engine.Engine, loc *time.Location) Backend { return volumes{e, loc} }

type volumes struct {
	e   *engine.Engine
	loc *time.Location
}

// List implements Backend. Moments are not listed: there is one for each LSN.
func (b volumes) List(context.Context) ([]Export, error) {
	var out []Export
	for _, d := range b.e.Datasets(false) {
		out = append(out, Export{Name: d.Name, Size: d.Size})
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
	return &disk{Volume: v}, nil
}

// disk makes a vol.Volume a Disk.
type disk struct{ *vol.Volume }

func (d *disk) Info() Export {
	return Export{Name: d.Name(), Size: d.Size(), ReadOnly: d.ReadOnly()}
}

func (d *disk) Cache(off, n uint64) error {
	return d.Volume.Cache(context.Background(), off, n)
}

func (d *disk) Close() error {
	d.Volume.Close()
	return nil
}
