package main

import (
	"bufio"
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"varve/internal/ask"
	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/files"
)

// usualOps are the columns of varve log.
var usualOps = []string{"lsn", "time", "client", "op", "offset", "length", "name", "at"}

// usualFileOps are those for a share.
var usualFileOps = []string{"lsn", "time", "client", "op", "offset", "length", "path", "path2", "set", "at"}

// logCommand is varve log.
type logCommand struct {
	a            *app
	since, until string
	filter       *filterFlags
	group        string
	export       string
	q            ask.Query
}

func (a *app) log() *cobra.Command {
	l := &logCommand{a: a}
	c := &cobra.Command{
		Use:   "log [DATASET]",
		Short: "Show the operations of the log",
		Long: `Show the operations on a dataset, or on the whole pool, oldest first. They are
shown as they are read, however many there are. With -f it goes on with what
happens from now on; without --since nothing else is shown then.

PATH is what the operation was about, as it was called at that time: names that
were changed or removed since, and renames of directories above, make no
difference. An operation that uses a name has that name; one on an open file has
the file's newest name, if it has several, and none if the last one is gone. Of a
rename PATH is the old path, PATH2 the new one, and --path matches either. In a
pattern * and ? match within a name, ** over directories, [a-z] one character; a
pattern that does not begin with / matches at the end: *.txt.

With --group operations are counted: by client, path or minute (UTC). With
--export FILE they go to a file, with their data; see varve replay --from.

Columns for -o: lsn, time, client, op, path, path2, dataset, offset, length,
name, at, size, value; of shares: ino, dir, name2, dir2, ino2, set, target, uid,
gid; of groups: key, ops, bytes, first, last, first-lsn, last-lsn.
OFFSET is in bytes. NAME is what was given with the operation: of a file, in the
directory DIR, by its inode number; of a snapshot, a clone, a tag, a property.
NAME2 is the new name of what was renamed; SET, which attributes were set. AT is
an earlier lsn that the operation refers to: the moment of a rollback or a clone,
the lsn that made a snapshot. DATASET is an id, as "varve list -o id,name" shows.
A client that is "-" is the server itself.`,
		Example: `  varve log home --op remove,rename --since 1h-ago
  varve log home --path '/projects/**' --client 192.168.1.7 --group path
  varve log home -f --bytes-over 1M
  varve log home --since monday --until friday --export week.ops
  varve log disk0 --since 10m-ago --op write,trim
  varve log disk0 --since monday --client 127.0.0.1 --json
  varve log --op snapshot,rollback,destroy`,
		Args:              need("[DATASET]"),
		ValidArgsFunction: a.completeArgs(a.datasets),
		RunE:              l.run,
	}
	f := c.Flags()
	f.StringVar(&l.since, "since", "", "only what came after this moment: a WHEN")
	f.StringVar(&l.until, "until", "", "only what came up to this moment: a WHEN")
	f.BoolVarP(&l.q.Follow, "follow", "f", false, "go on with what happens from now on")
	f.StringVar(&l.group, "group", "", "count operations by client, path or minute")
	f.StringVar(&l.export, "export", "", "write the operations with their data to this file, or to stdout: -")
	l.filter = a.filterFlags(c)
	c.RegisterFlagCompletionFunc("since", a.completeMoment)
	c.RegisterFlagCompletionFunc("until", a.completeMoment)
	c.RegisterFlagCompletionFunc("group", cobra.FixedCompletions(ask.GroupKeys, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (l *logCommand) run(c *cobra.Command, args []string) error {
	if err := l.query(args); err != nil {
		return err
	}
	switch {
	case l.export != "":
		return l.exporting(c.Context())
	case l.group != "":
		return l.groups(c.Context())
	}
	usual := usualOps
	if len(args) > 0 && !l.a.json && len(l.a.columns) == 0 {
		d, err := l.a.client().Dataset(c.Context(), l.q.Dataset)
		if err != nil {
			return err
		}
		if d.Kind == "share" {
			usual = usualFileOps
		}
	}
	return l.operations(c.Context(), usual)
}

// query reads the arguments and options.
func (l *logCommand) query(args []string) (err error) {
	if len(args) > 0 {
		if l.q.Dataset, err = parseDataset(args[0]); err != nil {
			return err
		}
	}
	if l.q.Since, err = parseWhen("--since", l.since); err != nil {
		return err
	}
	if l.q.Until, err = parseWhen("--until", l.until); err != nil {
		return err
	}
	filter, err := l.filter.filter()
	if err != nil {
		return err
	}
	if filter != nil {
		l.q.Filter = *filter
	}
	switch {
	case l.export != "" && (l.group != "" || l.q.Follow):
		return fail.New(fail.Invalid, "--export writes a file of what has been done").WithHint("leave out -f and --group")
	case l.export != "" && l.q.Dataset == "":
		return fail.New(fail.Invalid, "operations are exported of one dataset").WithHint("name it")
	case !l.q.Follow:
	case l.q.Until != nil:
		return fail.New(fail.Invalid, "-f goes on without an end, and --until says where it is").WithHint("leave out one of them")
	case l.group != "":
		return fail.New(fail.Invalid, "what is followed cannot be grouped").WithHint("leave out -f or --group")
	}
	return nil
}

func (l *logCommand) operations(ctx context.Context, usual []string) error {
	a := l.a
	out, err := newRows(a, itemColumns(a), usual)
	if err != nil {
		return err
	}
	shown := false // then the rows tell how far it is
	l.q.Progress = func(done, total uint64) {
		if !shown && !l.q.Follow {
			a.progress(done, total)
		}
	}
	moments, err := a.client().Log(ctx, l.q, func(i ask.Item) error {
		if !shown {
			a.progressEnd()
			shown = true
		}
		if err := out.add(i); err != nil || !l.q.Follow {
			return err
		}
		return out.flush()
	})
	a.progressEnd()
	if err = out.end(err); err != nil {
		return err
	}
	a.echoAll(moments)
	return nil
}

// exporting writes a file, which is there under its name only when it is whole.
func (l *logCommand) exporting(ctx context.Context) error {
	if l.export == "-" {
		return l.a.client().ExportLog(ctx, l.q, l.a.out)
	}
	part := l.export + ".part"
	f, err := os.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fail.Wrap(fail.IO, err, "export")
	}
	defer os.Remove(part) // what is left of a failure
	w := bufio.NewWriterSize(f, 1<<20)
	err = l.a.client().ExportLog(ctx, l.q, w)
	for _, finish := range []func() error{w.Flush, f.Sync, f.Close} {
		if e := finish(); err == nil && e != nil {
			err = fail.Wrap(fail.IO, e, "export")
		}
	}
	if err == nil {
		if e := os.Rename(part, l.export); e != nil {
			err = fail.Wrap(fail.IO, e, "export")
		}
	}
	return err
}

func (l *logCommand) groups(ctx context.Context) error {
	a := l.a
	out, err := newRows(a, a.groupColumns(l.group), []string{"key", "ops", "bytes", "first", "last"})
	if err != nil {
		return err
	}
	l.q.Progress = a.progress
	moments, err := a.client().LogGroups(ctx, l.q, l.group, out.add)
	a.progressEnd()
	if err = out.end(err); err != nil {
		return err
	}
	a.echoAll(moments)
	return nil
}

func (a *app) groupColumns(by string) []column[ask.Group] {
	type grp = ask.Group
	count := func(n uint64) string { return strconv.FormatUint(n, 10) }
	return []column[grp]{
		{"key", false, func(g grp) string {
			switch {
			case g.Rest:
				return "(all others)"
			case by == "minute":
				if t, err := time.Parse(time.RFC3339, string(g.Key)); err == nil {
					return a.time(t)
				}
			}
			return g.Key.String()
		}},
		{"ops", true, func(g grp) string { return count(g.Ops) }},
		{"bytes", true, func(g grp) string { return a.size(g.Bytes) }},
		{"first", false, func(g grp) string { return a.time(g.First) }},
		{"last", false, func(g grp) string { return a.time(g.Last) }},
		{"first-lsn", true, func(g grp) string { return number(g.FirstLSN) }},
		{"last-lsn", true, func(g grp) string { return number(g.LastLSN) }},
	}
}

// itemColumns are the columns of operations with their paths.
func itemColumns(a *app) []column[ask.Item] {
	return append(opColumns(a, func(i ask.Item) engine.OpInfo { return i.OpInfo }),
		column[ask.Item]{"path", false, func(i ask.Item) string { return i.Path.String() }},
		column[ask.Item]{"path2", false, func(i ask.Item) string { return i.Path2.String() }})
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
