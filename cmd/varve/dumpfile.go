package main

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"varve/internal/dump"
	"varve/internal/fail"
)

// archiveFile is where an archive goes: stdout, a device or pipe, or a file that
// has its name only when it is whole.
type archiveFile struct {
	w    io.Writer
	file *os.File      // nil: stdout
	tape *bufio.Writer // nil but for character devices
	name string        // of the file when it is whole; "" if file has its name
}

// createArchive opens where an archive goes.
func (a *app) createArchive(o *dumpOrder) (*archiveFile, error) {
	if o.file == "-" {
		return &archiveFile{w: a.out}, nil
	}
	f := &archiveFile{}
	var err error
	if i, serr := os.Stat(o.file); serr == nil && !i.Mode().IsRegular() {
		f.file, err = os.OpenFile(o.file, os.O_WRONLY, 0)
		f.w = f.file
		if err == nil && i.Mode()&os.ModeCharDevice != 0 { // a tape wants whole blocks
			f.tape = bufio.NewWriterSize(onlyWriter{f.file}, o.blocking*dump.RecordSize)
			f.w = chunked{f.tape, o.blocking * dump.RecordSize}
		}
	} else {
		f.name = o.file
		f.file, err = os.CreateTemp(filepath.Dir(o.file), "."+filepath.Base(o.file)+".*")
		f.w = f.file
	}
	if err != nil {
		return nil, fail.Wrap(fail.IO, cause(err), "the archive %s", o.file)
	}
	return f, nil
}

// cause leaves out a path that is of no use to anybody.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// onlyWriter hides what else a file can do.
type onlyWriter struct{ io.Writer }

// chunked writes in pieces that fit into a buffer, which so gives on whole blocks
// only.
type chunked struct {
	w    *bufio.Writer
	size int
}

func (c chunked) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		n := min(len(p), c.w.Available())
		if _, err := c.w.Write(p[:n]); err != nil {
			return total - len(p), err
		}
		if p = p[n:]; c.w.Available() == 0 {
			if err := c.w.Flush(); err != nil {
				return total - len(p), err
			}
		}
	}
	return total, nil
}

// finish closes the file, durable and under its name if err is nil; else a file
// goes. It returns err or what went wrong.
func (f *archiveFile) finish(err error) error {
	if f.file == nil {
		return err
	}
	defer f.file.Close()
	if f.name == "" {
		if f.tape != nil && err == nil {
			err = wrapIO(f.tape.Flush())
		}
		if cerr := f.file.Close(); err == nil {
			err = wrapIO(cerr)
		}
		return err
	}
	if err == nil {
		err = f.publish()
	}
	if err != nil {
		os.Remove(f.file.Name())
	}
	return err
}

// publish gives the file its name.
func (f *archiveFile) publish() error {
	mask := os.FileMode(0o644)
	if i, err := os.Stat(f.name); err == nil {
		mask = i.Mode().Perm()
	}
	for _, do := range [...]func() error{
		func() error { return f.file.Chmod(mask) },
		f.file.Sync,
		f.file.Close,
		func() error { return os.Rename(f.file.Name(), f.name) },
		func() error { return syncDir(filepath.Dir(f.name)) },
	} {
		if err := do(); err != nil {
			return wrapIO(err)
		}
	}
	return nil
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func wrapIO(err error) error {
	if err == nil {
		return nil
	}
	kind := fail.IO
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		kind = fail.NoSpace
	}
	return fail.Wrap(kind, err, "the archive")
}
