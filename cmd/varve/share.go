package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/fail"
	"varve/internal/httpapi"
)

func (a *app) share() *cobra.Command {
	return group(&cobra.Command{
		Use:     "share",
		Short:   "Make shares",
		Long:    "A share is a tree of files, served over NFS under its name.",
		Example: "  varve share create projects",
	}, a.shareCreate())
}

func (a *app) shareCreate() *cobra.Command {
	var owner ownerFlag
	var mode modeFlag
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a share",
		Long: `Make a share: an empty directory, which belongs to you unless --owner says whom.
It is served at once, over NFS, under its name, to clients on this machine; to
let in others, see varve set --help.`,
		Example: `  varve share create projects
  varve share create public --owner 1000:100 --mode 2775`,
		Args: need("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			d, err := a.client().CreateShare(c.Context(), args[0], httpapi.ShareOptions{Mode: mode.mode, UID: owner.uid, GID: owner.gid})
			if err != nil {
				return err
			}
			if err := a.done(d, "made share %s at lsn %d", args[0], d.LSN); err != nil || a.json {
				return err
			}
			a.sayHowToMount(c.Context(), args[0])
			return nil
		},
	}
	c.Flags().Var(&owner, "owner", "who the root directory belongs to, by number: UID:GID")
	c.Flags().Var(&mode, "mode", "permissions of the root directory, octal (default 0755)")
	return c
}

// sayHowToMount shows what mounts a share, where NFS is served.
func (a *app) sayHowToMount(ctx context.Context, share string) {
	s, err := a.client().Status(ctx)
	if err != nil {
		return // what was asked for is done
	}
	if nfs := firstAddress(s.Server, "nfs"); nfs != "" {
		a.say("mount it, as root, with: %s", mountLine(nfs, share))
	} else {
		a.say("it can be mounted where the server is started with --nfs")
	}
}

// ownerFlag is a user and a group, by number: "1000:100".
type ownerFlag struct{ uid, gid *uint32 }

func (o *ownerFlag) String() string { return "" }
func (o *ownerFlag) Type() string   { return "uid:gid" }

func (o *ownerFlag) Set(v string) error {
	u, g, ok := strings.Cut(v, ":")
	uid, err := strconv.ParseUint(u, 10, 32)
	gid, gidErr := strconv.ParseUint(g, 10, 32)
	if !ok || err != nil || gidErr != nil {
		return fail.New(fail.Invalid, "%.40q is no owner", v).WithHint("write two numbers: 1000:100")
	}
	o.uid, o.gid = new(uint32), new(uint32)
	*o.uid, *o.gid = uint32(uid), uint32(gid)
	return nil
}

// modeFlag is permission bits, in octal: "2775".
type modeFlag struct{ mode *uint32 }

func (m *modeFlag) String() string { return "" }
func (m *modeFlag) Type() string   { return "mode" }

func (m *modeFlag) Set(v string) error {
	n, err := strconv.ParseUint(v, 8, 12)
	if err != nil {
		return fail.New(fail.Invalid, "%.40q is no mode", v).WithHint("write up to four octal digits: 0755")
	}
	m.mode = new(uint32)
	*m.mode = uint32(n)
	return nil
}
