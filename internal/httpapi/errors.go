package httpapi

import (
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"varve/internal/fail"
)

// statuses maps each kind of error to its HTTP status. The kind travels in
// the body too, so that the client need not guess.
var statuses = map[fail.Kind]int{
	fail.Other:          http.StatusInternalServerError,
	fail.Invalid:        http.StatusUnprocessableEntity,
	fail.NotFound:       http.StatusNotFound,
	fail.Exists:         http.StatusConflict,
	fail.Stale:          http.StatusGone,
	fail.NoSpace:        http.StatusInsufficientStorage,
	fail.ReadOnly:       http.StatusForbidden,
	fail.Denied:         http.StatusForbidden,
	fail.Corrupt:        http.StatusInternalServerError,
	fail.Busy:           http.StatusLocked,
	fail.OutsideHistory: http.StatusRequestedRangeNotSatisfiable,
	fail.BaseMissing:    http.StatusPreconditionFailed,
	fail.Unsupported:    http.StatusNotImplemented,
	fail.FailStopped:    http.StatusServiceUnavailable,
	fail.IO:             http.StatusInternalServerError,
	fail.NoServer:       http.StatusBadGateway,
	fail.TooBig:         http.StatusRequestEntityTooLarge,
	fail.Canceled:       http.StatusServiceUnavailable,
}

// Problem is the body of every answer that is an error.
type Problem struct {
	Kind    string `json:"kind" doc:"What sort of error, by a name that never changes its meaning" example:"not-found"`
	Message string `json:"message" doc:"What happened"`
	Hint    string `json:"hint,omitempty" doc:"What to do next"`
	status  int
}

// Error and GetStatus make a Problem what huma sends as an error.
func (p *Problem) Error() string { return p.Message }

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.status }

// problem puts an error of the engine into the form that travels.
func problem(err error) *Problem {
	p := &Problem{Kind: fail.KindOf(err).String(), Message: err.Error(), status: statuses[fail.KindOf(err)]}
	var e *fail.Error
	if errors.As(err, &e) && e.Hint != "" {
		p.Hint = e.Hint
		p.Message = strings.TrimSuffix(p.Message, "; "+e.Hint)
	}
	return p
}

// failure is the way back, in the client.
func (p *Problem) failure() *fail.Error {
	return &fail.Error{Kind: fail.KindNamed(p.Kind), Msg: p.Message, Hint: p.Hint}
}

// huma reports its own findings (a body that is no JSON, a field too many)
// through this variable; they shall look like all other errors.
func init() {
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		kind := fail.Other
		switch {
		case status == http.StatusRequestEntityTooLarge:
			kind = fail.TooBig
		case status < 500:
			kind = fail.Invalid
		}
		for _, err := range errs {
			msg += ": " + err.Error()
		}
		return &Problem{Kind: kind.String(), Message: msg, status: status}
	}
}
