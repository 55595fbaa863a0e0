package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"varve/internal/httpapi"
	"varve/test/daemon"
)

// part is one group of promises about size, and how they are checked.
type part struct {
	name string
	run  func(context.Context, *stage) error
}

var parts = []part{
	{"crowd", crowd},
	{"list", listing},
	{"mapped", mapped},
	{"log-1s", func(ctx context.Context, st *stage) error {
		return logged(ctx, st, "1 s", "--checkpoint-interval", "1s")
	}},
	{"log-default", func(ctx context.Context, st *stage) error { return logged(ctx, st, "default") }},
}

// claim is a promise and what was measured of it.
type claim struct {
	what  string
	least bool // the limit is a lower bound, not an upper one
	limit float64
	got   float64
	unit  string
}

func (c claim) kept() bool {
	if c.least {
		return c.got >= c.limit
	}
	return c.got <= c.limit
}

// stage is what a part works with: its directory, its servers, and what it
// found.
type stage struct {
	options
	percent int64 // of the full size
	bin     string
	servers []*server
	claims  []claim
	notes   []string
}

// scale checks what varve promises about size.
func scale(ctx context.Context, args []string) error {
	c := newCommand("scale", ", with 60 GiB free").withRounds(5, "times that pools are compared").withSeconds(4).withOnly("run the parts whose name matches")
	percent := c.Int64("percent", 100, "of the full size, to try it out: verdicts hold for 100 alone")
	if err := c.Parse(args); err != nil {
		return err
	}
	if *percent < 1 || *percent > 100 {
		return errors.New("-percent is from 1 to 100")
	}
	if err := provide(need{"fio", "fio"}, need{"qemu-io", "qemu-utils"}); err != nil {
		return err
	}
	return c.check(ctx, 45<<30**percent/100, *percent, parts...)
}

// check runs parts, those that -only names, and prints what came of the claims.
func (c *command) check(ctx context.Context, need, percent int64, parts ...part) error {
	leave, err := c.home(need)
	if err != nil {
		return err
	}
	defer leave()
	st := &stage{options: c.options, percent: percent}
	if st.bin, err = daemon.Build(c.dir); err != nil {
		return err
	}
	for _, p := range parts {
		if !c.only.MatchString(p.name) {
			continue
		}
		st.dir = filepath.Join(c.dir, p.name)
		if err := st.run(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	printClaims(os.Stdout, st.claims, st.notes)
	return nil
}

// run runs one part in a directory that it leaves as it was.
func (st *stage) run(ctx context.Context, p part) (err error) {
	if err := os.Mkdir(st.dir, 0o700); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, stopAll(st.servers), os.RemoveAll(st.dir))
		st.servers = nil
	}()
	return p.run(ctx, st)
}

// serve serves a new pool of that name until the part ends.
func (st *stage) serve(name string, size int64, args ...string) (*server, error) {
	s, err := servePool(st.bin, filepath.Join(st.dir, name), size, args...)
	if err != nil {
		return nil, err
	}
	s.name = name
	st.servers = append(st.servers, s)
	return s, nil
}

func (s *server) client() *httpapi.Client { return httpapi.NewClient(s.pool.Dir) }

// of returns the percentage that was asked for of a full size.
func (st *stage) of(full int64) int64 { return max(1, full*st.percent/100) }

func (st *stage) claim(least bool, limit, got float64, unit, format string, args ...any) {
	st.claims = append(st.claims, claim{fmt.Sprintf(format, args...), least, limit, got, unit})
}

// note keeps a line for the report, and prints it at once.
func (st *stage) note(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	fmt.Fprintln(os.Stderr, line)
	st.notes = append(st.notes, line)
}

func printClaims(out io.Writer, claims []claim, notes []string) {
	fmt.Fprintln(out)
	for _, n := range notes {
		fmt.Fprintln(out, n)
	}
	fmt.Fprintln(out)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TARGET\tLIMIT\tMEASURED\t")
	for _, c := range claims {
		bound, verdict := "at most", "met"
		if c.least {
			bound = "at least"
		}
		if !c.kept() {
			verdict = "MISSED"
		}
		fmt.Fprintf(t, "%s\t%s %g%s\t%.2f%s\t%s\n", c.what, bound, c.limit, c.unit, c.got, c.unit, verdict)
	}
	t.Flush()
}

func middle[T int | float64 | time.Duration](list []T) T {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}
