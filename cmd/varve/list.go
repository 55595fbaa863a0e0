package main

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"varve/internal/engine"
	"varve/internal/fail"
)

// entry is a line of a list: a dataset or a snapshot.
type entry struct {
	dataset  *engine.DatasetInfo
	snapshot *engine.SnapshotInfo
}

// usualColumns are those shown for each -t; the empty one is --destroyed.
var usualColumns = map[string][]string{
	"dataset":  {"name", "kind", "size", "used", "snapshots", "created", "origin"},
	"share":    {"name", "used", "quota", "inodes", "clients", "snapshots", "created", "origin"},
	"volume":   {"name", "kind", "size", "used", "snapshots", "created", "origin"},
	"snapshot": {"name", "lsn", "created", "guard", "holds"},
	"all":      {"name", "kind", "size", "used", "lsn", "created", "origin"},
	"":         {"name", "kind", "size", "used", "snapshots", "created", "destroyed"},
}

func (a *app) list() *cobra.Command {
	var kind string
	var destroyed bool
	c := &cobra.Command{
		Use:   "list [DATASET]",
		Short: "List datasets and snapshots",
		Long: `List datasets, which are shares and volumes; or with -t only those of one kind, or
their snapshots, or all; of the pool or of one dataset.

Columns for -o: name, kind, size, used, inodes, lsn, changed, created, snapshots,
origin, writers, oldest, destroyed, guard, holds, id; and of shares the properties
clients, access, squash, anonuid, anongid, quota, quota-inodes. USED is what the
head refers to; OLDEST is the oldest moment that can be reached.`,
		Example: `  varve list
  varve list -t share
  varve list -t snapshot disk0
  varve list -H -p -o name,used
  varve list --json | jq -r '.datasets[].name'`,
		Args:              need("[DATASET]"),
		ValidArgsFunction: a.completeArgs(a.datasets),
		RunE: func(c *cobra.Command, args []string) error {
			if usualColumns[kind] == nil || kind == "" {
				return fail.New(fail.Invalid, "-t takes dataset, share, volume, snapshot or all, not %q", kind)
			}
			if destroyed {
				kind = ""
			}
			name := ""
			if len(args) > 0 {
				var err error
				if name, err = parseDataset(args[0]); err != nil {
					return err
				}
			}
			return a.listEntries(c.Context(), kind, name)
		},
	}
	c.Flags().StringVarP(&kind, "type", "t", "dataset", "what to list: dataset, share, volume, snapshot or all")
	c.Flags().BoolVar(&destroyed, "destroyed", false, "list destroyed datasets that can come back")
	c.MarkFlagsMutuallyExclusive("type", "destroyed")
	c.RegisterFlagCompletionFunc("type", cobra.FixedCompletions([]string{"dataset", "share", "volume", "snapshot", "all"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *app) listEntries(ctx context.Context, kind, name string) error {
	answer := map[string]any{}
	var entries []entry
	if kind != "snapshot" {
		datasets, err := a.findDatasets(ctx, name, kind == "")
		if err != nil {
			return err
		}
		if kind == "share" || kind == "volume" {
			datasets = slices.DeleteFunc(datasets, func(d engine.DatasetInfo) bool { return d.Kind != kind })
		}
		answer["datasets"] = datasets
		for i := range datasets {
			entries = append(entries, entry{dataset: &datasets[i]})
		}
	}
	if kind == "snapshot" || kind == "all" {
		snapshots, err := a.client().Snapshots(ctx, name)
		if err != nil {
			return err
		}
		answer["snapshots"] = snapshots
		for i := range snapshots {
			entries = append(entries, entry{snapshot: &snapshots[i]})
		}
	}
	if a.json {
		return a.writeJSON(answer)
	}
	return table(a, a.entryColumns(), usualColumns[kind], entries)
}

// findDatasets lists all datasets or those of one name, of which more than
// one may have been destroyed.
func (a *app) findDatasets(ctx context.Context, name string, destroyed bool) ([]engine.DatasetInfo, error) {
	if name != "" && !destroyed {
		d, err := a.client().Dataset(ctx, name)
		return []engine.DatasetInfo{d}, err
	}
	all, err := a.client().Datasets(ctx, destroyed)
	if err != nil || name == "" {
		return all, err
	}
	named := []engine.DatasetInfo{}
	for _, d := range all {
		if d.Name == name {
			named = append(named, d)
		}
	}
	if len(named) == 0 {
		return nil, fail.New(fail.NotFound, "no destroyed dataset %s", name)
	}
	return named, nil
}

// entryColumns are the columns of lists and the properties of show.
func (a *app) entryColumns() []column[entry] {
	type ds = *engine.DatasetInfo
	type snap = *engine.SnapshotInfo
	col := func(name string, right bool, ofDataset func(ds) string, ofSnapshot func(snap) string) column[entry] {
		return column[entry]{name, right, func(e entry) string {
			switch {
			case e.dataset != nil && ofDataset != nil:
				return ofDataset(e.dataset)
			case e.snapshot != nil && ofSnapshot != nil:
				return ofSnapshot(e.snapshot)
			}
			return ""
		}}
	}
	return []column[entry]{
		col("name", false, func(d ds) string { return d.Name }, func(s snap) string { return s.Dataset + "@" + s.Name }),
		col("kind", false, func(d ds) string { return d.Kind }, func(snap) string { return "snapshot" }),
		col("size", true, func(d ds) string {
			if d.Kind == "share" {
				return ""
			}
			return a.size(d.Size)
		}, nil),
		col("used", true, func(d ds) string { return a.size(d.Mapped) }, nil),
		col("inodes", true, func(d ds) string { return number(d.Inodes) }, nil),
		col("clients", false, ofShare("clients", usualClients), nil),
		col("access", false, ofShare("access", "rw"), nil),
		col("squash", false, squashOf, nil),
		col("anonuid", true, ofShare("anonuid", ""), nil),
		col("anongid", true, ofShare("anongid", ""), nil),
		col("quota", true, func(d ds) string { return a.quota(d.Properties["quota"]) }, nil),
		col("quota-inodes", true, ofShare("quota-inodes", ""), nil),
		col("lsn", true, func(d ds) string { return number(d.CreatedLSN) }, func(s snap) string { return number(s.LSN) }),
		col("changed", true, func(d ds) string { return number(d.ChangedLSN) }, nil),
		col("created", false, func(d ds) string { return a.time(d.Created) }, func(s snap) string { return a.time(s.Time) }),
		col("snapshots", true, func(d ds) string { return strconv.Itoa(d.Snapshots) }, nil),
		col("origin", false, func(d ds) string { return d.Origin }, nil),
		col("writers", false, func(d ds) string { return strings.Join(d.Writers, ", ") }, nil),
		col("oldest", false, func(d ds) string { return a.time(d.OldestTime) }, nil),
		col("destroyed", false, func(d ds) string { return a.time(orZero(d.Destroyed)) }, nil),
		col("guard", false, nil, func(s snap) string { return yesIf(s.Guard) }),
		col("holds", false, nil, func(s snap) string { return strings.Join(s.Holds, ", ") }),
		col("id", true, func(d ds) string { return number(d.ID) }, nil),
	}
}

// usualClients may use a share of which nothing else was said.
const usualClients = "127.0.0.1,::1"

// ofShare shows a property of shares, or what it is unless set.
func ofShare(name, usual string) func(*engine.DatasetInfo) string {
	return func(d *engine.DatasetInfo) string {
		if v := d.Properties[name]; v != "" || d.Kind != "share" {
			return v
		}
		return usual
	}
}

func squashOf(d *engine.DatasetInfo) string {
	if beyondLoopback(d.Properties["clients"]) {
		return ofShare("squash", "root")(d)
	}
	return ofShare("squash", "none")(d)
}

// quota shows the property, which is bytes.
func (a *app) quota(v string) string {
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil || n == 0 {
		return ""
	}
	return a.size(n)
}

func yesIf(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}
