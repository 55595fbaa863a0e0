package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"varve/internal/engine"
)

func (a *app) clock() *cobra.Command {
	c := &cobra.Command{
		Use:   "clock",
		Short: "Show what the pool thinks of the machine's clock",
		Long: `Show the time of the pool, that of the machine, and whether they agree.

The pool's time never goes back. When the machine's clock jumps, the pool goes by
the time that has really passed, so that no snapshot expires by mistake, until the
clock is right again or "varve clock confirm" says that it is right as it is. The
age of history is always the time that has really passed.

Columns for -o: pool, machine, jump, suspect.`,
		Example: `  varve clock
  varve clock -H -o suspect`,
		Args: need(),
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.client().Status(c.Context())
			if err != nil {
				return err
			}
			if a.json {
				return a.writeJSON(s.Pool.Clock)
			}
			return properties(a, a.clockColumns(), s.Pool.Clock)
		},
	}
	c.AddCommand(a.clockConfirm())
	return c
}

func (a *app) clockColumns() []column[engine.ClockInfo] {
	type clock = engine.ClockInfo
	return []column[clock]{
		{"pool", false, func(c clock) string { return a.time(c.Pool) }},
		{"machine", false, func(c clock) string { return a.time(c.Pool.Add(c.Jump)) }},
		{"jump", false, func(c clock) string {
			if !c.Suspect {
				return ""
			}
			return c.Jump.Round(time.Second).String()
		}},
		{"suspect", false, func(c clock) string {
			if c.Suspect {
				return "yes"
			}
			return "no"
		}},
	}
}

func (a *app) clockConfirm() *cobra.Command {
	return &cobra.Command{
		Use:   "confirm",
		Short: "Accept the machine's clock after it jumped",
		Long: `Accept the machine's clock after it jumped: it is right, and the pool goes by it
from now on. If it is ahead of the pool, snapshots that expire in between go then:
so this asks first.`,
		Example: `  varve clock confirm
  varve clock confirm --yes --json | jq .lsn`,
		Args: need(),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := a.confirmClock(c.Context()); err != nil {
				return err
			}
			d, err := a.client().ConfirmClock(c.Context())
			if err != nil {
				return err
			}
			return a.done(d, "the machine's clock is trusted, from lsn %d", d.LSN)
		},
	}
}

// confirmClock asks where something may expire by what is confirmed.
func (a *app) confirmClock(ctx context.Context) error {
	s, err := a.client().Status(ctx)
	if err != nil {
		return err
	}
	k := s.Pool.Clock
	if !k.Suspect || k.Jump <= 0 {
		return nil
	}
	return a.confirm(ctx, nil, func() (string, error) {
		return fmt.Sprintf("Is it %s? The pool counts %s; snapshots that expire in between go then.",
			a.time(k.Pool.Add(k.Jump)), a.time(k.Pool)), nil
	})
}
