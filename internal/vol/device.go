package vol

import (
	"context"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/when"
)

// What a disk of a protocol with a memory needs beyond reading and writing.

// Moment identifies the volume for as long as it exists, whatever it is called:
// its pool, its number, and the operation of which this is the moment after; 0
// for the head.
func (v *Volume) Moment() (pool [16]byte, dataset, lsn uint64) {
	if v.head != nil {
		return v.e.ID(), v.head.ID(), 0
	}
	return v.e.ID(), v.view.ID(), v.lsn
}

// NameNow is what the volume is called now.
func (v *Volume) NameNow() string {
	if v.head != nil {
		return v.head.Name()
	}
	return v.name
}

// SizeNow is the size at this time: a head grows. Bytes.
func (v *Volume) SizeNow() uint64 { return v.reader.Size() }

// Update changes a range, at most engine.MaxUpdate, in one step: see
// engine.Head.Update.
func (v *Volume) Update(off, n uint64, change func(p []byte) bool) error {
	if err := v.writable(); err != nil {
		return err
	}
	return v.head.Update(off, n, change)
}

// State returns what SetState kept with the head; of a moment nothing.
func (v *Volume) State() []byte {
	if v.head == nil {
		return nil
	}
	return v.head.State()
}

// SetState keeps p, at most engine.MaxState bytes: see engine.Head.SetState.
func (v *Volume) SetState(p []byte) error {
	if err := v.writable(); err != nil {
		return err
	}
	return v.head.SetState(p)
}

// Property returns a property that is set, or "".
func (v *Volume) Property(key string) string {
	if v.head == nil {
		return ""
	}
	p, _ := v.head.Properties()
	return p[key]
}

// MayErase tells (nil) that everything the volume ever held may be destroyed:
// its property sanitize is on, and neither a snapshot nor a clone keeps any of it.
func (v *Volume) MayErase() error {
	if err := v.writable(); err != nil {
		return err
	}
	name := v.head.Name()
	if v.Property("sanitize") != "on" {
		return fail.New(fail.Denied, "%s must not be sanitized", name).WithHint("varve set %s sanitize=on allows it", name)
	}
	return v.unkept()
}

// unkept tells (nil) that neither a snapshot nor a clone, nor one that was
// destroyed and can be had back, keeps anything of the volume.
func (v *Volume) unkept() error {
	i, err := v.e.Dataset(v.head.Name())
	if err != nil {
		return err
	}
	if i.Snapshots > 0 {
		return fail.New(fail.Busy, "%s has %d snapshots, which keep what it held", i.Name, i.Snapshots).WithHint("destroy them first")
	}
	for _, destroyed := range []bool{false, true} {
		for _, d := range v.e.Datasets(destroyed) {
			if d.OriginID == i.ID {
				return fail.New(fail.Busy, "%s is a clone of %s, and keeps what that held", d.Name, i.Name).
					WithHint("destroy it first, and once destroyed let its history end")
			}
		}
	}
	return nil
}

// Erased forgets what the volume held before now: history begins here, and no file
// of the pool has a byte of it any more. Where a snapshot or a clone was made meanwhile, old bytes are
// kept, and it fails.
func (v *Volume) Erased() error {
	if err := v.writable(); err != nil {
		return err
	}
	if err := v.head.Flush(); err != nil {
		return err
	}
	now := when.Spec{Kind: when.Now}
	if _, err := v.e.Prune(engine.Caller{Proto: "scsi", Addr: "sanitize"}, v.head.Name(), engine.PruneOptions{Before: &now}); err != nil {
		return err
	}
	if err := v.e.Expunge(context.Background()); err != nil {
		return err
	}
	return v.unkept()
}

// Used is how much of the scarcest of what the volume may take is taken: of its
// quota, its budget, and the pool. Percent.
func (v *Volume) Used() int {
	used := 0
	if total, free := v.e.Capacity(); total > 0 {
		used = int(100 - free*100/total)
	}
	if v.head == nil {
		return used
	}
	if i, err := v.e.Dataset(v.head.Name()); err == nil {
		for _, l := range i.Limits {
			used = max(used, l.Percent)
		}
	}
	return used
}
