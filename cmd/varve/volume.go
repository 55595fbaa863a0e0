package main

import (
	"github.com/spf13/cobra"
)

func (a *app) volume() *cobra.Command {
	return group(&cobra.Command{
		Use:     "volume",
		Short:   "Make volumes",
		Long:    "A volume is a disk, served over NBD under its name.",
		Example: "  varve volume create disk1 --size 40G",
	}, a.volumeCreate())
}

func (a *app) volumeCreate() *cobra.Command {
	var size sizeFlag
	c := &cobra.Command{
		Use:   "create NAME --size SIZE",
		Short: "Make a volume",
		Long: `Make a volume of SIZE bytes. It is thin: it reads as zeros and takes no space
until it is written. It is served at once, over NBD, under its name.`,
		Example: "  varve volume create disk1 --size 40G",
		Args:    need("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			d, err := a.client().CreateVolume(c.Context(), args[0], uint64(size))
			if err != nil {
				return err
			}
			return a.done(d, "made volume %s of %s at lsn %d", args[0], formatSize(uint64(size)), d.LSN)
		},
	}
	c.Flags().Var(&size, "size", "bytes, or with K, M, G, T: 40G")
	c.MarkFlagRequired("size")
	return c
}
