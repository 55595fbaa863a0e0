package main

import (
	"varve/internal/engine"
	"varve/internal/fail"
)

// openEngine recovers a pool. Loss is accepted only where the pool cannot be
// opened without, and is told whatever the level of the log is.
func openEngine(o engine.Options, acceptLoss bool) (*engine.Engine, error) {
	e, err := engine.Open(o)
	if !acceptLoss || !fail.Is(err, fail.Corrupt) {
		return e, err
	}
	o.Logger.Error("the pool is damaged", "error", err)
	o.AcceptLoss = true
	if e, err = engine.Open(o); err == nil {
		o.Logger.Error("data was given up, as --accept-loss demands", "lost", e.Status().Recovery.Discarded)
	}
	return e, err
}
