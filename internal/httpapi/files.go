package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"varve/internal/engine"
	"varve/internal/files"
	"varve/internal/restore"
	"varve/internal/when"
)

// Files is what the API serves of the files of shares. The caller may do
// everything: the socket is for those who may. All methods are safe for
// concurrent use; changes are durable when they return.
type Files interface {
	List(ctx context.Context, p files.Place, self bool, fn func(files.Entry) error) (*engine.Moment, error)
	Open(ctx context.Context, p files.Place) (*files.File, error)
	Compare(ctx context.Context, share, path string, from, to when.Spec, fn func(files.Difference) error) (a, b engine.Moment, err error)
	Versions(ctx context.Context, share, path string, all bool, fn func(files.Version) error) error
	// Copy and Restore tell how far they are from their own goroutine.
	Copy(ctx context.Context, c engine.Caller, from files.Place, share, path string, force bool, tell func(files.Progress)) (files.Copied, error)
	Restore(ctx context.Context, c engine.Caller, share, path string, w when.Spec, tell func(files.Progress)) (files.Copied, error)
	RestoreArchive(ctx context.Context, c engine.Caller, share, path string, v restore.Volumes, o restore.Options) (restore.Result, error)
}

// CopyMessage is one line of the answer to a copy or the rollback of a path.
// The last one is a report or an error.
type CopyMessage struct {
	Type     string          `json:"message_type" enum:"progress,report,error"`
	Progress *files.Progress `json:"progress,omitempty"`
	Report   *files.Copied   `json:"report,omitempty"`
	Error    *Problem        `json:"error,omitempty"`
}

// problemTrailer is the HTTP trailer that says why the bytes of a file ended
// too soon: a Problem, as JSON.
const problemTrailer = "Varve-Problem"

// ByPath is exported because huma fills no others that are embedded.
type ByPath struct {
	ByName
	Path string `query:"path" default:"/" doc:"Begins with /"`
	When string `query:"when" doc:"A WHEN; empty for the present" example:"@10m-ago"`
}

func (in *ByPath) place() (files.Place, error) {
	w, err := optional(in.When)
	return files.Place{Share: in.Name, When: w, Path: in.Path}, err
}

func (s *Server) shares() {
	type listInput struct {
		ByPath
		Self bool `query:"self" doc:"Of a directory: itself, not what is in it"`
	}
	addItems(s, "/v1/datasets/{name}/files", "list-files", "What is in a directory of a share, by name, or one file",
		func(ctx context.Context, in *listInput, item func(files.Entry) error) ([]engine.Moment, error) {
			p, err := in.place()
			if err != nil {
				return nil, err
			}
			m, err := s.files.List(ctx, p, in.Self, item)
			return oneOrNone(m), err
		})
	type diffInput struct {
		ByName
		Path string `query:"path" default:"/" doc:"Only what is below it"`
		From string `query:"from" required:"true" example:"@10m-ago"`
		To   string `query:"to" default:"@now"`
	}
	addItems(s, "/v1/datasets/{name}/files/diff", "diff-files", "The files of a share that differ between two moments, by path",
		func(ctx context.Context, in *diffInput, item func(files.Difference) error) ([]engine.Moment, error) {
			from, err := when.Parse(in.From, time.Local)
			if err != nil {
				return nil, err
			}
			to, err := when.Parse(in.To, time.Local)
			if err != nil {
				return nil, err
			}
			a, b, err := s.files.Compare(ctx, in.Name, in.Path, from, to, item)
			return []engine.Moment{a, b}, err
		})
	type versionsInput struct {
		ByName
		Path string `query:"path" required:"true"`
		All  bool   `query:"all" doc:"Every change, also where many follow each other quickly"`
	}
	addItems(s, "/v1/datasets/{name}/files/versions", "versions", "What there was at a path, oldest first",
		func(ctx context.Context, in *versionsInput, item func(files.Version) error) ([]engine.Moment, error) {
			return nil, s.files.Versions(ctx, in.Name, in.Path, in.All, item)
		})
	s.fileBytes()
	s.fileChanges()
	s.restoreRoute()
}

func (s *Server) fileChanges() {
	type copyInput struct {
		ByName
		Body struct {
			Path   string `json:"path"`
			When   string `json:"when,omitempty" doc:"A past moment; empty for the present one" example:"@10m-ago"`
			To     string `json:"to" doc:"The share that is written"`
			ToPath string `json:"to_path" doc:"A directory that is there is copied into"`
			Force  bool   `json:"force,omitempty" doc:"Replace files that are there, and merge directories"`
		}
	}
	addCopy(s, "/v1/datasets/{name}/files/copy", "copy-files", "Copy a file or a tree inside the server",
		func(ctx context.Context, in *copyInput, tell func(files.Progress)) (files.Copied, error) {
			w, err := optional(in.Body.When)
			if err != nil {
				return files.Copied{}, err
			}
			from := files.Place{Share: in.Name, When: w, Path: in.Body.Path}
			return s.files.Copy(ctx, callerFrom(ctx), from, in.Body.To, in.Body.ToPath, in.Body.Force, tell)
		})
	type rollbackInput struct {
		ByName
		Body struct {
			Path string `json:"path"`
			When string `json:"when" example:"@10m-ago"`
		}
	}
	addCopy(s, "/v1/datasets/{name}/files/rollback", "rollback-files", "Make a file or a tree what it was at a moment, after a guard snapshot",
		func(ctx context.Context, in *rollbackInput, tell func(files.Progress)) (files.Copied, error) {
			w, err := when.Parse(in.Body.When, time.Local)
			if err != nil {
				return files.Copied{}, err
			}
			return s.files.Restore(ctx, callerFrom(ctx), in.Name, in.Body.Path, w, tell)
		})
}

// addCopy registers a change of files, which may take long.
func addCopy[I any](s *Server, path, id, summary string, run func(ctx context.Context, in *I, tell func(files.Progress)) (files.Copied, error)) {
	addStream(s, http.MethodPost, path, id, summary, func(ctx context.Context, in *I, send func(CopyMessage)) (CopyMessage, error) {
		var last time.Time
		done, err := run(ctx, in, func(p files.Progress) {
			if now := time.Now(); now.Sub(last) >= progressEvery {
				last = now
				send(CopyMessage{Type: "progress", Progress: &p})
			}
		})
		s.logChange(ctx, id, *in, err)
		return CopyMessage{Type: "report", Report: &done}, err
	})
}

// fileBytes registers the one operation whose answer is no JSON.
func (s *Server) fileBytes() {
	op := huma.Operation{
		Method: http.MethodGet, Path: "/v1/datasets/{name}/files/bytes", OperationID: "read-file", Summary: "The bytes of a file",
		Responses: map[string]*huma.Response{"200": {
			Description: "The bytes. If they end too soon, the trailer " + problemTrailer + " says why",
			Content:     map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: "string", Format: "binary"}}},
		}},
	}
	huma.Register(s.api, op, func(_ context.Context, in *ByPath) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			r, w := humago.Unwrap(hc)
			s.answerLong(r.Context(), w, func(ctx context.Context, out *lineWriter) {
				out.endBytes(givenUp(ctx, s.sendFile(ctx, in, out)))
			})
		}}, nil
	})
}

func (s *Server) sendFile(ctx context.Context, in *ByPath, out *lineWriter) error {
	p, err := in.place()
	if err != nil {
		return err
	}
	f, err := s.files.Open(ctx, p)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Copy(ctx, bytesWriter{out})
}

// bytesWriter sends bytes through a lineWriter, which knows how long a caller
// may take.
type bytesWriter struct{ l *lineWriter }

func (w bytesWriter) Write(p []byte) (int, error) {
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	if !w.l.begun {
		w.l.begun = true
		w.l.w.Header().Set("Content-Type", "application/octet-stream")
		w.l.w.Header().Add("Trailer", problemTrailer)
	}
	w.l.bound()
	return w.l.w.Write(p)
}

// endBytes ends an answer of bytes.
func (l *lineWriter) endBytes(err error) {
	if err == nil {
		_, err = bytesWriter{l}.Write(nil) // of an empty file, the header
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	switch {
	case err == nil:
	case l.begun:
		text, _ := json.Marshal(problem(err)) // strings only
		l.w.Header().Set(problemTrailer, string(text))
	default:
		l.bound()
		writeProblem(l.w, problem(err))
	}
}

func oneOrNone(m *engine.Moment) []engine.Moment {
	if m == nil {
		return nil
	}
	return []engine.Moment{*m}
}
