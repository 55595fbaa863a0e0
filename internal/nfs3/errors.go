package nfs3

import (
	"varve/internal/fail"
	"varve/internal/fs"
)

// codeStatus maps errors of fs, whose codes say what kinds of errors from below
// mean to a client. What is not in it is errIO.
var codeStatus = map[fs.Code]status{
	fs.CodeNone:         nfsOK,
	fs.CodePerm:         errPerm,
	fs.CodeNoEnt:        errNoEnt,
	fs.CodeAccess:       errAcces,
	fs.CodeExist:        errExist,
	fs.CodeXDev:         errXDev,
	fs.CodeNotDir:       errNotDir,
	fs.CodeIsDir:        errIsDir,
	fs.CodeInval:        errInval,
	fs.CodeFBig:         errFBig,
	fs.CodeNoSpace:      errNoSpc,
	fs.CodeReadOnly:     errROFS,
	fs.CodeMLink:        errMLink,
	fs.CodeNameTooLong:  errNameTooLong,
	fs.CodeNotEmpty:     errNotEmpty,
	fs.CodeQuota:        errDQuot,
	fs.CodeStale:        errStale,
	fs.CodeNotSync:      errNotSync,
	fs.CodeBadCookie:    errBadCookie,
	fs.CodeBadHandle:    errBadHandle,
	fs.CodeBadType:      errBadType,
	fs.CodeNotSupported: errNotSupp,
	fs.CodeNoData:       errNoEnt,
	fs.CodeTooBig:       errInval,
	fs.CodeBusy:         errJukebox,
}

// statusOf maps an error of fs.
func statusOf(err error) status {
	if s, ok := codeStatus[fs.CodeOf(err)]; ok {
		return s
	}
	return errIO
}

// ofMount returns the mountstat3 for s (RFC 1813 section 5.1.5), which has
// fewer.
func (s status) ofMount() status {
	switch s {
	case nfsOK, errPerm, errNoEnt, errIO, errAcces, errNotDir, errInval, errNameTooLong, errNotSupp:
		return s
	case errStale:
		return errNoEnt
	}
	return errServerFault
}

// Ends of a connection.
var (
	errTooLong  = fail.New(fail.TooBig, "a call of more than 16 MiB, or in more than 1024 fragments")
	errNotACall = fail.New(fail.Invalid, "not a remote procedure call")
	errCut      = fail.New(fail.Canceled, "the connection was cut")
	errIdle     = fail.New(fail.Canceled, "idle, or of an address that no share allows, and another client needed the place")
)
