package httpapi

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/redo"
	"varve/internal/when"
)

// Redo repeats operations of the log. A report may come with an error too.
type Redo interface {
	Undo(ctx context.Context, c engine.Caller, dataset string, o redo.UndoOptions) (*redo.Report, error)
	Replay(ctx context.Context, c engine.Caller, dataset string, o redo.ReplayOptions) (*redo.Report, error)
	From(ctx context.Context, c engine.Caller, dataset string, o redo.FromOptions) (*redo.Report, error)
}

// RedoMessage is one line of the answer to an undo or a replay. The last one is a
// report or an error; before that may be the report of what was refused.
type RedoMessage struct {
	Type     string        `json:"message_type" enum:"progress,refused,report,error"`
	Progress *redo.Advance `json:"progress,omitempty"`
	Report   *redo.Report  `json:"report,omitempty"`
	Error    *Problem      `json:"error,omitempty"`
}

// HowBody is exported because huma fills no others that are embedded.
type HowBody struct {
	OnConflict string `json:"on_conflict,omitempty" doc:"rename-aside unless given; skip, cascade, keep-newer, abort"`
	Taint      string `json:"taint,omitempty" doc:"path or client: also leave out what later changed the same"`
	DryRun     bool   `json:"dry_run,omitempty"`
}

func (b *HowBody) options() (redo.Options, error) {
	o := redo.Options{OnConflict: redo.Policy(b.OnConflict), Taint: redo.Taint(b.Taint), DryRun: b.DryRun}
	if b.OnConflict != "" && !slices.Contains(redo.Policies, b.OnConflict) {
		return o, fail.New(fail.Invalid, "%.40q is nothing to do on a conflict", b.OnConflict).WithHint("there are %s", strings.Join(redo.Policies, ", "))
	}
	if o.Taint != redo.NoTaint && o.Taint != redo.ByPath && o.Taint != redo.ByClients {
		return o, fail.New(fail.Invalid, "%.40q is no taint", b.Taint).WithHint("there are path and client")
	}
	return o, nil
}

func (s *Server) redos() {
	type undoInput struct {
		ByName
		Body struct {
			HowBody
			Since  string `json:"since" example:"@10m-ago"`
			Until  string `json:"until,omitempty" doc:"A WHEN; empty for the present"`
			Filter string `json:"filter,omitempty" doc:"Which operations; empty for all" example:"client=192.168.1.7,path=/projects/**"`
			Force  bool   `json:"force,omitempty" doc:"Disconnect writers of a volume first"`
		}
	}
	addRedo(s, "/v1/datasets/{name}/undo", "undo", "Make the head what it would be without some operations; one operation, which can be undone",
		func(ctx context.Context, in *undoInput, tell func(redo.Advance)) (*redo.Report, error) {
			o := redo.UndoOptions{Force: in.Body.Force}
			var err error
			if o.Options, err = in.Body.options(); err != nil {
				return nil, err
			}
			if o.Since, err = when.Parse(in.Body.Since, time.Local); err != nil {
				return nil, err
			}
			if o.Until, err = optional(in.Body.Until); err != nil {
				return nil, err
			}
			if o.Match, err = filterOf(in.Body.Filter); err != nil {
				return nil, err
			}
			o.Tell = tell
			return s.redo.Undo(ctx, callerFrom(ctx), in.Name, o)
		})
	type replayInput struct {
		ByName
		Body struct {
			HowBody
			From    string `json:"from" example:"@10m-ago"`
			To      string `json:"to,omitempty" doc:"A WHEN; empty for the present"`
			Only    string `json:"only,omitempty" doc:"A filter: which operations are repeated; empty for all"`
			Exclude string `json:"exclude,omitempty" doc:"A filter: which are not" example:"client=192.168.1.7"`
			Name    string `json:"name" doc:"Of the new dataset"`
		}
	}
	addRedo(s, "/v1/datasets/{name}/replay", "replay", "Make a new dataset of one at a moment and of the operations after it that are wanted",
		func(ctx context.Context, in *replayInput, tell func(redo.Advance)) (*redo.Report, error) {
			o := redo.ReplayOptions{Name: in.Body.Name, To: when.Spec{Kind: when.Now}}
			var err error
			if o.Options, err = in.Body.options(); err != nil {
				return nil, err
			}
			if o.From, err = when.Parse(in.Body.From, time.Local); err != nil {
				return nil, err
			}
			if to, err := optional(in.Body.To); err != nil {
				return nil, err
			} else if to != nil {
				o.To = *to
			}
			if o.Only, err = filterOf(in.Body.Only); err != nil {
				return nil, err
			}
			if o.Exclude, err = filterOf(in.Body.Exclude); err != nil {
				return nil, err
			}
			o.Tell = tell
			return s.redo.Replay(ctx, callerFrom(ctx), in.Name, o)
		})
}

// filterOf reads a filter; "" is none.
func filterOf(text string) (*oplog.Filter, error) {
	if text == "" {
		return nil, nil
	}
	f, err := oplog.ParseFilter(text)
	return &f, err
}

func addRedo[I any](s *Server, path, id, summary string, run func(ctx context.Context, in *I, tell func(redo.Advance)) (*redo.Report, error)) {
	addStream(s, http.MethodPost, path, id, summary, func(ctx context.Context, in *I, send func(RedoMessage)) (RedoMessage, error) {
		var last time.Time
		done, err := run(ctx, in, func(p redo.Advance) {
			if now := time.Now(); now.Sub(last) >= progressEvery {
				last = now
				send(RedoMessage{Type: "progress", Progress: &p})
			}
		})
		s.logChange(ctx, id, *in, err)
		refused(done, err, send)
		return RedoMessage{Type: "report", Report: done}, err
	})
}

// refused sends the report of what was not done because of a conflict. After any other
// error the conflicts that were met until then are not why.
func refused(r *redo.Report, err error, send func(RedoMessage)) {
	if conflict := redo.Conflict(""); errors.As(err, &conflict) {
		send(RedoMessage{Type: "refused", Report: r})
	}
}
