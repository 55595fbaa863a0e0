package main

import (
	"context"
	"io"
	"log/slog"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"varve/internal/fail"
	"varve/internal/httpapi"
)

// serveFlags are the facts of a server's process.
type serveFlags struct {
	nfs        []string
	portmap    bool
	nbd        []string
	iscsi      []string
	http       []string
	group      string
	logFormat  string
	logLevel   string
	checkpoint time.Duration
	awake      bool
	acceptLoss bool
}

// serveOptions are what the server is told.
type serveOptions struct {
	dir        string
	nfs        []string // endpoints
	portmap    bool
	nbd        []string // endpoints
	iscsi      []string // endpoints
	http       []string // endpoints
	group      string
	checkpoint time.Duration
	awake      bool // keep processors from sleeping while clients wait for the disk
	acceptLoss bool
	processors int // that the machine has for the server; 0: those of Go's scheduler
	log        *slog.Logger
	share      string // made first, if there is a
	volume     string // to be made; thin
	size       uint64 // of it, in bytes
	// ready is told what is served, and the first share and volume that there
	// are, or "".
	ready func(info httpapi.ServerInfo, share, volume string) error
}

func (a *app) serve() *cobra.Command {
	var flags serveFlags
	c := &cobra.Command{
		Use:   "serve [DIR]",
		Short: "Serve a pool",
		Long: `Serve the pool in DIR, or that of --pool, until SIGTERM or SIGINT: requests in
flight then have 20 seconds to finish, a checkpoint is written, and the exit
code is 0. A second signal ends the process at once; nothing that was flushed is
lost, and the next start recovers it.

Shares are served over NFS version 3, NFS and MOUNT on one TCP port: a client
mounts /X, /X@WHEN for a past moment, or any directory below. Every directory has
a hidden .snapshot, in which a name is a WHEN. Who may use a share says its
property "clients"; who a user is, NFS takes from the client. With --portmap the
port need not be given by clients, as for those of macOS and Windows: it answers
on port 111 of the same hosts, which takes root.

Disks are served over NBD, each under its name: X, or X@WHEN for a past moment,
read-only. NBD has no authentication: whoever reaches an address may use the
disks. The default addresses are reachable from this machine only.

A log that is damaged where it was durable is refused, and one that cannot be
repeated because a tree was damaged: going on without what follows would lose it
silently. The message says how much that is, and --accept-loss gives it up; copy
the directory of the pool before. What is not damaged is opened as always.

The same disks are served over iSCSI, each as LUN 0 of a target of its own,
iqn.2026-11.varve:X, or of X:WHEN, read-only. Who may use it say the properties
iscsi-clients, iscsi-initiators and, for CHAP, iscsi-user and iscsi-secret. With
several --iscsi every target has as many portals, for multipath.

The log of the process goes to stderr.`,
		Example: `  varve serve /srv/pool
  varve serve /srv/pool --nbd 127.0.0.1:10810 --nbd unix:/run/varve/nbd.sock
  varve serve /srv/pool --nfs 192.168.7.1:2049 --portmap
  varve serve /srv/pool --nfs none --nbd none --iscsi none --log-format json`,
		Args: need("[DIR]"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(c *cobra.Command, args []string) error {
			o, err := a.serveOptions(flags, args)
			if err != nil {
				return err
			}
			o.ready = func(info httpapi.ServerInfo, _, _ string) error {
				o.log.Info("serving", "pool", info.Dir, "listen", addresses(info.Addresses), "version", info.Version)
				return nil
			}
			return runServer(c.Context(), o)
		},
	}
	flags.register(c)
	return c
}

func (f *serveFlags) register(c *cobra.Command) {
	fs := c.Flags()
	fs.StringArrayVar(&f.nfs, "nfs", nil, "serve NFS and MOUNT on HOST:PORT, [::1]:PORT, or none; repeats\n(default 127.0.0.1:2049; or VARVE_NFS)")
	fs.BoolVar(&f.portmap, "portmap", false, "tell clients that ask, on port 111, where NFS is (or VARVE_PORTMAP)")
	fs.StringArrayVar(&f.nbd, "nbd", nil, "serve NBD on HOST:PORT, [::1]:PORT, unix:/path, or none; repeats\n(default 127.0.0.1:10809 and unix:DIR/nbd.sock; or VARVE_NBD)")
	fs.StringArrayVar(&f.iscsi, "iscsi", nil, "serve iSCSI on HOST:PORT, [::1]:PORT, or none; repeats: portals of the same targets\n(default 127.0.0.1:3260; or VARVE_ISCSI)")
	fs.StringArrayVar(&f.http, "http", nil, "answer /healthz and /metrics on HOST:PORT, [::1]:PORT, unix:/path, or none; repeats\n(default 127.0.0.1:7070; or VARVE_HTTP)")
	fs.StringVar(&f.group, "socket-group", "", "let this group use the sockets, and pass through DIR to them\n(or VARVE_SOCKET_GROUP)")
	fs.StringVar(&f.logFormat, "log-format", "text", "text or json (or VARVE_LOG_FORMAT)")
	fs.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error (or VARVE_LOG_LEVEL)")
	fs.DurationVar(&f.checkpoint, "checkpoint-interval", 5*time.Second, "how often to write a checkpoint while there are changes")
	fs.BoolVar(&f.awake, "keep-awake", true, "let no processor sleep while clients wait for one flush after the\nother (or VARVE_KEEP_AWAKE)")
	fs.BoolVar(&f.acceptLoss, "accept-loss", false, "open a pool that is damaged, and give up for ever what\nfollows the damage")
	fromEnvironment(fs, "nfs", "portmap", "nbd", "iscsi", "http", "socket-group", "log-format", "log-level", "checkpoint-interval", "keep-awake")
	complete := func(name string, choices ...string) {
		c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(choices, cobra.ShellCompDirectiveNoFileComp))
	}
	complete("log-format", "text", "json")
	complete("log-level", "debug", "info", "warn", "error")
}

func (a *app) serveOptions(f serveFlags, args []string) (serveOptions, error) {
	o := serveOptions{dir: a.pool, portmap: f.portmap, group: f.group, checkpoint: f.checkpoint, awake: f.awake, acceptLoss: f.acceptLoss}
	if len(args) > 0 {
		o.dir = args[0]
	}
	if f.checkpoint < 100*time.Millisecond || f.checkpoint > time.Hour {
		return o, fail.New(fail.Invalid, "--checkpoint-interval goes from 100ms to 1h, not %v", f.checkpoint)
	}
	var err error
	if o.nfs, err = nfsEndpoints(f); err != nil {
		return o, err
	}
	if o.nbd, err = endpoints(f.nbd, "127.0.0.1:10809", unixPrefix+filepath.Join(o.dir, "nbd.sock")); err != nil {
		return o, err
	}
	if o.iscsi, err = iscsiEndpoints(f); err != nil {
		return o, err
	}
	if o.http, err = endpoints(f.http, "127.0.0.1:7070"); err != nil {
		return o, err
	}
	o.log, err = newLogger(a.err, f.logFormat, f.logLevel)
	return o, err
}

// nfsEndpoints are those of --nfs. The clients of NFS know no unix sockets.
func nfsEndpoints(f serveFlags) ([]string, error) {
	all, err := endpoints(f.nfs, "127.0.0.1:"+nfsPort)
	switch {
	case err != nil:
		return nil, err
	case slices.ContainsFunc(all, func(e string) bool { return strings.HasPrefix(e, unixPrefix) }):
		return nil, fail.New(fail.Invalid, "NFS is served over TCP only").WithHint("write --nfs 127.0.0.1:%s, [::1]:%[1]s or none", nfsPort)
	case f.portmap && len(all) == 0:
		return nil, fail.New(fail.Invalid, "--portmap has nothing to tell without NFS")
	}
	return all, nil
}

func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fail.New(fail.Invalid, "--log-level takes debug, info, warn or error, not %q", level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fail.New(fail.Invalid, "--log-format takes text or json, not %q", format)
}

// runServer serves until a signal. From then on signals have their usual
// effect, so that a second one ends the process at once.
func runServer(ctx context.Context, o serveOptions) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	o.processors = widenScheduler()
	return servePool(ctx, o)
}
