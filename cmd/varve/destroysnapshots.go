package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/when"
)

// target is what destroy is asked to destroy: a dataset, or snapshots of it.
type target struct {
	dataset     string
	first, last string // by name; "" for a dataset; the same for one snapshot
	word        string // as it was given
}

// parseTargets reads one dataset, or snapshots and ranges of them.
func parseTargets(args []string) ([]target, error) {
	var targets []target
	for _, arg := range args {
		t, err := parseTarget(arg)
		if err != nil {
			return nil, err
		}
		if t.first == "" && len(args) > 1 {
			return nil, fail.New(fail.Invalid, "%q is a dataset, and datasets are destroyed one by one", arg)
		}
		targets = append(targets, t)
	}
	return targets, nil
}

// parseTarget reads DATASET, DATASET@SNAPSHOT or DATASET@A..B; the last may be
// written A..@B too, as all ranges may. A name can hold two dots as well: what
// it is then is found out where the names are known.
func parseTarget(arg string) (target, error) {
	dataset, rest, dated := strings.Cut(arg, "@")
	if !dated {
		name, err := parseDataset(arg)
		return target{dataset: name, word: arg}, err
	}
	first, last, ranged := strings.Cut(rest, "..@")
	if !ranged {
		first, last, ranged = strings.Cut(rest, "..")
		ranged = ranged && when.ValidName(first) == nil && when.ValidName(last) == nil
	}
	if !ranged {
		first, last = rest, rest
	}
	for _, name := range []string{first, last} {
		if _, _, err := parseSnapshot(dataset + "@" + name); err != nil {
			return target{}, err
		}
	}
	return target{dataset, first, last, rest}, nil
}

// destroySnapshots destroys all that the targets name, or with dryRun tells
// what would go.
func (a *app) destroySnapshots(ctx context.Context, targets []target, dryRun bool) error {
	var found []engine.SnapshotInfo
	find := func() (err error) {
		found, err = a.findTargets(ctx, targets)
		return err
	}
	if dryRun {
		if err := find(); err != nil {
			return err
		}
		return a.wouldDestroySnapshots(ctx, found)
	}
	err := a.confirm(ctx, find, func() (question string, err error) {
		bytes, err := a.reclaimable(ctx, found)
		if len(found) == 1 {
			s := found[0]
			return fmt.Sprintf("Destroy the snapshot %s@%s of %s? It frees %s.", s.Dataset, s.Name, a.time(s.Time), a.amount(bytes)), err
		}
		return fmt.Sprintf("Destroy %d snapshots, from %s to %s? They free %s.",
			len(found), addressOf(found[0]), addressOf(found[len(found)-1]), a.amount(bytes)), err
	})
	if err != nil {
		return err
	}
	if one := targets[0]; found == nil && len(targets) == 1 && one.first == one.last {
		found = []engine.SnapshotInfo{{Dataset: one.dataset, Name: one.first}} // among however many
	} else if found == nil {
		if err := find(); err != nil {
			return err
		}
	}
	for _, s := range found {
		d, err := a.client().DestroySnapshot(ctx, s.Dataset, s.Name)
		if err != nil {
			return err
		}
		if err := a.done(d, "destroyed snapshot %s at lsn %d", addressOf(s), d.LSN); err != nil {
			return err
		}
	}
	return nil
}

// findTargets lists the snapshots that the targets name, each once, and none
// that is held, if there are several: then all go, or none.
func (a *app) findTargets(ctx context.Context, targets []target) ([]engine.SnapshotInfo, error) {
	listed := map[string][]engine.SnapshotInfo{}
	var found []engine.SnapshotInfo
	for _, t := range targets {
		all, ok := listed[t.dataset]
		if !ok {
			var err error
			if all, err = a.client().Snapshots(ctx, t.dataset); err != nil {
				return nil, err
			}
			slices.SortStableFunc(all, func(x, y engine.SnapshotInfo) int { return cmp.Compare(x.LSN, y.LSN) })
			listed[t.dataset] = all
		}
		some, err := t.among(all)
		if err != nil {
			return nil, err
		}
		for _, s := range some {
			if !slices.ContainsFunc(found, func(f engine.SnapshotInfo) bool { return f.ID == s.ID && f.Dataset == s.Dataset }) {
				found = append(found, s)
			}
		}
	}
	for _, s := range found {
		if len(found) > 1 && len(s.Holds) > 0 {
			return nil, fail.New(fail.Busy, "%s is held by %s; none was destroyed", addressOf(s), strings.Join(s.Holds, ", ")).
				WithHint("varve release %s TAG lets it go", addressOf(s))
		}
	}
	return found, nil
}

// among finds the snapshots of a target among all of its dataset, which are in
// the order of their moments.
func (t target) among(all []engine.SnapshotInfo) ([]engine.SnapshotInfo, error) {
	index := func(name string) int {
		return slices.IndexFunc(all, func(s engine.SnapshotInfo) bool { return s.Name == name })
	}
	if i := index(t.word); i >= 0 {
		return all[i : i+1], nil
	}
	for _, name := range []string{t.first, t.last} {
		if index(name) < 0 {
			return nil, fail.New(fail.NotFound, "no snapshot %s@%s", t.dataset, name).
				WithHint("varve list -t snapshot %s shows them", t.dataset)
		}
	}
	from, to := index(t.first), index(t.last)
	if from > to {
		return nil, fail.New(fail.Invalid, "%s@%s is newer than %s", t.dataset, t.first, t.last).
			WithHint("write the older one first: %s@%s..%s", t.dataset, t.last, t.first)
	}
	return all[from : to+1], nil
}

// reclaimable is what destroying snapshots together frees. What those of one
// dataset keep is no other's.
func (a *app) reclaimable(ctx context.Context, snapshots []engine.SnapshotInfo) (uint64, error) {
	names := map[string][]string{}
	for _, s := range snapshots {
		names[s.Dataset] = append(names[s.Dataset], s.Name)
	}
	var sum uint64
	for dataset, list := range names {
		n, err := a.client().Reclaimable(ctx, dataset, list)
		if err != nil {
			return 0, err
		}
		sum += natural(n)
	}
	return sum, nil
}

// wouldDestroySnapshots answers --dry-run.
func (a *app) wouldDestroySnapshots(ctx context.Context, found []engine.SnapshotInfo) error {
	bytes, err := a.reclaimable(ctx, found)
	if err != nil {
		return err
	}
	if a.json {
		return a.writeJSON(map[string]any{"dry_run": true, "snapshots": found, "bytes": bytes})
	}
	var entries []entry
	for i := range found {
		entries = append(entries, entry{snapshot: &found[i]})
	}
	if err := table(a, a.entryColumns(), []string{"name", "created", "used", "referenced"}, entries); err != nil {
		return err
	}
	a.say("would destroy %s: %s come back", plural(uint64(len(found)), "snapshot"), a.amount(bytes))
	return nil
}

func addressOf(s engine.SnapshotInfo) string { return s.Dataset + "@" + s.Name }

func (a *app) findSnapshot(ctx context.Context, dataset, name string) (engine.SnapshotInfo, error) {
	all, err := a.client().Snapshots(ctx, dataset)
	if err != nil {
		return engine.SnapshotInfo{}, err
	}
	found, err := target{dataset, name, name, name}.among(all)
	if err != nil {
		return engine.SnapshotInfo{}, err
	}
	return found[0], nil
}
