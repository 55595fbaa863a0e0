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
	firstVolume     = "disk0"
	firstVolumeSize = 16 << 30
)

func (a *app) up() *cobra.Command {
	var flags serveFlags
	c := &cobra.Command{
		Use:   "up [DIR]",
		Short: "Make a pool if there is none, and serve it",
		Long: `Make DIR, or the directory of --pool, a pool if it is not one, with a thin volume
"disk0" of 16G, and serve it as varve serve does, on addresses that only this
machine can reach.`,
		Example: `  varve up
  varve up /srv/pool --nbd 127.0.0.1:10810`,
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
			o.volume, o.size = firstVolume, firstVolumeSize
			o.ready = func(info httpapi.ServerInfo, volume string) error { return a.welcome(o.dir, info, volume) }
			return runServer(c.Context(), o)
		},
	}
	flags.register(c)
	return c
}

// welcome says what is served and what to try: on a volume, or making one where
// there is none.
func (a *app) welcome(dir string, info httpapi.ServerInfo, volume string) error {
	if a.json {
		return a.writeJSON(info)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "varve serves pool %s, pid %d. Ctrl-C stops it.\n", dir, info.PID)
	for _, l := range info.Addresses {
		fmt.Fprintf(&b, "  %s\n", uri(l, ""))
	}
	b.WriteString("Try, in another terminal:\n")
	varve := "varve"
	if dir != "./varve-data" {
		varve += " --pool " + dir
	}
	if volume == "" {
		volume = firstVolume
		fmt.Fprintf(&b, "  %s volume create %s --size %s\n", varve, volume, formatSize(firstVolumeSize))
	}
	if len(info.Addresses) > 0 && info.Addresses[0].Proto == "nbd" {
		fmt.Fprintf(&b, "  nbdinfo '%s'\n", uri(info.Addresses[0], volume))
	} else {
		fmt.Fprintf(&b, "  %s status\n", varve)
	}
	fmt.Fprintf(&b, "  %s snapshot %s@first\n", varve, volume)
	fmt.Fprintf(&b, "  %s list -t all\n", varve)
	return a.write(b.String())
}

// uri names an address as its clients do; for NBD, with an export.
func uri(l httpapi.Address, export string) string {
	path, ok := strings.CutPrefix(l.Addr, unixPrefix)
	switch {
	case l.Proto == "http" && ok:
		return fmt.Sprintf("curl --unix-socket %s http://varve/metrics", path)
	case l.Proto == "http":
		return fmt.Sprintf("http://%s/metrics", l.Addr)
	case ok:
		return fmt.Sprintf("nbd+unix:///%s?socket=%s", export, path)
	}
	return fmt.Sprintf("nbd://%s/%s", l.Addr, export)
}
