package scsi

import (
	"varve/internal/engine"
	"varve/internal/vol"
	"varve/internal/when"
)

// volume is a Disk over a volume of the pool.
type volume struct {
	*vol.Volume
	id           Identity
	physical     int
	writeThrough bool
}

// OpenVolume opens NAME, or with a moment NAME as it was then, for a nexus. caller
// and kick are for the head only: see engine.Attach.
func OpenVolume(e *engine.Engine, name string, at *when.Spec, caller engine.Caller, kick func()) (Disk, error) {
	v, err := vol.Open(e, name, at, caller, kick)
	if err != nil {
		return nil, err
	}
	d := &volume{Volume: v, physical: physicalBlock}
	if v.Property("physical-block") == "512" {
		d.physical = 512
	}
	d.writeThrough = at == nil && v.Property("iscsi-write-cache") == "off"
	d.id.Pool, d.id.Dataset, d.id.LSN = v.Moment()
	return d, nil
}

func (d *volume) Identity() Identity { return d.id }

func (d *volume) PhysicalBlock() int { return d.physical }

func (d *volume) WriteCache() bool { return !d.writeThrough }

func (d *volume) Name() string { return d.NameNow() }

func (d *volume) Size() uint64 { return d.SizeNow() }

func (d *volume) State() ([]byte, error) { return d.Volume.State(), nil }
