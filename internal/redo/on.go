package redo

import (
	"context"

	"varve/internal/engine"
)

// On is an engine whose operations can be repeated.
type On struct{ *engine.Engine }

// Undo is the function Undo.
func (on On) Undo(ctx context.Context, c engine.Caller, dataset string, o UndoOptions) (*Report, error) {
	return Undo(ctx, on.Engine, c, dataset, o)
}

// From is the function From.
func (on On) From(ctx context.Context, c engine.Caller, dataset string, o FromOptions) (*Report, error) {
	return From(ctx, on.Engine, c, dataset, o)
}

// Replay is the function Replay.
func (on On) Replay(ctx context.Context, c engine.Caller, dataset string, o ReplayOptions) (*Report, error) {
	return Replay(ctx, on.Engine, c, dataset, o)
}
