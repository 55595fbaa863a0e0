package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"varve/internal/fail"
	"varve/internal/files"
	"varve/internal/restore"
)

// dumpProgress is how far an archive is: an event of --json.
type dumpProgress struct {
	Type    string  `json:"message_type"` // progress
	Bytes   uint64  `json:"bytes"`        // written so far
	Total   uint64  `json:"total"`        // of the whole archive
	Exact   bool    `json:"exact"`        // else total is an estimate
	Seconds float64 `json:"seconds"`      // since the first byte
	Left    float64 `json:"left"`         // seconds, at the rate so far
}

// The least time between two lines about progress.
const (
	progressShown  = 200 * time.Millisecond // on a terminal
	progressEvents = time.Second            // in --json
)

// clearLine moves to the beginning of a terminal's line and clears it.
const clearLine = "\r\x1b[K"

// showProgress shows a line about progress in place of the one before, on a terminal
// and without --json. progressEnd makes room for what else is said. One goroutine at
// a time.
func (a *app) showProgress(format string, args ...any) {
	if isTerminal(a.err) && !a.json {
		fmt.Fprintf(a.err, clearLine+format, args...)
		a.progressing = true
	}
}

func (a *app) progressEnd() {
	if a.progressing {
		fmt.Fprint(a.err, clearLine)
		a.progressing = false
	}
}

// progress draws a bar.
func (a *app) progress(done, total uint64) {
	const width = 40
	if total == 0 {
		return
	}
	full := int(width * (float64(min(done, total)) / float64(total)))
	a.showProgress("[%-*s] %3d %%", width, strings.Repeat("#", full), 100*full/width)
}

// followCopy shows how far a copy of files is. Of one that ctx interrupts it says what
// was done at least, for that stays, and the hint.
func (a *app) followCopy(ctx context.Context, hint string, run func(tell func(files.Progress)) (files.Copied, error)) (files.Copied, error) {
	var last files.Progress
	d, err := run(func(p files.Progress) {
		last = p
		a.showProgress("%s, %s", plural(p.Files, "file"), a.amount(p.Bytes))
	})
	a.progressEnd()
	if err != nil && ctx.Err() != nil {
		e := &fail.Error{Kind: fail.Canceled, Err: err, Hint: hint}
		if last != (files.Progress{}) {
			e.Msg = fmt.Sprintf("after %s or more in %s", a.amount(last.Bytes), plural(last.Files, "whole file"))
		}
		err = e
	}
	return d, err
}

// progressEvery returns the least time between two lines about progress; 0 where nobody
// looks.
func (a *app) progressEvery() time.Duration {
	switch {
	case a.json:
		return progressEvents
	case isTerminal(a.err):
		return progressShown
	}
	return 0
}

// meter tells how far an archive is: on a terminal, or as events of --json.
type meter struct {
	w     io.Writer
	a     *app
	every time.Duration // 0: nobody looks
	total uint64
	exact bool
	done  uint64
	start time.Time
	last  time.Time
	err   error // of w
}

func (a *app) meter(f *archiveFile, total uint64, exact bool) *meter {
	now := time.Now()
	m := &meter{w: f.w, a: a, every: a.progressEvery(), total: total, exact: exact, start: now}
	if a.json {
		m.last = now
	}
	return m
}

// Write implements io.Writer.
func (m *meter) Write(p []byte) (int, error) {
	n, err := m.w.Write(p)
	m.done += uint64(n)
	if m.err == nil {
		m.err = err
	}
	if m.every != 0 {
		if now := time.Now(); now.Sub(m.last) >= m.every {
			m.last = now
			m.tell(now)
		}
	}
	return n, err
}

func (m *meter) tell(now time.Time) {
	p := m.progress(now.Sub(m.start))
	if m.a.json {
		m.a.writeJSON(p)
		return
	}
	m.a.showProgress("%s", m.line(p))
}

// progress is how far it is after a time.
func (m *meter) progress(took time.Duration) dumpProgress {
	p := dumpProgress{Type: "progress", Bytes: m.done, Total: max(m.total, m.done), Exact: m.exact, Seconds: took.Seconds()}
	p.Left = timeLeft(p.Bytes, p.Total, took)
	return p
}

// timeLeft returns how many seconds something takes on, of which so much of the whole
// took a time.
func timeLeft(done, total uint64, took time.Duration) float64 {
	if done == 0 || total <= done {
		return 0
	}
	return took.Seconds() * float64(total-done) / float64(done)
}

func (m *meter) line(p dumpProgress) string {
	about := ""
	if !p.Exact {
		about = "about "
	}
	rate := uint64(float64(p.Bytes) / max(p.Seconds, 0.001))
	return fmt.Sprintf("%3d %%  %s of %s%s  %s/s  %s%s left", 100*p.Bytes/max(p.Total, 1), m.a.size(p.Bytes), about, m.a.size(p.Total), m.a.size(rate), about, seconds(p.Left))
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Second)
}

// end tells of the whole where nothing failed, and makes room for what else is said.
func (m *meter) end(err error) {
	switch {
	case m.every == 0:
	case !m.a.json:
		m.a.progressEnd()
	case err == nil:
		m.total, m.exact = m.done, true
		m.tell(time.Now())
	}
}

// archiveMeter counts what is read of the volumes of an archive, by any goroutine.
type archiveMeter struct {
	total uint64 // bytes of all of them; 0 if nobody knows
	read  atomic.Uint64
}

// count returns volumes whose bytes are counted.
func (m *archiveMeter) count(v restore.Volumes) restore.Volumes {
	return func(n int) (restore.Volume, error) {
		volume, err := v(n)
		if err == nil {
			volume.ReadCloser = countedVolume{volume.ReadCloser, m}
		}
		return volume, err
	}
}

type countedVolume struct {
	io.ReadCloser
	m *archiveMeter
}

// Read implements io.Reader.
func (c countedVolume) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.m.read.Add(uint64(n))
	return n, err
}

// sizeOfFiles adds up files, or returns 0 if one of them has no size.
func sizeOfFiles(names []string) (total uint64) {
	for _, name := range names {
		i, err := os.Stat(name)
		if err != nil || !i.Mode().IsRegular() || name == "-" { // that is stdin
			return 0
		}
		total += uint64(i.Size())
	}
	return total
}
