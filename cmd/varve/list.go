package main

import (
	"context"
	"fmt"
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
	"dataset":  {"name", "kind", "size", "used", "live", "in-history", "in-snapshots", "snapshots", "origin"},
	"share":    {"name", "used", "live", "in-history", "in-snapshots", "quota", "inodes", "clients", "snapshots", "origin"},
	"volume":   {"name", "kind", "size", "used", "live", "in-history", "in-snapshots", "snapshots", "origin"},
	"snapshot": {"name", "lsn", "created", "used", "referenced", "expires", "kept", "guard", "holds"},
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

Space is bytes of data. Of a dataset, LIVE is what the present refers to, of which
SHARED belongs to its origin; IN-HISTORY, what was dropped and history still has;
IN-SNAPSHOTS, what history has no longer, but snapshots, kept points and clones
have, of which HELD is kept by holds; USED, live, in history and in snapshots
together; RECLAIMABLE, what destroying it for good would free. Of a snapshot,
REFERENCED is what it refers to; USED, what destroying it alone would free; KEPT
says that the property keep made it; EXPIRES, when it goes by itself. LIMITS are
quota and budget, and how much of them is used. OLDEST is the oldest moment that
can be reached.

Columns for -o: name, kind, size, used, live, shared, in-history, in-snapshots,
held, reclaimable, referenced, limits, inodes, lsn, changed, created, snapshots,
origin, writers, oldest, destroyed, expires, kept, guard, holds, id; and the
properties history, keep, quota, budget, on-full, and of shares clients, access,
squash, anonuid, anongid, quota-inodes; of volumes, where they were set, sanitize,
physical-block, iscsi-write-cache, iscsi-target, iscsi-lun, iscsi-clients,
iscsi-initiators, iscsi-user, iscsi-mutual-user.`,
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
	bytes := func(of func(ds) int64) func(ds) string {
		return func(d ds) string { return a.size(natural(of(d))) }
	}
	cols := []column[entry]{
		col("name", false, func(d ds) string { return d.Name }, func(s snap) string { return s.Dataset + "@" + s.Name }),
		col("kind", false, func(d ds) string { return d.Kind }, func(snap) string { return "snapshot" }),
		col("size", true, a.sizeOf, nil),
		col("used", true,
			bytes(func(d ds) int64 { return d.Space.Live + d.Space.History + d.Space.Snapshots }),
			func(s snap) string { return a.size(natural(s.Used)) }),
		col("live", true, bytes(func(d ds) int64 { return d.Space.Live }), nil),
		col("shared", true, func(d ds) string {
			if d.Origin == "" {
				return ""
			}
			return a.size(natural(d.Space.Shared))
		}, nil),
		col("in-history", true, bytes(func(d ds) int64 { return d.Space.History }), nil),
		col("in-snapshots", true, bytes(func(d ds) int64 { return d.Space.Snapshots }), nil),
		col("held", true, bytes(func(d ds) int64 { return d.Space.Held }), nil),
		col("reclaimable", true, bytes(func(d ds) int64 { return d.Space.Reclaimable }), nil),
		col("referenced", true, nil, func(s snap) string { return a.size(natural(s.Referenced)) }),
		col("limits", false, a.limits, nil),
		col("history", false, ofDataset("history", usualHistory), nil),
		col("keep", false, ofDataset("keep", usualKeep), nil),
		col("inodes", true, func(d ds) string { return number(d.Inodes) }, nil),
		col("clients", false, ofShare("clients", usualClients), nil),
		col("access", false, ofShare("access", "rw"), nil),
		col("squash", false, squashOf, nil),
		col("anonuid", true, ofShare("anonuid", ""), nil),
		col("anongid", true, ofShare("anongid", ""), nil),
		col("quota", true, func(d ds) string { return a.quota(d.Properties["quota"]) }, nil),
		col("budget", true, func(d ds) string { return a.quota(d.Properties["budget"]) }, nil),
		col("on-full", false, ofDataset("on-full", "fail"), nil),
		col("quota-inodes", true, ofShare("quota-inodes", ""), nil),
		col("lsn", true, func(d ds) string { return number(d.CreatedLSN) }, func(s snap) string { return number(s.LSN) }),
		col("changed", true, func(d ds) string { return number(d.ChangedLSN) }, nil),
		col("created", false, func(d ds) string { return a.time(d.Created) }, func(s snap) string { return a.time(s.Time) }),
		col("snapshots", true, func(d ds) string { return strconv.Itoa(d.Snapshots) }, nil),
		col("origin", false, func(d ds) string { return d.Origin }, nil),
		col("writers", false, func(d ds) string { return strings.Join(d.Writers, ", ") }, nil),
		col("oldest", false, func(d ds) string { return a.time(d.OldestTime) }, nil),
		col("destroyed", false, func(d ds) string { return a.time(orZero(d.Destroyed)) }, nil),
		col("expires", false, nil, func(s snap) string { return a.time(orZero(s.Expires)) }),
		col("kept", false, nil, func(s snap) string { return yesIf(s.Kept) }),
		col("guard", false, nil, func(s snap) string { return yesIf(s.Guard) }),
		col("holds", false, nil, func(s snap) string { return strings.Join(s.Holds, ", ") }),
	}
	for _, name := range volumeColumns {
		cols = append(cols, col(name, false, ofDataset(name, ""), nil))
	}
	return append(cols, col("id", true, func(d ds) string { return number(d.ID) }, nil))
}

// sizeOf shows the size of what has one.
func (a *app) sizeOf(d *engine.DatasetInfo) string {
	if d.Kind == "share" {
		return ""
	}
	return a.size(d.Size)
}

// volumeColumns are properties of volumes, shown where they were set.
var volumeColumns = []string{"sanitize", "physical-block", "iscsi-write-cache", "iscsi-target", "iscsi-lun",
	"iscsi-clients", "iscsi-initiators", "iscsi-user", "iscsi-mutual-user"}

// usualClients may use a share of which nothing else was said.
const usualClients = "127.0.0.1,::1"

// What a dataset keeps of its past unless something else was said.
const (
	usualHistory = "24h,20%"
	usualKeep    = "hourly:36,daily:30,weekly:8,monthly:12,yearly:3"
)

// ofDataset shows a property, or what it is unless set.
func ofDataset(name, usual string) func(*engine.DatasetInfo) string {
	return func(d *engine.DatasetInfo) string {
		if v := d.Properties[name]; v != "" {
			return v
		}
		return usual
	}
}

// limits shows how much of each is used.
func (a *app) limits(d *engine.DatasetInfo) string {
	var all []string
	for _, l := range d.Limits {
		all = append(all, fmt.Sprintf("%s %s of %s, %d %%", l.Name, a.size(natural(l.Used)), a.size(natural(l.Limit)), l.Percent))
	}
	return strings.Join(all, "; ")
}

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
