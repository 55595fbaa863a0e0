package main

import (
	"context"
	"strconv"

	"varve/internal/chain"
)

// listDumps shows the dumps of shares that others can be based on.
func (a *app) listDumps(ctx context.Context, args []string) error {
	share := ""
	if len(args) > 0 {
		name, err := parseDataset(args[0])
		if err != nil {
			return err
		}
		share = name
	}
	list, err := a.client().ListDumps(ctx, share)
	if err != nil {
		return err
	}
	if a.json {
		return a.writeJSON(list)
	}
	return table(a, a.dumpColumns(), []string{"share", "level", "date", "base", "snapshot", "used", "state"}, list)
}

func (a *app) dumpColumns() []column[chain.Record] {
	return []column[chain.Record]{
		{"share", false, func(r chain.Record) string { return r.Dataset }},
		{"level", true, func(r chain.Record) string { return strconv.Itoa(r.Level) }},
		{"date", false, func(r chain.Record) string { return a.time(r.Date) }},
		{"base", false, func(r chain.Record) string { return a.time(r.Base) }},
		{"snapshot", false, func(r chain.Record) string { return r.Snapshot }},
		{"lsn", true, func(r chain.Record) string { return strconv.FormatUint(r.LSN, 10) }},
		{"moment", false, func(r chain.Record) string { return a.time(r.Moment) }},
		{"used", true, func(r chain.Record) string { return a.size(uint64(max(r.Used, 0))) }},
		{"state", false, func(r chain.Record) string {
			if r.Open {
				return "unfinished"
			}
			return "recorded"
		}},
	}
}
