package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Show the version of this program",
		Long:    "Show the version of this program. That of a server is in varve status.",
		Example: "  varve version --json",
		Args:    need(),
		RunE: func(*cobra.Command, []string) error {
			if a.json {
				return a.writeJSON(map[string]string{
					"version": versionName(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
			}
			return a.write(fmt.Sprintf("varve %s %s %s/%s\n", versionName(), runtime.Version(), runtime.GOOS, runtime.GOARCH))
		},
	}
}

// versionName is the version of the module, or of the commit that it was
// built from.
func versionName() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}
