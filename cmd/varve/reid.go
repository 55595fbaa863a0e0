package main

import (
	"crypto/rand"
	"path/filepath"

	"github.com/spf13/cobra"

	"varve/internal/engine"
	"varve/internal/vfs"
)

func (a *app) reid() *cobra.Command {
	return &cobra.Command{
		Use:   "reid DIR",
		Short: "Give a copy of a pool an identity of its own",
		Long: `Give the pool in DIR, which must not be served, a new identity: what status shows
as id, and what clients see of it. A copy of a pool has the identity of its
original. Clients that meet both would take one for the other, so a copy that
is to be served beside its original needs one of its own.

Data, names and history stay as they are. Clients that know the pool by its old
identity do not know it any more.`,
		Example: `  cp -a /srv/pool /srv/copy
  varve reid /srv/copy
  varve serve /srv/copy --nfs none --nbd 127.0.0.1:10810 --http none`,
		Args: need("DIR"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(c *cobra.Command, args []string) error {
			store, err := openStore(vfs.OS(), args[0], false)
			if err != nil {
				return err
			}
			defer store.Close()
			question := func() (string, error) {
				path, err := filepath.Abs(args[0])
				return "Give pool " + path + " a new identity?", err
			}
			if err := a.confirm(c.Context(), nil, question); err != nil {
				return err
			}
			id, err := engine.Reid(store, rand.Reader)
			if err != nil {
				return err
			}
			if a.json {
				return a.writeJSON(map[string]string{"pool": args[0], "id": id})
			}
			a.say("pool %s is %s now", args[0], id)
			return nil
		},
	}
}
