package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"varve/internal/chain"
	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/httpapi"
)

// dumpImage dumps the file system in a local file or device, without a server.
func (a *app) dumpImage(ctx context.Context, o *dumpOrder, name string) error {
	path, err := filepath.Abs(name)
	if err != nil {
		return fail.Wrap(fail.IO, err, "%s", name)
	}
	path, partition := splitPartition(path)
	f, err := os.Open(path)
	if err != nil {
		return fail.Wrap(fail.NotFound, err, "the image").WithHint("SOURCE is a share, a volume, or a file or device that begins with / or ./")
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd) // of a device too
	if err != nil {
		return fail.Wrap(fail.IO, err, "the image")
	}
	if partition != 0 {
		path += ":p" + strconv.Itoa(partition)
	}
	start, err := imageDate(f)
	if err != nil {
		return err
	}
	r := chain.Request{
		Level: o.level, Honor: o.honor, Profile: o.opts.Profile, Label: o.label, Blocking: o.blocking, Host: o.opts.Host,
	}
	if r.DDate, err = o.base(path); err != nil {
		return err
	}
	image := chain.Image{ReaderAt: f, Size: size, Partition: partition, Name: path, Moment: engine.Moment{Dataset: path, Time: start.UTC()}}
	j, err := chain.BeginImage(ctx, image, r)
	if err != nil {
		return fail.Wrap(fail.Other, err, "%s", name)
	}
	defer j.Close()
	if o.estimate {
		return a.writeEstimate(j.Info)
	}
	if err := a.writeImage(ctx, o, j); err != nil || !o.update {
		return err
	}
	return recordDump(o.dumpdates, path, o.level, j.Info.Date)
}

// imageDate returns up to when the next level can rely on an image: now, or of a copy in
// a file when that was last written, since what changed later is not in it.
func imageDate(f *os.File) (time.Time, error) {
	now := time.Now()
	i, err := f.Stat()
	if err != nil {
		return now, fail.Wrap(fail.IO, err, "the image")
	}
	if m := i.ModTime(); i.Mode().IsRegular() && m.Before(now) && m.Unix() > 0 {
		return m, nil
	}
	return now, nil
}

func (a *app) writeImage(ctx context.Context, o *dumpOrder, j *chain.Job) error {
	start := time.Now()
	out, err := a.createArchive(o)
	if err != nil {
		return err
	}
	m, err := a.begin(&j.Info, out)
	if err != nil {
		return out.finish(err)
	}
	r, err := j.Write(ctx, m)
	if m.err != nil {
		err = wrapIO(m.err) // not that the dump was given up
	}
	m.end(err)
	if err := out.finish(err); err != nil {
		return err
	}
	warnings := j.Warnings()
	a.warn(warnings)
	return a.dumped(&j.Info, httpapi.DumpResult{Result: r, Warnings: warnings}, time.Since(start))
}

var imagePartition = regexp.MustCompile(`^(.*):p([1-9][0-9]{0,2})$`)

// splitPartition cuts :pN off a path, unless there is a file of the whole name.
func splitPartition(path string) (file string, partition int) {
	m := imagePartition.FindStringSubmatch(path)
	if m == nil {
		return path, 0
	}
	if _, err := os.Stat(path); err == nil {
		return path, 0
	}
	n, _ := strconv.Atoi(m[2]) // three digits
	return m[1], n
}
