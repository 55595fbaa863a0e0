package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/httpapi"
	"varve/internal/vfs"
)

// What varve up makes in a new pool.
const (
	firstShare      = "home"
	firstVolume     = "disk0"
	firstVolumeSize = 16 << 30
)

func (a *app) up() *cobra.Command {
	var flags serveFlags
	c := &cobra.Command{
		Use:   "up [DIR]",
		Short: "Make a pool if there is none, and serve it",
		Long: `Make DIR, or the directory of --pool, a pool if it is not one, with a share "home"
that belongs to the user who runs this, and a thin volume "disk0" of 16G; and
serve it as varve serve does, on addresses that only this machine can reach.`,
		Example: `  varve up
  varve up /srv/pool --nfs 127.0.0.1:12049 --nbd 127.0.0.1:10810`,
		Args: need("[DIR]"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(c *cobra.Command, args []string) error {
			o, err := a.serveOptions(flags, args)
			if err != nil {
				return err
			}
			if err := makePoolOnce(vfs.OS(), o.dir); err != nil {
				return err
			}
			o.share, o.volume, o.size = firstShare, firstVolume, firstVolumeSize
			o.ready = func(info httpapi.ServerInfo, share, volume string) error {
				return a.welcome(o.dir, info, share, volume)
			}
			return runServer(c.Context(), o)
		},
	}
	flags.register(c)
	return c
}

// welcome says what is served and what to try: on a share and a volume, or
// making them where there are none.
func (a *app) welcome(dir string, info httpapi.ServerInfo, share, volume string) error {
	if a.json {
		return a.writeJSON(info)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "varve serves pool %s, pid %d. Ctrl-C stops it.\n", dir, info.PID)
	for _, l := range info.Addresses {
		fmt.Fprintf(&b, "  %s\n", l.URI)
	}
	b.WriteString("Try, in another terminal:\n")
	varve := "varve"
	if dir != "./varve-data" {
		varve += " --pool " + dir
	}
	if share == "" {
		share = firstShare
		fmt.Fprintf(&b, "  %s share create %s\n", varve, share)
	}
	if volume == "" {
		volume = firstVolume
		fmt.Fprintf(&b, "  %s volume create %s --size %s\n", varve, volume, formatSize(firstVolumeSize))
	}
	nfs, nbd := firstAddress(info, "nfs"), firstAddress(info, "nbd")
	if nfs != "" {
		fmt.Fprintf(&b, "  %s\n", mountLine(nfs, share))
	}
	if nbd != "" {
		fmt.Fprintf(&b, "  nbdinfo '%s'\n", nbdURI(nbd, volume))
	}
	if nfs == "" && nbd == "" {
		fmt.Fprintf(&b, "  %s status\n", varve)
	}
	fmt.Fprintf(&b, "  %s snapshot %s@first\n", varve, share)
	fmt.Fprintf(&b, "  %s list -t all\n", varve)
	return a.write(b.String())
}

// firstAddress is where a protocol is served, or "".
func firstAddress(info httpapi.ServerInfo, proto string) string {
	for _, l := range info.Addresses {
		if l.Proto == proto {
			return l.Addr
		}
	}
	return ""
}

// nbdURI names an address as NBD clients do, with an export.
func nbdURI(addr, export string) string {
	if path, ok := strings.CutPrefix(addr, unixPrefix); ok {
		return fmt.Sprintf("nbd+unix:///%s?socket=%s", export, path)
	}
	return fmt.Sprintf("nbd://%s/%s", addr, export)
}

func httpURI(addr string) string {
	if path, ok := strings.CutPrefix(addr, unixPrefix); ok {
		return fmt.Sprintf("curl --unix-socket %s http://varve/metrics", path)
	}
	return fmt.Sprintf("http://%s/metrics", addr)
}
