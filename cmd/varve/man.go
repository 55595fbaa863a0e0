package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"varve/internal/fail"
)

func (a *app) man() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Hidden: true, // for those who make packages
		Short:  "Write the manual pages",
		Long: `Write a manual page for each command into DIR, which is made if it is missing:
varve.1, varve-snapshot.1, and so on. The same program always writes the same
pages.`,
		Example: "  varve man /usr/local/share/man/man1",
		Args:    need("DIR"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(c *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fail.Wrap(fail.IO, err, "manual pages")
			}
			return writePages(c.Root(), args[0])
		},
	}
}

func writePages(c *cobra.Command, dir string) error {
	page, err := manPage(c)
	if err != nil {
		return err
	}
	name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
	if err := os.WriteFile(filepath.Join(dir, name), page, 0o644); err != nil {
		return fail.Wrap(fail.IO, err, "manual page")
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			if err := writePages(sub, dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// manPage leaves out the date, which would tell only when the page was made.
func manPage(c *cobra.Command) ([]byte, error) {
	var page bytes.Buffer
	header := &doc.GenManHeader{Section: "1", Date: &time.Time{}, Source: "varve", Manual: "varve"}
	if err := doc.GenMan(c, header, &page); err != nil {
		return nil, fail.Wrap(fail.Other, err, "manual page of %s", c.CommandPath())
	}
	date := []byte((time.Time{}).Format(`"Jan 2006"`))
	return bytes.Replace(page.Bytes(), date, []byte(`""`), 1), nil
}
