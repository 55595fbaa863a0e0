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
	"varve/internal/dump"
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
	opts := o.opts
	opts.Date, opts.Filesys, opts.Dev = start.Unix(), path, path
	if opts.DDate, err = o.base(path); err != nil {
		return err
	}
	src, err := chain.OpenImage(ctx, f, size, partition)
	if err != nil {
		return fail.Wrap(fail.Other, err, "%s", name)
	}
	plan, err := dump.Examine(ctx, src, dump.Since{Level: o.level, Time: opts.DDate, Honor: o.honor}, &opts)
	if err != nil {
		return fail.Wrap(fail.Other, err, "%s", name)
	}
	info := chain.Info{
		Dataset: path, Kind: src.Info().Kind, Level: o.level, Date: start.UTC().Truncate(time.Second), Moment: engine.Moment{Dataset: path, Time: start.UTC()},
		Bytes: plan.Bytes(&opts), Exact: plan.Exact, Inodes: plan.Dumped.Count(), Directories: plan.Dirs.Count(), Warnings: src.Warnings(),
	}
	if opts.DDate != 0 {
		info.Base = time.Unix(opts.DDate, 0).UTC()
	}
	if o.estimate {
		return a.writeEstimate(info)
	}
	if err := a.writeImage(ctx, o, src, plan, &opts, &info); err != nil || !o.update {
		return err
	}
	return recordDump(o.dumpdates, path, o.level, info.Date)
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

func (a *app) writeImage(ctx context.Context, o *dumpOrder, src dump.Source, plan *dump.Plan, opts *dump.Options, info *chain.Info) error {
	start := time.Now()
	a.describe(info)
	out, err := a.createArchive(o)
	if err != nil {
		return err
	}
	m := a.meter(out, info.Bytes, info.Exact)
	r, err := dump.Write(ctx, m, src, plan, opts, nil)
	m.end()
	if m.err != nil {
		err = wrapIO(m.err) // not that the dump was given up
	}
	if err := out.finish(err); err != nil {
		return err
	}
	warnings := src.Warnings()
	a.warn(warnings)
	return a.dumped(info, httpapi.DumpResult{Result: r, Warnings: warnings}, time.Since(start))
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
