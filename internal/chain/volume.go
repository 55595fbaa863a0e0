package chain

import (
	"context"
	"io"

	"varve/internal/engine"
	"varve/internal/fail"
)

// volume plans a dump of the file system in a volume.
func (d *Dumps) volume(ctx context.Context, j *Job, r Request) error {
	if r.Update {
		return fail.New(fail.Invalid, "%s is a volume: the record of its dumps is a file of the caller's", j.Info.Dataset)
	}
	if r.Filesys != "" {
		j.opts.Filesys = r.Filesys
	}
	return j.image(ctx, Image{ReaderAt: viewReader{j.view}, Size: int64(j.view.Size()), Partition: r.Partition, Moment: j.Info.Moment}, r)
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
