// Package race tells tests whether the race detector is on.
package race

import (
	"runtime/debug"
	"slices"
)

// Enabled reports whether this program was built with -race. Then sync.Pool
// forgets things at random, and counts of allocations mean little.
func Enabled() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
