package main

import (
	"context"
	"time"

	"varve/internal/fail"
	"varve/internal/when"
)

// expiryFlag is a flag that says when a snapshot goes by itself: "30d",
// "2027-01-01", "never".
type expiryFlag struct{ when.Expiry }

func (e *expiryFlag) String() string { return e.Expiry.String() }
func (e *expiryFlag) Type() string   { return "time" }

func (e *expiryFlag) Set(v string) (err error) {
	e.Expiry, err = when.ParseExpiry(v, time.Local)
	return err
}

// setSnapshot sets what snapshots have: expires.
func (a *app) setSnapshot(ctx context.Context, address, key, value string) error {
	dataset, name, err := parseSnapshot(address)
	switch {
	case err != nil:
		return err
	case key != "expires":
		return fail.New(fail.Invalid, "a snapshot has no property %q to set", key).WithHint("there is expires")
	case value == "":
		value = "never"
	}
	e, err := when.ParseExpiry(value, time.Local)
	if err != nil {
		return err
	}
	d, err := a.client().Expire(ctx, dataset, name, e)
	if err != nil {
		return err
	}
	switch {
	case e.After > 0:
		value = "expires in " + value
	case !e.At.IsZero():
		value = "expires at " + a.time(e.At)
	default:
		value = "never expires"
	}
	return a.done(d, "%s@%s %s, from lsn %d", dataset, name, value, d.LSN)
}
