package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
)

// column is a column of a table, and a property of a single thing. A value
// of "" means that it does not apply.
type column[T any] struct {
	name  string
	right bool // numbers
	value func(T) string
}

// table writes rows, with the columns that -o names or else those in usual.
func table[T any](a *app, all []column[T], usual []string, rows []T) error {
	cols, err := choose(a, all, usual)
	if err != nil {
		return err
	}
	cells := [][]string{}
	if !a.noHeader {
		cells = append(cells, titles(cols))
	}
	for _, r := range rows {
		cells = append(cells, cellsOf(cols, r))
	}
	return a.cells(cells, rights(cols))
}

// cellsOf shows a row; "-" is a value that does not apply.
func cellsOf[T any](cols []column[T], row T) []string {
	cells := make([]string, len(cols))
	for i, c := range cols {
		if cells[i] = c.value(row); cells[i] == "" {
			cells[i] = "-"
		}
	}
	return cells
}

func rights[T any](cols []column[T]) []bool {
	right := make([]bool, len(cols))
	for i, c := range cols {
		right[i] = c.right
	}
	return right
}

// properties writes one thing, a line for each property: those that -o names,
// or all that apply.
func properties[T any](a *app, all []column[T], thing T) error {
	cols, err := choose(a, all, nil)
	if err != nil {
		return err
	}
	cells := [][]string{}
	for _, c := range cols {
		v := c.value(thing)
		if v == "" && len(a.columns) == 0 {
			continue
		}
		if v == "" {
			v = "-"
		}
		cells = append(cells, []string{c.name, v})
	}
	return a.cells(cells, []bool{false, false})
}

// choose picks columns by name: what -o says, else usual, else all.
func choose[T any](a *app, all []column[T], usual []string) ([]column[T], error) {
	names := a.columns
	if len(names) == 0 {
		names = usual
	}
	if len(names) == 0 {
		return all, nil
	}
	var cols []column[T]
	for _, name := range names {
		i := slices.IndexFunc(all, func(c column[T]) bool { return c.name == name })
		if i < 0 {
			return nil, fail.New(fail.Invalid, "there is no column %q", name).
				WithHint("there are %s", strings.ToLower(strings.Join(titles(all), ", ")))
		}
		cols = append(cols, all[i])
	}
	return cols, nil
}

func titles[T any](cols []column[T]) []string {
	t := make([]string, len(cols))
	for i, c := range cols {
		t[i] = strings.ToUpper(c.name)
	}
	return t
}

// cells writes lines of cells: aligned, or with -H between tabs.
func (a *app) cells(lines [][]string, right []bool) error {
	var b strings.Builder
	a.lines(&b, lines, make([]int, len(right)), right)
	return a.write(b.String())
}

// lines formats lines of cells, for which it widens the columns as they need.
func (a *app) lines(b *strings.Builder, lines [][]string, widths []int, right []bool) {
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for _, line := range lines {
		if a.noHeader {
			b.WriteString(strings.Join(line, "\t"))
		} else {
			b.WriteString(align(line, widths, right))
		}
		b.WriteByte('\n')
	}
}

func align(line []string, widths []int, right []bool) string {
	var b strings.Builder
	for i, cell := range line {
		if i > 0 {
			b.WriteString("  ")
		}
		pad := strings.Repeat(" ", widths[i]-len(cell))
		if right[i] {
			b.WriteString(pad + cell)
		} else {
			b.WriteString(cell + pad)
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// write puts data on stdout. That it could not be written is a failure: a
// script must not take half a list for a whole one.
func (a *app) write(s string) error {
	if _, err := io.WriteString(a.out, s); err != nil {
		return fail.Wrap(fail.IO, err, "stdout")
	}
	return nil
}

func (a *app) writeJSON(v any) error {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fail.Wrap(fail.Other, err, "JSON")
	}
	return a.write(b.String())
}

// say tells a person something that is no data.
func (a *app) say(format string, args ...any) { fmt.Fprintf(a.err, format+"\n", args...) }

// echo says what a WHEN was resolved to.
func (a *app) echo(m *engine.Moment) {
	if m != nil {
		a.say("%s = %s, lsn %d", a.localTimes(m.Spec), a.time(m.Time), m.LSN)
	}
}

func (a *app) echoAll(moments []engine.Moment) {
	for i := range moments {
		a.echo(&moments[i])
	}
}

// done answers a change: in words, or with --json as data with its LSN.
func (a *app) done(d engine.Done, format string, args ...any) error {
	a.echo(d.Moment)
	if a.json {
		return a.writeJSON(d)
	}
	a.say(format, args...)
	return nil
}

// size shows bytes.
func (a *app) size(n uint64) string {
	if a.exact {
		return strconv.FormatUint(n, 10)
	}
	return formatSize(n)
}

// time shows a time in this command's zone, as it can be given back as WHEN.
func (a *app) time(t time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case a.exact:
		return t.UTC().Format(time.RFC3339Nano)
	}
	return t.Local().Format(time.RFC3339)
}

// number shows a count for which zero means that there is nothing to tell.
func number(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}
