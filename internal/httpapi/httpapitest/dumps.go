package httpapitest

import (
	"context"

	"varve/internal/chain"
	"varve/internal/engine"
	"varve/internal/fail"
)

// Dumps are those of a pool without datasets: what archives look like is for
// tests with an engine.
type Dumps struct{}

func missing(dataset string) error { return fail.New(fail.NotFound, "no dataset %s", dataset) }

// List implements httpapi.Dumps.
func (Dumps) List(dataset string) ([]chain.Record, error) {
	if dataset == "" {
		return nil, nil
	}
	return nil, missing(dataset)
}

// Begin implements httpapi.Dumps.
func (Dumps) Begin(_ context.Context, _ engine.Caller, dataset string, _ chain.Request) (*chain.Job, error) {
	return nil, missing(dataset)
}

// Keep implements httpapi.Dumps.
func (Dumps) Keep(_ engine.Caller, dataset, _ string) (chain.Kept, error) {
	return chain.Kept{}, missing(dataset)
}

// Discard implements httpapi.Dumps.
func (Dumps) Discard(_ engine.Caller, dataset, _ string) (engine.Done, error) {
	return engine.Done{}, missing(dataset)
}
