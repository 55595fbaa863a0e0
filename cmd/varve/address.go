package main

import (
	"time"

	"varve/internal/fail"
	"varve/internal/when"
)

// parseAddress reads DATASET[@WHEN]; volumes have no paths, and nothing here
// takes a range or a partition.
func parseAddress(s string) (when.Address, error) {
	a, err := when.ParseAddress(s, time.Local)
	switch {
	case err != nil:
		return a, err
	case a.To != nil:
		return a, fail.New(fail.Invalid, "%q is a range; one moment is wanted", s)
	case a.Path != "" || a.Partition != 0:
		return a, fail.New(fail.Invalid, "%q names a place inside a dataset; the dataset as a whole is wanted", s)
	}
	return a, nil
}

// parseDataset reads the name of a dataset, alone.
func parseDataset(s string) (string, error) {
	a, err := parseAddress(s)
	if err == nil && a.When != nil {
		err = fail.New(fail.Invalid, "%q names a moment; a dataset is wanted", s).WithHint("write %s", a.Dataset)
	}
	return a.Dataset, err
}

// parseMoment reads DATASET@WHEN.
func parseMoment(s string) (string, when.Spec, error) {
	a, err := parseAddress(s)
	switch {
	case err != nil:
		return "", when.Spec{}, err
	case a.When == nil:
		return "", when.Spec{}, fail.New(fail.Invalid, "%q names no moment", s).WithHint("write %s@WHEN, such as %s@10m-ago", s, s)
	}
	return a.Dataset, *a.When, nil
}

// parseSnapshot reads DATASET@NAME.
func parseSnapshot(s string) (dataset, name string, err error) {
	dataset, w, err := parseMoment(s)
	if err == nil && w.Kind != when.Snapshot {
		err = fail.New(fail.Invalid, "%s is a moment, not the name of a snapshot", w)
	}
	return dataset, w.Name, err
}
