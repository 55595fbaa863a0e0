package chain

import (
	"context"
	"io"
	"time"

	"varve/internal/dump"
	"varve/internal/engine"
	"varve/internal/extfs"
	"varve/internal/fail"
	"varve/internal/ufs"
)

// Image is a file system that is not a share: in a volume, a file, a device.
type Image struct {
	io.ReaderAt
	Size      int64 // bytes
	Partition int   // from 1; 0: the whole of it
	Name      string
	Moment    engine.Moment // its time becomes c_date
}

// BeginImage plans a dump of an image. r.DDate is its base at levels above 0. Close
// the job; the image stays open until then.
func BeginImage(ctx context.Context, i Image, r Request) (*Job, error) {
	j := &Job{Info: Info{Dataset: i.Name, Moment: i.Moment, Level: r.Level}}
	j.opts = r.options(i.Name, i.Name)
	if err := j.image(ctx, i, r); err != nil {
		return nil, err
	}
	j.describe()
	return j, nil
}

// image plans the dump of an image.
func (j *Job) image(ctx context.Context, i Image, r Request) (err error) {
	if j.source, err = OpenImage(ctx, i, i.Size, i.Partition); err != nil {
		return err
	}
	j.opts.Date, j.opts.DDate = i.Moment.Time.Unix(), r.DDate
	j.plan, err = dump.Examine(ctx, j.source, dump.Since{Level: r.Level, Time: r.DDate, Honor: r.Honor}, &j.opts)
	return err
}

// OpenImage finds out what file system is in an image of size bytes, or in a
// partition of it (from 1; 0 is the whole image), and opens it. Errors: NotFound says
// what is there instead and what to do about it.
func OpenImage(ctx context.Context, r io.ReaderAt, size int64, partition int) (dump.Source, error) {
	if partition != 0 {
		p, err := partitionOf(r, size, partition)
		if err != nil {
			return nil, err
		}
		r, size = io.NewSectionReader(r, p.start, p.size), p.size
	}
	switch {
	case extfs.Probe(r):
		return source(extfs.Open(ctx, r, size))
	case ufs.Probe(r):
		return source(ufs.Open(ctx, r, size))
	}
	what, hint := whatIs(r, size)
	return nil, fail.New(fail.NotFound, "there is no ext2, ext3, ext4, UFS1 or UFS2 file system, but %s", what).WithHint("%s", hint)
}

// source keeps a nil *T from becoming a Source that is not nil.
func source[T dump.Source](s T, err error) (dump.Source, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// options are those of an archive of what has these names.
func (r *Request) options(filesys, dev string) dump.Options {
	return dump.Options{
		Profile: r.Profile, Level: r.Level, Label: r.Label, Blocking: r.Blocking, Host: r.Host, Filesys: filesys, Dev: dev,
	}
}

// describe fills in what is known once the dump is planned.
func (j *Job) describe() {
	i := &j.Info
	i.Kind = j.source.Info().Kind
	i.Date = time.Unix(j.opts.Date, 0).UTC()
	if j.opts.DDate != 0 {
		i.Base = time.Unix(j.opts.DDate, 0).UTC()
	}
	i.Bytes, i.Exact = j.plan.Bytes(&j.opts), j.plan.Exact
	i.Inodes, i.Directories = j.plan.Dumped.Count(), j.plan.Dirs.Count()
	i.Warnings = j.source.Warnings()
}
