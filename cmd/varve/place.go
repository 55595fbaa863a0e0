package main

import (
	"strings"
	"time"

	"varve/internal/fail"
	"varve/internal/files"
	"varve/internal/when"
)

// parsePlace reads SHARE[@WHEN]:/path. Where the path may be missing it is the
// root.
func parsePlace(s string, mayBeRoot bool) (files.Place, error) {
	a, err := when.ParseAddress(s, time.Local)
	switch {
	case err != nil && isLocal(s):
		return files.Place{}, fail.New(fail.Invalid, "%q is a local path", s).WithHint("write SHARE:/path; varve cat copies a file out of a share")
	case err != nil:
		return files.Place{}, err
	case a.To != nil:
		return files.Place{}, fail.New(fail.Invalid, "%q is a range; one moment is wanted", s)
	case a.Partition != 0:
		return files.Place{}, fail.New(fail.Invalid, "%q names a partition; a path of a share is wanted", s)
	case a.Path == "" && !mayBeRoot:
		return files.Place{}, fail.New(fail.Invalid, "%q names no path", s).WithHint("write %s:/path", s)
	case a.Path == "":
		a.Path = "/"
	}
	return files.Place{Share: a.Dataset, When: a.When, Path: a.Path}, nil
}

// isLocal says whether an argument names a local file or directory rather
// than something in the pool.
func isLocal(s string) bool {
	return strings.HasPrefix(s, "/") || s == "." || s == ".." || strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../")
}
