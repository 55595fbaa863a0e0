package main

import (
	"encoding/json"
	"strings"
	"time"

	"varve/internal/fail"
)

// How much of an endless table is held back to be aligned, and how long.
const (
	batchRows = 1000
	batchTime = 200 * time.Millisecond
)

// rows is a table whose rows come one by one, and may be more than memory
// holds: they are aligned in batches, and a column never becomes narrower. With
// --json each row is a line.
type rows[T any] struct {
	a      *app
	cols   []column[T]
	widths []int
	cells  [][]string
	text   strings.Builder
	began  time.Time // of the batch
	some   bool      // there was a row
}

// newRows begins a table with the columns that -o names or else those in usual.
func newRows[T any](a *app, all []column[T], usual []string) (*rows[T], error) {
	cols, err := choose(a, all, usual)
	if err != nil {
		return nil, err
	}
	r := &rows[T]{a: a, cols: cols, widths: make([]int, len(cols)), began: time.Now()}
	if !a.noHeader && !a.json {
		r.cells = append(r.cells, titles(cols))
	}
	return r, nil
}

// untitled leaves the titles out.
func (r *rows[T]) untitled() { r.cells = nil }

// add takes a row, and writes the batch when it is full or old.
func (r *rows[T]) add(v T) error {
	r.some = true
	if r.a.json {
		e := json.NewEncoder(&r.text)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			return fail.Wrap(fail.Other, err, "JSON")
		}
	} else {
		r.cells = append(r.cells, cellsOf(r.cols, v))
	}
	if len(r.cells) < batchRows && r.text.Len() < 100*batchRows && time.Since(r.began) < batchTime {
		return nil
	}
	return r.flush()
}

func (r *rows[T]) flush() error {
	r.a.lines(&r.text, r.cells, r.widths, rights(r.cols))
	err := r.a.write(r.text.String())
	r.cells, r.began = r.cells[:0], time.Now()
	r.text.Reset()
	return err
}

// end writes what is left, and passes on the error with which the rows ended.
// What failed at once is no empty table.
func (r *rows[T]) end(err error) error {
	if err != nil && !r.some {
		return err
	}
	if e := r.flush(); err == nil {
		err = e
	}
	return err
}
