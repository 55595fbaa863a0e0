package main

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"varve/internal/bytesize"
	"varve/internal/fail"
	"varve/internal/httpapi"
)

// poolName stands for the pool itself where a dataset could; no dataset has it.
const poolName = "pool"

// poolProperties are what can be set of the pool.
var poolProperties = []string{"capacity"}

// setPool changes a property of the pool.
func (a *app) setPool(ctx context.Context, key, value string) error {
	if key != "capacity" {
		return fail.New(fail.Invalid, "there is no property %q of the pool to set", key).WithHint("there is %s", strings.Join(poolProperties, ", "))
	}
	var bytes uint64 // none is the default
	if value != "" {
		var err error
		if bytes, err = parseSize(value); err != nil {
			return err
		}
		if bytes == 0 {
			return fail.New(fail.Invalid, "a pool cannot have a capacity of 0").WithHint("capacity= without a value brings the default back")
		}
	}
	d, err := a.client().SetCapacity(ctx, bytes)
	if err != nil {
		return err
	}
	if a.json {
		return a.writeJSON(d)
	}
	is := bytesize.Exact(d.CapacityBytes)
	if value == "" {
		a.say("capacity of pool has its default again: %s", is)
		return nil
	}
	a.say("capacity of pool is %s", is)
	return nil
}

// showPool shows the pool: what status tells of it, without its server.
func (a *app) showPool(ctx context.Context) error {
	s, err := a.client().Status(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.writeJSON(s.Pool)
	}
	return properties(a, a.poolColumns(), s)
}

func (a *app) poolColumns() []column[httpapi.ServerStatus] {
	type st = httpapi.ServerStatus
	of := []string{"id", "state", "reason", "capacity", "used", "free", "reserve", "live", "in-history", "in-snapshots",
		"held", "destroyed", "nodes", "dead", "datasets", "snapshots", "lsn", "oldest"}
	cols := []column[st]{{"name", false, func(st) string { return poolName }}}
	for _, c := range a.statusColumns() {
		if slices.Contains(of, c.name) {
			cols = append(cols, c)
		}
	}
	return append(cols,
		column[st]{"segments", false, func(s st) string { return strconv.Itoa(s.Pool.Segments) }},
		column[st]{"segment-size", false, func(s st) string { return a.size(natural(s.Pool.SegmentBytes)) }})
}
