package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/files"
	"varve/internal/when"
)

func (a *app) diff() *cobra.Command {
	return &cobra.Command{
		Use:   "diff DATASET@A[..@B][:/path]",
		Short: "Show what changed between two moments",
		Long: `Show in what moment B differs from moment A, or the present from A. What it costs
depends on how much changed, not on how much there is.

Of a share, the files, by path; with a path only those below it. A line is

  + /new             it was not there: made, or linked
  - /gone            it is not there any more
  M /changed         its bytes changed, or another file took its place
  R /old -> /new     it has another name
  A /attributes      its mode, owner, times or extended attributes changed

A directory ends with a slash. With -H there are tabs between the letter, the path
and the old path. Columns for -o: change, path, from, type, ino.

Of a volume, the ranges. A range is data or, where B has nothing, a hole. Columns
for -o: offset, length, type. OFFSET is in bytes.`,
		Example: `  varve diff home@monday..@tuesday
  varve diff home@10m-ago:/projects -H | awk '$1 == "-" {print $2}'
  varve diff disk0@10m-ago
  varve diff disk0@monday -H -p | awk '{n += $2} END {print n}'
  varve diff disk0@monday --json | jq -c select(.hole)`,
		Args:              need("DATASET@A[..@B][:/path]"),
		ValidArgsFunction: a.completeArgs(a.ranges),
		RunE: func(c *cobra.Command, args []string) error {
			dataset, from, to, path, err := parseRange(args[0])
			if err != nil {
				return err
			}
			d, err := a.client().Dataset(c.Context(), dataset)
			switch {
			case err != nil:
				return err
			case d.Kind == "share":
				return a.diffFiles(c.Context(), dataset, path, from, to)
			case path != "":
				return fail.New(fail.Invalid, "%s is a volume: it has no paths", dataset).WithHint("leave %s away", path)
			}
			return a.diffBlocks(c.Context(), dataset, from, to)
		},
	}
}

func (a *app) diffBlocks(ctx context.Context, dataset string, from, to when.Spec) error {
	out, err := newRows(a, a.changeColumns(), nil)
	if err != nil {
		return err
	}
	var data, holes, count uint64
	moments, err := a.client().Diff(ctx, dataset, from, to, func(ch engine.Change) error {
		count++
		if ch.Hole {
			holes += ch.Len
		} else {
			data += ch.Len
		}
		return out.add(ch)
	})
	if err = out.end(err); err != nil {
		return err
	}
	a.echoAll(moments)
	a.say("%d ranges of %s differ: %s of data, %s that are holes now", count, dataset, a.size(data), a.size(holes))
	return nil
}

func (a *app) changeColumns() []column[engine.Change] {
	return []column[engine.Change]{
		{"offset", true, func(c engine.Change) string { return strconv.FormatUint(c.Off, 10) }},
		{"length", true, func(c engine.Change) string { return a.size(c.Len) }},
		{"type", false, func(c engine.Change) string {
			if c.Hole {
				return "hole"
			}
			return "data"
		}},
	}
}

// differenceLetters stand for the kinds of difference.
var differenceLetters = map[string]string{
	files.Created: "+", files.Removed: "-", files.Modified: "M", files.Renamed: "R", files.Changed: "A",
}

func (a *app) diffFiles(ctx context.Context, share, path string, from, to when.Spec) error {
	if path == "" {
		path = "/"
	}
	out, err := newRows(a, differenceColumns(), nil)
	if err != nil {
		return err
	}
	add := out.add
	if !a.json && len(a.columns) == 0 {
		out.untitled()
		add = a.writeDifference
	}
	count := make(map[string]int)
	moments, err := a.client().DiffFiles(ctx, share, path, from, to, func(d files.Difference) error {
		count[d.What]++
		return add(d)
	})
	if err = out.end(err); err != nil {
		return err
	}
	a.echoAll(moments)
	a.say("%s: %d created, %d removed, %d modified, %d renamed, %d with other attributes", share,
		count[files.Created], count[files.Removed], count[files.Modified], count[files.Renamed], count[files.Changed])
	return nil
}

// writeDifference writes one line as diff tools do, or with -H with tabs.
func (a *app) writeDifference(d files.Difference) error {
	letter, path, from := differenceLetters[d.What], shownPath(d, d.Path), shownPath(d, d.From)
	switch {
	case a.noHeader && from != "":
		return a.write(letter + "\t" + path + "\t" + from + "\n")
	case a.noHeader:
		return a.write(letter + "\t" + path + "\n")
	case from != "":
		return a.write(letter + " " + from + " -> " + path + "\n")
	}
	return a.write(letter + " " + path + "\n")
}

func shownPath(d files.Difference, p files.Text) string {
	if d.Type == "dir" && p != "/" && p != "" {
		p += "/"
	}
	return p.String()
}

func differenceColumns() []column[files.Difference] {
	type dif = files.Difference
	return []column[dif]{
		{"change", false, func(d dif) string { return d.What }},
		{"path", false, func(d dif) string { return d.Path.String() }},
		{"from", false, func(d dif) string { return d.From.String() }},
		{"type", false, func(d dif) string { return d.Type }},
		{"ino", true, func(d dif) string { return number(d.Ino) }},
	}
}
