package main

import (
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"varve/internal/fail"
	"varve/internal/httpapi"
)

// app is one run of the command line: its streams and global flags.
type app struct {
	in       *os.File
	out      io.Writer // data
	err      io.Writer // all else
	pool     string
	json     bool
	noHeader bool
	exact    bool
	yes      bool
	columns  []string
	running  bool // the arguments were understood

	progressing bool // a line about progress stands on the terminal
}

func (a *app) client() *httpapi.Client { return httpapi.NewClient(a.pool) }

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "varve",
		Short: "A storage server that you can rewind",
		Long: `varve serves file shares and disks from one log: every change is appended once and
nothing is overwritten, so any past moment can be read, cloned and returned to.

Addresses are DATASET[@WHEN][:/path]. WHEN is a snapshot's name, now, 10m-ago,
1d2h-ago, 2026-11-22, 2026-11-22T10:00[:05][Z|+02:00], lsn:812455 or cp:88. A time
without a zone is in the zone of this command.

A pool is named by its directory. The commands talk to the server of the pool
through the socket varve.sock in it. K, M, G and T are powers of 1024.

Exit codes:

` + exitTable(),
		Example: `  varve up                          make a pool, a share and a disk; serve them
  varve snapshot home@clean         name the present moment
  varve diff home@clean             what changed since
  varve versions home:/notes.txt    what a file was, and when
  varve cp home@10m-ago:/x home:/   get back what was there ten minutes ago
  varve clone disk0@10m-ago old     a second disk, as it was then
  varve rollback disk0@clean        return to it`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
	}
	f := root.PersistentFlags()
	f.StringVar(&a.pool, "pool", "./varve-data", "directory of the pool (or VARVE_POOL)")
	f.BoolVar(&a.json, "json", false, "write JSON to stdout")
	f.BoolVarP(&a.noHeader, "no-header", "H", false, "no header, tabs between the columns")
	f.BoolVarP(&a.exact, "exact", "p", false, "exact numbers: bytes, times in UTC to the nanosecond")
	f.StringSliceVarP(&a.columns, "columns", "o", nil, "columns or properties to show, in this order")
	f.BoolVar(&a.yes, "yes", false, "do not ask before what destroys")
	fromEnvironment(f, "pool")
	root.MarkPersistentFlagDirname("pool")

	root.AddCommand(a.up(), a.init(), a.serve(), a.share(), a.volume(), a.list(), a.show(), a.set(), a.snapshot(), a.hold(), a.release(),
		a.clone(), a.rollback(), a.undo(), a.replay(), a.destroy(), a.undestroy(), a.rename(), a.prune(), a.clean(), a.clock(),
		a.ls(), a.cat(), a.cp(), a.versions(), a.diff(), a.dump(), a.restore(), a.log(), a.checkpoint(), a.status(),
		a.check(), a.reid(), a.debug(), a.version(), a.completion(), a.man())
	root.SetHelpCommand(a.help())
	root.InitDefaultHelpCmd()
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error { return applyEnvironment(c.Flags()) }
	a.noteStart(root)
	return root
}

// noteStart makes every command note that it began: an error before that is
// one of usage.
func (a *app) noteStart(c *cobra.Command) {
	if do := c.RunE; do != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			a.running = true
			return do(c, args)
		}
	}
	for _, sub := range c.Commands() {
		a.noteStart(sub)
	}
}

// need says which arguments a command takes; one in brackets may be missing.
func need(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > len(names) {
			return fail.New(fail.Invalid, "unexpected argument %q", args[len(names)])
		}
		for _, name := range names[len(args):] {
			if !strings.HasPrefix(name, "[") {
				return fail.New(fail.Invalid, "%s is missing", name)
			}
		}
		return nil
	}
}

// needSome says that a command takes one argument of a kind, or more.
func needSome(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fail.New(fail.Invalid, "%s is missing", name)
		}
		return nil
	}
}

// group is a command that only holds others.
func group(c *cobra.Command, subs ...*cobra.Command) *cobra.Command {
	c.AddCommand(subs...)
	c.Args = func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fail.New(fail.Invalid, "unknown command %q of %s", args[0], c.Name())
		}
		return fail.New(fail.Invalid, "%s needs a command", c.Name())
	}
	c.RunE = func(*cobra.Command, []string) error { return nil }
	return c
}

const environment = "varve_environment"

// fromEnvironment lets flags take their value from VARVE_NAME where they are
// not given.
func fromEnvironment(f *pflag.FlagSet, names ...string) {
	for _, name := range names {
		f.SetAnnotation(name, environment, []string{"VARVE_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))})
	}
}

func applyEnvironment(f *pflag.FlagSet) error {
	var failed error
	f.VisitAll(func(flag *pflag.Flag) {
		v := flag.Annotations[environment]
		if len(v) == 0 || flag.Changed || os.Getenv(v[0]) == "" {
			return
		}
		if err := f.Set(flag.Name, os.Getenv(v[0])); err != nil && failed == nil {
			failed = fail.Wrap(fail.Invalid, err, "%s", v[0])
		}
	})
	return failed
}
