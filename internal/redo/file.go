package redo

import (
	"varve/internal/opfile"
	"varve/internal/oplog"
)

// Steps visits what a file of operations has as steps, for FromOptions.Source.
func Steps(f *opfile.Reader, fn func(*Step) error) error {
	return f.Each(func(op *oplog.Op, data []byte) error {
		return fn(&Step{Op: op, Data: data, Path: f.Path})
	})
}
