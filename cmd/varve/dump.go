package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"varve/internal/chain"
	"varve/internal/dump"
	"varve/internal/fail"
	"varve/internal/httpapi"
	"varve/internal/when"
)

// dumpOrder is what a person wants dumped, and where to.
type dumpOrder struct {
	level     int
	honor     int
	update    bool
	file      string
	format    string
	label     string
	blocking  int
	estimate  bool
	list      bool
	dumpdates string
	opts      dump.Options
}

func (a *app) dump() *cobra.Command {
	var o dumpOrder
	c := &cobra.Command{
		Use:   "dump [-0123456789u] [-f FILE] SOURCE",
		Short: "Write a dump(8) archive of a share, or of a file system in a volume or image",
		Long: `Write an archive in the format of dump(8), which restore(8) of Linux and of
FreeBSD, and varve restore, read. SOURCE is

    SHARE[@WHEN]           a share, now or at any moment
    VOLUME[@WHEN][:pN]     the file system in a volume or in a partition of it
    ./IMAGE[:pN], /dev/NAME  one in a file or device, without a server

File systems are ext2, ext3, ext4, UFS1 and UFS2, and must not be mounted for
writing; of a volume take a moment at which it was not, or a clean snapshot.

Level 0 is everything. A higher level is what changed since the last dump of a
lower level that was recorded with -u; where there is none the exit code is 17.
For a share the difference of the two moments is exact. -u keeps the moment by a
snapshot with a hold, which a later dump of its level or a lower one frees; --list
shows them. For images and volumes what changed is told by times, and -u makes an
entry in the file of --dumpdates.

The archive goes to stdout, or to the file or device that -f names. A file appears
when the archive is whole. --json writes an object per line: what will be dumped,
once a second how far it is of how much and how long it takes on, and the result.`,
		Example: `  varve dump -0u -f home.0 home
  varve dump -1u -f home.1 home
  varve dump --list
  varve dump -0 home@10m-ago | ssh vault restore -rf -
  varve dump -S -0 home
  varve dump -0u -f disk.0 disk0@clean:p1
  varve dump -0 -f x.dump ./x.img`,
		Args:              need("[SOURCE]"),
		ValidArgsFunction: a.completeArgs(a.moments),
		RunE: func(c *cobra.Command, args []string) error {
			if o.list {
				return a.listDumps(c.Context(), args)
			}
			if len(args) == 0 {
				return fail.New(fail.Invalid, "SOURCE is missing").WithHint("name a share, a volume or an image, such as home or ./x.img")
			}
			return a.dumpSource(c.Context(), &o, args[0])
		},
	}
	o.flags(c.Flags())
	return c
}

func (o *dumpOrder) flags(f *pflag.FlagSet) {
	f.Bool("help", false, "help for dump") // its usual letter is dump(8)'s
	f.IntVar(&o.level, "level", 0, "the level; -0 to -9 are short for it")
	for n := range dump.MaxLevel + 1 {
		digit := strconv.Itoa(n)
		f.VarP(&levelFlag{&o.level, n}, digit, digit, "level "+digit)
		f.Lookup(digit).NoOptDefVal = digit
		f.MarkHidden(digit)
	}
	f.BoolVarP(&o.update, "update", "u", false, "record the dump when it is written, so that higher levels can be based on it")
	f.StringVarP(&o.file, "file", "f", "-", "where the archive goes; - is stdout")
	f.StringVar(&o.format, "format", "portable", "portable, or linux for ACLs with the restore of Linux")
	f.StringVarP(&o.label, "label", "L", "", "a label for the archive, at most 15 bytes")
	f.IntVarP(&o.blocking, "blocking", "b", dump.DefaultBlock, "records of 1024 bytes in a block")
	f.BoolVarP(&o.estimate, "size", "S", false, "write only how many bytes the archive would have")
	f.IntVarP(&o.honor, "honor", "h", 1, "leave out what has the nodump flag from this level on")
	f.StringVarP(&o.dumpdates, "dumpdates", "D", "/var/lib/dumpdates", "the record of dumps of images and volumes")
	f.BoolVar(&o.list, "list", false, "list the dumps of shares that others can be based on")
}

// levelFlag is one of -0 to -9.
type levelFlag struct {
	to    *int
	level int
}

// String implements pflag.Value.
func (f *levelFlag) String() string { return "" }

// Set implements pflag.Value.
func (f *levelFlag) Set(string) error {
	*f.to = f.level
	return nil
}

// Type implements pflag.Value.
func (f *levelFlag) Type() string { return "bool" }

func (a *app) dumpSource(ctx context.Context, o *dumpOrder, source string) error {
	profile, err := dump.ProfileNamed(o.format)
	if err != nil {
		return err
	}
	host, _ := os.Hostname()
	o.opts = dump.Options{Profile: profile, Level: o.level, Label: o.label, Blocking: o.blocking, Host: host}
	if err := o.opts.Check(); err != nil {
		return err
	}
	if o.file == "-" && !o.estimate {
		if a.json {
			return fail.New(fail.Invalid, "stdout cannot take both the archive and JSON").WithHint("name a file with -f")
		}
		if isTerminal(a.out) {
			return fail.New(fail.Invalid, "an archive is nothing for a terminal").WithHint("name a file with -f, or pipe it somewhere")
		}
	}
	if isLocal(source) {
		return a.dumpImage(ctx, o, source)
	}
	at, err := when.ParseAddress(source, time.Local)
	switch {
	case err != nil:
		return err
	case at.Path != "" || at.To != nil:
		return fail.New(fail.Invalid, "%q is not what can be dumped", source).WithHint("a dump is of a whole share, volume or partition, at one moment")
	}
	d, err := a.client().Dataset(ctx, at.Dataset)
	if err != nil {
		return err
	}
	b := httpapi.DumpBody{
		Partition: at.Partition, Level: o.level, Honor: o.honor, Format: o.format, Label: o.label, Blocking: o.blocking, Host: host,
	}
	if at.When != nil {
		b.When = at.When.String()
	}
	if d.Kind == "share" {
		b.Update = o.update
		return a.dumpShare(ctx, o, at.Dataset, b)
	}
	return a.dumpVolume(ctx, o, at, b)
}

// dumpShare dumps a share, whose record of dumps the server keeps.
func (a *app) dumpShare(ctx context.Context, o *dumpOrder, share string, b httpapi.DumpBody) error {
	if o.estimate {
		return a.estimateDump(ctx, share, b)
	}
	info, err := a.receiveDump(ctx, o, share, b)
	if info.Snapshot == "" {
		return err
	}
	var k chain.Kept
	if err == nil {
		k, err = a.client().KeepDump(ctx, share, info.Snapshot)
	}
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if _, derr := a.client().DiscardDump(ctx, share, info.Snapshot); derr != nil {
			a.say("varve: %s@%s stays until it expires: %v", share, info.Snapshot, derr)
		}
		return err
	}
	a.say("recorded as %s@%s", share, k.Snapshot)
	for _, f := range k.Freed {
		a.say("freed %s@%s", share, f)
	}
	return nil
}

// dumpVolume dumps the file system in a volume. The record of its dumps is a file
// here, as it is for images.
func (a *app) dumpVolume(ctx context.Context, o *dumpOrder, at when.Address, b httpapi.DumpBody) error {
	pool, err := filepath.Abs(a.pool)
	if err != nil {
		return fail.Wrap(fail.IO, err, "%s", a.pool)
	}
	b.Filesys = pool + "/" + at.Dataset
	if at.Partition != 0 {
		b.Filesys += ":p" + strconv.Itoa(at.Partition)
	}
	if b.DDate, err = o.base(b.Filesys); err != nil {
		return err
	}
	if o.estimate {
		return a.estimateDump(ctx, at.Dataset, b)
	}
	info, err := a.receiveDump(ctx, o, at.Dataset, b)
	if err != nil || !o.update {
		return err
	}
	return recordDump(o.dumpdates, b.Filesys, o.level, info.Date)
}

func (a *app) estimateDump(ctx context.Context, name string, b httpapi.DumpBody) error {
	info, err := a.client().PlanDump(ctx, name, b)
	if err != nil {
		return err
	}
	return a.writeEstimate(info)
}

func (a *app) writeEstimate(info chain.Info) error {
	a.warn(info.Warnings)
	if a.json {
		return a.writeJSON(info)
	}
	return a.write(strconv.FormatUint(info.Bytes, 10) + "\n")
}

func (a *app) warn(warnings []string) {
	for _, w := range warnings {
		a.say("varve: warning: %s", w)
	}
}

// receiveDump gets an archive from the server into its file.
func (a *app) receiveDump(ctx context.Context, o *dumpOrder, name string, b httpapi.DumpBody) (info chain.Info, err error) {
	var out *archiveFile
	var p *meter
	start := time.Now()
	r, err := a.client().Dump(ctx, name, b, func(i chain.Info) (io.Writer, error) {
		info = i
		a.echo(&i.Moment)
		if out, err = a.createArchive(o); err != nil {
			return nil, err
		}
		p, err = a.begin(&i, out)
		return p, err
	})
	if p != nil {
		p.end(err)
	}
	if out != nil {
		err = out.finish(err)
	}
	if err != nil {
		return info, err
	}
	a.warn(r.Warnings)
	return info, a.dumped(&info, r, time.Since(start))
}

// begin tells what will be dumped, and returns where the archive goes.
func (a *app) begin(i *chain.Info, out *archiveFile) (*meter, error) {
	if a.json {
		if err := a.writeJSON(dumpBegun{"dump", *i}); err != nil {
			return nil, err
		}
	}
	a.describe(i)
	return a.meter(out, i.Bytes, i.Exact), nil
}

func (a *app) describe(i *chain.Info) {
	about := "about "
	if i.Exact {
		about = ""
	}
	since := ""
	if !i.Base.IsZero() {
		since = ", since " + a.time(i.Base)
	}
	a.say("level %d%s: %s in %s, %s%s", i.Level, since, plural(i.Inodes-i.Directories, "file"),
		directories(i.Directories), about, a.amount(i.Bytes))
}

// dumped reports an archive that is whole.
func (a *app) dumped(i *chain.Info, r httpapi.DumpResult, took time.Duration) error {
	if r.Lost > 0 {
		a.say("varve: warning: %s in directories led to nothing and were left out", plural(r.Lost, "name"))
	}
	if r.Xattrs > 0 {
		a.say("varve: warning: %s were left out: the linux format has none on directories, and 64 KiB of them on a file", plural(r.Xattrs, "extended attribute"))
	}
	if a.json {
		return a.writeJSON(dumpReport{"result", *i, r, took.Seconds()})
	}
	a.say("dumped %s in %s", a.amount(r.Bytes), took.Round(time.Millisecond))
	return nil
}

// dumpBegun is the first event of --json; dumpProgress follow, and dumpReport is the last.
type dumpBegun struct {
	Type string     `json:"message_type"` // dump
	Dump chain.Info `json:"dump"`
}

// dumpReport is what --json writes of a dump that was made.
type dumpReport struct {
	Type    string             `json:"message_type"` // result
	Dump    chain.Info         `json:"dump"`
	Result  httpapi.DumpResult `json:"result"`
	Seconds float64            `json:"seconds"`
}

func directories(n uint64) string {
	if n == 1 {
		return "1 directory"
	}
	return strconv.FormatUint(n, 10) + " directories"
}
