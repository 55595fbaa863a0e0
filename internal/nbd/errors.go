package nbd

import (
	"unicode/utf8"

	"varve/internal/fail"
)

// errno maps an error to the number in a reply.
func errno(err error) uint32 {
	if err == nil {
		return nbdOK
	}
	switch fail.KindOf(err) {
	case fail.Invalid, fail.OutsideHistory:
		return nbdEINVAL
	case fail.ReadOnly, fail.Denied:
		return nbdEPERM
	case fail.NoSpace:
		return nbdENOSPC
	case fail.TooBig:
		return nbdEOVERFLOW
	case fail.Unsupported:
		return nbdENOTSUP
	case fail.Canceled:
		return nbdESHUTDOWN
	}
	return nbdEIO
}

// optionError maps an error to the type of an option's reply.
func optionError(err error) uint32 {
	switch fail.KindOf(err) {
	case fail.NotFound, fail.OutsideHistory: // there is no such export, or not any more
		return repErrUnknown
	case fail.Invalid:
		return repErrInvalid
	case fail.Denied, fail.Busy, fail.ReadOnly:
		return repErrPolicy
	case fail.TooBig:
		return repErrTooBig
	case fail.Unsupported:
		return repErrUnsup
	case fail.Canceled:
		return repErrShutdown
	}
	return repErrUnknown
}

// Refusals of requests, before any backend sees them.
var (
	errNotACommand = fail.New(fail.Invalid, "unknown command")
	errBadFlags    = fail.New(fail.Invalid, "a flag that this command does not take")
	errEmpty       = fail.New(fail.Invalid, "a range of no bytes")
	errOutside     = fail.New(fail.Invalid, "beyond the end of the disk")
	errNoRoom      = fail.New(fail.NoSpace, "write beyond the end of the disk")
	errTooLong     = fail.New(fail.Invalid, "more than 32 MiB in one request")
	errTooLongDF   = fail.New(fail.TooBig, "more than 32 MiB in one unfragmented reply")
	errReadOnly    = fail.New(fail.ReadOnly, "the export is read-only")
	errNoContext   = fail.New(fail.Invalid, "no metadata context is selected")
)

// Ends of a connection.
var (
	errDisconnect = fail.New(fail.Canceled, "the client disconnected")
	errAborted    = fail.New(fail.Canceled, "the client aborted the handshake")
	errBadMagic   = fail.New(fail.Invalid, "not an NBD request")
	errDistrust   = fail.New(fail.TooBig, "a payload too long to skip")
)

// clip shortens a message to at most n bytes of valid UTF-8.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
