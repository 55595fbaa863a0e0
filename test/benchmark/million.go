package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// million compares what a file costs that is created in a directory of a
// thousand with one that is created in a directory of a million, in pools that
// hold nothing else, and watches the memory.
func (n *nfs) million(ctx context.Context, files int) (claims []claim, notes []string, err error) {
	const turns, each = 9, 1000
	var servers []*server
	defer func() {
		err = errors.Join(err, stopAll(servers))
	}()
	for _, name := range []string{"few", "lots"} {
		s, err := n.startVarve(ctx, filepath.Join(n.dir, name))
		if err != nil {
			return nil, nil, err
		}
		servers = append(servers, s)
	}
	few, lots := servers[0], servers[1]
	start := files - turns*each/2 // the last turns are around it
	const step = 100_000
	for have := 0; have < start; have = min(have+step, start) {
		got, err := n.call(ctx, lots, "create", "/lots", strconv.Itoa(have), strconv.Itoa(min(step, start-have)))
		if err != nil {
			return nil, nil, err
		}
		top, _, err := lots.memory()
		if err != nil {
			return nil, nil, err
		}
		note := fmt.Sprintf("million: %.0f files a second after %d files; at most %.0f MiB resident", got.perSecond, have, top)
		fmt.Fprintln(os.Stderr, note)
		notes = append(notes, note)
	}
	var costs [2][]float64
	for turn := range turns {
		dir := fmt.Sprintf("/few%d", turn)
		if _, err := n.call(ctx, few, "create", dir, "0", strconv.Itoa(each/2)); err != nil {
			return nil, nil, err
		}
		for i, args := range [][]string{{dir, strconv.Itoa(each / 2)}, {"/lots", strconv.Itoa(start + turn*each)}} {
			if err := settle(); err != nil {
				return nil, nil, err
			}
			got, err := n.call(ctx, servers[i], "create", args[0], args[1], strconv.Itoa(each))
			if err != nil {
				return nil, nil, err
			}
			costs[i] = append(costs[i], 1e6/got.perSecond)
			fmt.Fprintf(os.Stderr, "turn %d  %-6s %.1f us for a file\n", turn+1, args[0], 1e6/got.perSecond)
		}
	}
	top, now, err := lots.memory()
	if err != nil {
		return nil, nil, err
	}
	notes = append(notes, fmt.Sprintf("million: a file costs %.1f us at the %dth, %.1f us at the %dth; resident at the end %.0f MiB",
		middle(costs[0]), each, middle(costs[1]), files, now))
	return []claim{
		{fmt.Sprintf("cost of creating the %dth file / the %dth", files, each), false, 1.5, middle(costs[1]) / middle(costs[0]), ""},
		{fmt.Sprintf("resident memory with %d files", files), false, 400, top, " MiB"},
	}, notes, nil
}
