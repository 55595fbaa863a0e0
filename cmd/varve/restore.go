package main

import (
	"context"
	"math"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"varve/internal/fail"
	"varve/internal/files"
	"varve/internal/restore"
)

// restoreOrder is what a person wants of an archive, and where.
type restoreOrder struct {
	extract, update, compare, list bool

	archives []string
	to       string
	dry      bool
	goOn     bool
	shallow  bool
	verbose  bool
	paths    []string
}

func (a *app) restore() *cobra.Command {
	var o restoreOrder
	c := &cobra.Command{
		Use:   "restore -t | -x | -r | -C [-f FILE]... [--to DIR|SHARE:/path] [PATH]...",
		Short: "Make files of a dump(8) archive, in a directory or a share",
		Long: `Read an archive in the format of dump(8): of varve dump, of Linux (plain, -z, -j)
or of FreeBSD, in either byte order.

    -t   list the names in it
    -x   extract the PATHs with what is below them, or everything
    -r   make the directory what the archive says. Level 0 comes first, into an
         empty directory, then each higher level in order: renames and removals
         too. What was restored is noted in the file restoresymtable of the
         directory; leave it there while levels are to come
    -C   compare the archive with the directory; exit code 2 if they differ

Paths are those that -t shows. The target is the present directory, or a
directory or a path of a share that --to names. Nothing is ever written outside
of it, whatever the archive says. -x replaces files, leaves directories that are
there, and does not touch the attributes of the target itself; -r sets these too.

An archive in several volumes is given with one -f for each, in order; - is stdin.

Damage ends it, unless -y is given: then everything that can be read is restored,
what was lost is named, and the exit code is 3.

--json writes an object per line: names, differences, losses, once a second how
far it is of how much and how long it takes on, and the result.

Owners are restored by root only. What a file system cannot keep (extended
attributes, flags, devices) is named as lost.`,
		Example: `  varve restore -t -f home.0
  varve restore -x -f home.0 --to /tmp/out ./projects ./notes.txt
  varve restore -r -f home.0 --to home2:/
  varve restore -r -f home.1 --to home2:/
  varve restore -C -f home.0 --to /srv/home
  varve restore -x -y -f damaged.1 -f damaged.2
  varve dump -0 home@10m-ago | varve restore -rf - --to /mnt/usb`,
		RunE: func(c *cobra.Command, args []string) error {
			o.paths = args
			return a.restoreArchive(c.Context(), &o)
		},
	}
	o.flags(c.Flags())
	return c
}

func (o *restoreOrder) flags(f *pflag.FlagSet) {
	f.Bool("help", false, "help for restore") // its usual letter is restore(8)'s
	f.BoolVarP(&o.list, "list", "t", false, "list the names in the archive")
	f.BoolVarP(&o.extract, "extract", "x", false, "extract paths, or everything")
	f.BoolVarP(&o.update, "restore", "r", false, "make the target what the archive says, level by level")
	f.BoolVarP(&o.compare, "compare", "C", false, "compare the archive with the target")
	f.StringArrayVarP(&o.archives, "file", "f", []string{"-"}, "the archive, or one volume of it; - is stdin")
	f.StringVarP(&o.to, "to", "D", ".", "a directory, or a path of a share: SHARE:/path")
	f.BoolVarP(&o.dry, "dry-run", "N", false, "read everything, write nothing")
	f.BoolVarP(&o.goOn, "go-on", "y", false, "go on behind damage, and say what was lost")
	f.BoolVarP(&o.shallow, "shallow", "h", false, "not what is below the paths")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "name everything that is restored or compared")
}

// op returns the one operation that is wanted.
func (o *restoreOrder) op() (restore.Op, error) {
	n, op := 0, restore.List
	for _, x := range []struct {
		wanted bool
		op     restore.Op
	}{{o.list, restore.List}, {o.extract, restore.Extract}, {o.update, restore.Update}, {o.compare, restore.Compare}} {
		if x.wanted {
			n, op = n+1, x.op
		}
	}
	switch {
	case n != 1:
		return 0, fail.New(fail.Invalid, "one of -t, -x, -r and -C is wanted").WithHint("-t lists what is in an archive")
	case op == restore.Update && len(o.paths) > 0:
		return 0, fail.New(fail.Invalid, "-r restores everything, and takes no paths").WithHint("--to says where to; -x extracts paths")
	case o.dry && op != restore.Extract && op != restore.Update:
		return 0, fail.New(fail.Invalid, "-N is for -x and -r; -t and -C write nothing")
	}
	return op, nil
}

// restoreMemory is from where on memory that is not in use any more is looked for more
// often, instead of letting it double: bytes. It is no limit of what is needed, which is
// about 60 MiB for 10 million names.
const restoreMemory = 128 << 20

func (a *app) restoreArchive(ctx context.Context, o *restoreOrder) error {
	op, err := o.op()
	if err != nil {
		return err
	}
	for _, name := range o.archives {
		if name == "-" && isTerminal(a.in) {
			return fail.New(fail.Invalid, "no archive is given").WithHint("name its file with -f")
		}
	}
	if debug.SetMemoryLimit(-1) == math.MaxInt64 { // GOMEMLIMIT does not say another
		debug.SetMemoryLimit(restoreMemory)
	}
	volumes := restore.Files(o.archives, a.in)
	meter := &archiveMeter{total: sizeOfFiles(o.archives)}
	view, err := a.newRestoreView(op, meter)
	if err != nil {
		return err
	}
	opt := restore.Options{
		Op: op, Paths: o.paths, Shallow: o.shallow, GoOn: o.goOn, Names: o.verbose || op == restore.List, Say: view.say,
	}
	result, err := a.restoreTo(ctx, o, meter.count(volumes), opt)
	return view.end(result, err)
}

// restoreTo does it here or, where the target is a share, in the server.
func (a *app) restoreTo(ctx context.Context, o *restoreOrder, v restore.Volumes, opt restore.Options) (restore.Result, error) {
	share, isShare, err := o.share()
	switch {
	case err != nil:
		return restore.Result{}, err
	case opt.Op == restore.List || o.dry:
	case isShare:
		return a.client().RestoreArchive(ctx, share, o.volumeNames(), v, opt)
	default:
		dir, err := restore.OpenDir(o.to, opt.Op != restore.Compare)
		if err != nil {
			return restore.Result{}, err
		}
		defer dir.Close()
		opt.Root = dir
	}
	return restore.Run(ctx, v, opt)
}

// share reads a target that is in a share: SHARE:/path. Everything else is a
// directory.
func (o *restoreOrder) share() (files.Place, bool, error) {
	if isLocal(o.to) || !strings.Contains(o.to, ":/") {
		return files.Place{}, false, nil
	}
	p, err := parsePlace(o.to, true)
	if err != nil {
		return p, false, fail.Wrap(fail.Invalid, err, "--to").WithHint("a directory is written ./NAME or /path, a place in a share SHARE:/path")
	}
	if p.When != nil {
		return p, false, fail.New(fail.ReadOnly, "%q is in the past; the target is a place in the present", o.to).WithHint("name %s:%s", p.Share, p.Path)
	}
	return p, true, nil
}

// volumeNames are the names that messages call the volumes.
func (o *restoreOrder) volumeNames() []string {
	names := make([]string, len(o.archives))
	for i, name := range o.archives {
		if names[i] = name; name == "-" {
			names[i] = "stdin"
		}
	}
	return names
}
