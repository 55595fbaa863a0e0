package chain

import (
	"context"
	"io"

	"varve/internal/dump"
	"varve/internal/engine"
	"varve/internal/fail"
)

// volume plans a dump of the file system in a volume.
func (d *Dumps) volume(ctx context.Context, j *Job, r Request) error {
	if r.Update {
		return fail.New(fail.Invalid, "%s is a volume: the record of its dumps is a file of the caller's", j.Info.Dataset)
	}
	src, err := OpenImage(ctx, viewReader{j.view}, int64(j.view.Size()), r.Partition)
	if err != nil {
		return err
	}
	j.source = src
	j.opts.Date, j.opts.DDate = j.Info.Moment.Time.Unix(), r.DDate
	if r.Filesys != "" {
		j.opts.Filesys = r.Filesys
	}
	j.plan, err = dump.Examine(ctx, src, dump.Since{Level: r.Level, Time: r.DDate, Honor: r.Honor}, &j.opts)
	return err
}

// viewReader is a volume at a moment as an io.ReaderAt.
type viewReader struct{ v *engine.View }

func (r viewReader) ReadAt(p []byte, off int64) (int, error) {
	size := r.v.Size()
	if off < 0 || uint64(off) >= size {
		return 0, io.EOF
	}
	n := min(uint64(len(p)), size-uint64(off))
	if err := r.v.ReadAt(p[:n], uint64(off), nil); err != nil {
		return 0, err
	}
	if n < uint64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}
