package main

import (
	"github.com/spf13/cobra"
)

func (a *app) cat() *cobra.Command {
	return &cobra.Command{
		Use:   "cat SHARE[@WHEN]:/path",
		Short: "Write a file of a share to stdout, as it is or was",
		Long: `Write the bytes of a file to stdout: as it is now, or as it was at WHEN. If it
cannot be read to its end, the exit code says so.`,
		Example: `  varve cat home@10m-ago:/notes.txt
  varve cat home@monday:/photos.tar > photos.tar
  diff <(varve cat home@monday:/etc/hosts) <(varve cat home:/etc/hosts)`,
		Args:              need("SHARE[@WHEN]:/path"),
		ValidArgsFunction: a.completeArgs(a.paths),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := parsePlace(args[0], false)
			if err != nil {
				return err
			}
			return a.client().ReadFile(c.Context(), p, a.out)
		},
	}
}
