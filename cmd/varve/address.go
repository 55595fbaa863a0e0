package main

import (
	"strings"
	"time"

	"varve/internal/fail"
	"varve/internal/when"
)

// parseAddress reads DATASET[@WHEN].
func parseAddress(s string) (when.Address, error) {
	a, err := parseWhole(s)
	if err == nil && a.To != nil {
		err = fail.New(fail.Invalid, "%q is a range; one moment is wanted", s)
	}
	return a, err
}

// parseWhole reads DATASET[@WHEN[..@WHEN]], without a place inside of it.
func parseWhole(s string) (when.Address, error) {
	a, err := when.ParseAddress(s, time.Local)
	if err == nil && (a.Path != "" || a.Partition != 0) {
		err = fail.New(fail.Invalid, "%q names a place inside a dataset; the dataset as a whole is wanted", s)
	}
	return a, err
}

// parseRange reads DATASET@A..@B[:/path], or DATASET@A for up to now.
func parseRange(s string) (dataset string, from, to when.Spec, path string, err error) {
	a, err := when.ParseAddress(s, time.Local)
	switch {
	case err != nil:
		return "", from, to, "", err
	case a.Partition != 0:
		return "", from, to, "", fail.New(fail.Invalid, "%q names a partition; a whole volume or a path is wanted", s)
	case a.When == nil:
		return "", from, to, "", fail.New(fail.Invalid, "%q names no moment", s).
			WithHint("write %s@A..@B, or %[1]s@A for up to now", a.Dataset)
	case a.To == nil:
		return a.Dataset, *a.When, when.Spec{Kind: when.Now}, a.Path, nil
	}
	return a.Dataset, *a.When, *a.To, a.Path, nil
}

// parseWhen reads the WHEN of an option, which may be missing.
func parseWhen(flag, s string) (*when.Spec, error) {
	if s == "" {
		return nil, nil
	}
	w, err := when.Parse(s, time.Local)
	if err != nil {
		return nil, fail.Wrap(fail.Invalid, err, "%s", flag)
	}
	return &w, nil
}

// parseDataset reads the name of a dataset, alone.
func parseDataset(s string) (string, error) {
	a, err := parseAddress(s)
	if err == nil && a.When != nil {
		err = fail.New(fail.Invalid, "%q names a moment; a dataset is wanted", s).WithHint("write %s", a.Dataset)
	}
	return a.Dataset, err
}

// parseSnapshot reads DATASET@NAME.
func parseSnapshot(s string) (dataset, name string, err error) {
	a, err := parseAddress(strings.TrimSuffix(s, "@"))
	switch {
	case err != nil:
		return "", "", err
	case a.When == nil:
		return "", "", fail.New(fail.Invalid, "%q names no snapshot", s).WithHint("write %s@NAME", a.Dataset)
	case a.When.Kind != when.Snapshot:
		return "", "", fail.New(fail.Invalid, "%s is a moment, not the name of a snapshot", a.When).
			WithHint("varve snapshot %s@NAME --at %s gives it one", a.Dataset, a.When)
	}
	return a.Dataset, a.When.Name, nil
}
