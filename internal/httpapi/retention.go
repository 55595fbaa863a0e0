package httpapi

import (
	"context"
	"net/http"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/when"
)

// CleanMessage is one line of the answer to POST /v1/clean. The last one is a
// report or an error.
type CleanMessage struct {
	Type   string              `json:"message_type" enum:"progress,report,error"`
	Done   int64               `json:"done,omitempty" doc:"In the unit of total"`
	Total  int64               `json:"total,omitempty"`
	Report *engine.CleanReport `json:"report,omitempty"`
	Error  *Problem            `json:"error,omitempty"`
}

// Reclaimable is how much something would give back.
type Reclaimable struct {
	Bytes int64 `json:"bytes" doc:"Of payload"`
}

// PruneBody says what to forget.
type PruneBody struct {
	Before string `json:"before,omitempty" example:"@7d-ago" doc:"Forget the history before this moment too; empty: only what the properties history and keep no longer ask for"`
	DryRun bool   `json:"dry_run,omitempty" doc:"Change nothing, and say what would go"`
}

func (b PruneBody) options() (engine.PruneOptions, error) {
	w, err := optional(b.Before)
	return engine.PruneOptions{Before: w, DryRun: b.DryRun}, err
}

func (s *Server) retention() {
	prune := func(ctx context.Context, dataset string, b PruneBody) ([]engine.PruneReport, error) {
		o, err := b.options()
		if err != nil {
			return nil, err
		}
		list, err := s.pool.Prune(callerFrom(ctx), dataset, o)
		return orEmpty(list), err
	}
	add(s, "POST", "/v1/prune", "prune-all", "Forget history of all datasets",
		func(ctx context.Context, in *struct{ Body PruneBody }) ([]engine.PruneReport, error) {
			return prune(ctx, "", in.Body)
		})
	add(s, "POST", "/v1/datasets/{name}/prune", "prune", "Forget history of a dataset",
		func(ctx context.Context, in *struct {
			ByName
			Body PruneBody
		}) ([]engine.PruneReport, error) {
			return prune(ctx, in.Name, in.Body)
		})
	addQuery(s, "POST", "/v1/datasets/{name}/reclaimable", "reclaimable", "What destroying snapshots, all together, would give back",
		func(_ context.Context, in *struct {
			ByName
			Body struct {
				Snapshots []string `json:"snapshots" minItems:"1"`
			}
		}) (Reclaimable, error) {
			n, err := s.pool.Reclaimable(in.Name, in.Body.Snapshots)
			return Reclaimable{n}, err
		})
	add(s, "PATCH", "/v1/datasets/{name}/snapshots/{snapshot}", "set-snapshot", "Say when a snapshot goes by itself",
		func(ctx context.Context, in *struct {
			BySnapshot
			Body struct {
				Expires string `json:"expires" example:"30d" doc:"never, an age from now on, or a time; one without a zone is in the server's"`
			}
		}) (engine.Done, error) {
			at, err := s.expiry(in.Body.Expires)
			if err != nil {
				return engine.Done{}, err
			}
			return s.pool.Expire(callerFrom(ctx), in.Name, in.Snapshot, at)
		})
	add(s, "POST", "/v1/clock/confirm", "confirm-clock", "Accept the machine's clock after it jumped",
		func(ctx context.Context, _ *none) (engine.Done, error) {
			return s.pool.ConfirmClock(callerFrom(ctx))
		})
	addStream(s, http.MethodPost, "/v1/clean", "clean", "Give dead space back to the file system at once",
		func(ctx context.Context, in *none, send func(CleanMessage)) (CleanMessage, error) {
			report, err := s.pool.Clean(ctx, seldom(func(done, total int64) {
				send(CleanMessage{Type: "progress", Done: done, Total: total})
			}))
			s.logChange(ctx, "clean", *in, err)
			return CleanMessage{Type: "report", Report: &report}, err
		})
}

// expiry reads when a snapshot goes by itself, by the pool's time: the
// machine's clock may have jumped. The zero time is never.
func (s *Server) expiry(text string) (time.Time, error) {
	e, err := when.ParseExpiry(text, time.Local)
	if err != nil {
		return time.Time{}, err
	}
	at, err := e.From(s.pool.Status().Clock.Pool)
	if fail.Is(err, fail.Invalid) {
		err = fail.New(fail.Invalid, "a snapshot cannot expire at %s, which is past", e).WithHint("varve destroy X@NAME destroys one now")
	}
	return at, err
}
