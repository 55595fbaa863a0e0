// Package fail is the one error type of varve. Every package reports trouble
// as an *Error with a Kind; each front end owns one table that maps Kind to
// its protocol (errno, NBD error, HTTP status, exit code).
package fail

import (
	"errors"
	"fmt"
)

// Kind says what sort of trouble an error is. Kinds travel over the control
// API by name, so names never change meaning.
type Kind uint8

// The kinds of error.
const (
	Other          Kind = iota // anything without a better kind
	Invalid                    // the request makes no sense as it stands
	NotFound                   // no such object
	Exists                     // the name is taken
	Stale                      // a handle to an object that is gone
	NoSpace                    // the pool, its file system or a quota is full
	ReadOnly                   // a write to a moment or to a read-only view
	Denied                     // the caller has no right to do this
	Corrupt                    // bytes that fail their checksum, or contradict others
	Busy                       // somebody is using the object
	OutsideHistory             // a moment that is not kept, or has not come yet
	BaseMissing                // an incremental operation lacks its base
	Unsupported                // a feature or format version this build lacks
	FailStopped                // the pool takes no more writes after a failed write or sync
	IO                         // the disk reported an error
	NoServer                   // nothing serves this pool
	TooBig                     // beyond a limit that protects the server
	Canceled                   // given up by the caller, or shutting down
)

var kindNames = [...]string{
	"other", "invalid", "not-found", "exists", "stale", "no-space", "read-only",
	"denied", "corrupt", "busy", "outside-history", "base-missing",
	"unsupported", "fail-stopped", "io", "no-server", "too-big", "canceled",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind-%d", uint8(k))
}

// KindNamed returns the kind with that name, or Other.
func KindNamed(name string) Kind {
	for i, n := range kindNames {
		if n == name {
			return Kind(i)
		}
	}
	return Other
}

// Error is what every package of varve returns. Msg says what happened in
// words for a person; Hint, if any, says what to do next.
type Error struct {
	Kind Kind
	Msg  string
	Hint string
	Err  error // the cause, or nil
}

func (e *Error) Error() string {
	s := e.Msg
	if e.Err != nil {
		if s != "" {
			s += ": "
		}
		s += e.Err.Error()
	}
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New makes an error of a kind. The format takes no %w: see Wrap.
func New(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Msg: fmt.Sprintf(format, args...)}
}

// Wrap adds context to a cause. The kind is k, or the cause's where k is Other.
func Wrap(k Kind, err error, format string, args ...any) *Error {
	if k == Other {
		k = KindOf(err)
	}
	return &Error{Kind: k, Msg: fmt.Sprintf(format, args...), Err: err}
}

// WithHint returns a copy of e that says what to do next.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// KindOf returns the kind of the first *Error in err's chain, or Other.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Other
}

// Is reports whether err is of kind k.
func Is(err error, k Kind) bool { return err != nil && KindOf(err) == k }
