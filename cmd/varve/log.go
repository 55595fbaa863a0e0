package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/engine"
	"varve/internal/files"
	"varve/internal/httpapi"
)

// usualOps are the columns of varve log.
var usualOps = []string{"lsn", "time", "client", "op", "offset", "length", "name", "at"}

// usualFileOps are those for a share.
var usualFileOps = []string{"lsn", "time", "client", "op", "ino", "offset", "length", "name", "name2", "set", "at"}

func (a *app) log() *cobra.Command {
	var since, until string
	var q httpapi.LogQuery
	c := &cobra.Command{
		Use:   "log [DATASET]",
		Short: "Show the operations of the log",
		Long: `Show the operations on a dataset, or on the whole pool, oldest first. They are
shown as they are read, however many there are.

Columns for -o: lsn, time, client, op, dataset, offset, length, name, at, size;
and of shares: ino, dir, name2, dir2, ino2, set, target, value, uid, gid.
OFFSET is in bytes. NAME is what was given with the operation: of a file, in the
directory DIR, by its inode number; of a snapshot, a clone, a tag, a property.
NAME2 is the new name of what was renamed; SET, which attributes were set. AT is
an earlier lsn that the operation refers to: the moment of a rollback or a clone,
the lsn that made a snapshot. DATASET is an id, as "varve list -o id,name" shows.
A client that is "-" is the server itself.`,
		Example: `  varve log home --op remove,rename --since 1h-ago
  varve log disk0
  varve log disk0 --since 10m-ago --op write,trim
  varve log disk0 --since monday --client 127.0.0.1 --json
  varve log --op snapshot,rollback,destroy`,
		Args:              need("[DATASET]"),
		ValidArgsFunction: a.completeArgs(a.datasets),
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			if len(args) > 0 {
				if q.Dataset, err = parseDataset(args[0]); err != nil {
					return err
				}
			}
			if q.Since, err = parseWhen("--since", since); err != nil {
				return err
			}
			if q.Until, err = parseWhen("--until", until); err != nil {
				return err
			}
			usual := usualOps
			if len(args) > 0 && !a.json && len(a.columns) == 0 {
				d, err := a.client().Dataset(c.Context(), q.Dataset)
				if err != nil {
					return err
				}
				if d.Kind == "share" {
					usual = usualFileOps
				}
			}
			out, err := newRows(a, opColumns(a, func(op engine.OpInfo) engine.OpInfo { return op }), usual)
			if err != nil {
				return err
			}
			moments, err := a.client().Log(c.Context(), q, out.add)
			if err = out.end(err); err != nil {
				return err
			}
			a.echoAll(moments)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&since, "since", "", "only what came after this moment: a WHEN")
	f.StringVar(&until, "until", "", "only what came up to this moment: a WHEN")
	f.StringSliceVar(&q.Ops, "op", nil, "only these kinds of operation: write, trim, snapshot, ...")
	f.StringVar(&q.Client, "client", "", "only clients whose name contains this")
	c.RegisterFlagCompletionFunc("since", a.completeMoment)
	c.RegisterFlagCompletionFunc("until", a.completeMoment)
	c.RegisterFlagCompletionFunc("op", cobra.FixedCompletions(httpapi.OpKinds(), cobra.ShellCompDirectiveNoFileComp))
	c.RegisterFlagCompletionFunc("client", cobra.NoFileCompletions)
	return c
}

// opColumns are the columns of anything that has an operation.
func opColumns[T any](a *app, op func(T) engine.OpInfo) []column[T] {
	col := func(name string, right bool, value func(engine.OpInfo) string) column[T] {
		return column[T]{name, right, func(v T) string { return value(op(v)) }}
	}
	file := func(name string, right bool, value func(engine.FileInfo) string) column[T] {
		return col(name, right, func(o engine.OpInfo) string {
			if o.File == nil {
				return ""
			}
			return value(*o.File)
		})
	}
	return []column[T]{
		col("lsn", true, func(o engine.OpInfo) string { return number(o.LSN) }),
		col("time", false, func(o engine.OpInfo) string { return a.time(o.Time) }),
		col("client", false, func(o engine.OpInfo) string { return o.Client }),
		col("op", false, func(o engine.OpInfo) string { return o.Kind }),
		col("dataset", true, func(o engine.OpInfo) string { return number(o.Dataset) }),
		col("offset", true, func(o engine.OpInfo) string {
			if o.Len == 0 {
				return ""
			}
			return strconv.FormatUint(o.Off, 10)
		}),
		col("length", true, func(o engine.OpInfo) string { return a.sizeOrNone(o.Len) }),
		col("name", false, func(o engine.OpInfo) string { return files.Text(o.Name).String() }),
		col("at", true, func(o engine.OpInfo) string { return number(o.At) }),
		col("size", true, func(o engine.OpInfo) string { return a.sizeOrNone(o.Size) }),
		col("value", false, func(o engine.OpInfo) string { return o.Value }),
		file("ino", true, func(f engine.FileInfo) string { return number(f.Ino) }),
		file("dir", true, func(f engine.FileInfo) string { return number(f.Dir) }),
		file("name2", false, func(f engine.FileInfo) string { return files.Text(f.Name2).String() }),
		file("dir2", true, func(f engine.FileInfo) string { return number(f.Dir2) }),
		file("ino2", true, func(f engine.FileInfo) string { return number(f.Ino2) }),
		file("set", false, func(f engine.FileInfo) string { return strings.Join(f.Set, ",") }),
		file("target", false, func(f engine.FileInfo) string { return files.Text(f.Target).String() }),
		file("uid", true, func(f engine.FileInfo) string { return strconv.FormatUint(uint64(f.UID), 10) }),
		file("gid", true, func(f engine.FileInfo) string { return strconv.FormatUint(uint64(f.GID), 10) }),
	}
}

// sizeOrNone shows bytes for which zero means that there is nothing to tell.
func (a *app) sizeOrNone(n uint64) string {
	if n == 0 {
		return ""
	}
	return a.size(n)
}
