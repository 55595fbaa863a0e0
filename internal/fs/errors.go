package fs

import (
	"errors"
	"fmt"

	"varve/internal/fail"
)

// Code says which error of POSIX an error is. A front end has one table from
// Code to its own numbers.
type Code uint8

// The codes. In parentheses, what they are called in errno.h or RFC 1813.
const (
	CodeNone         Code = iota // no error
	CodeIO                       // anything without a better code (EIO)
	CodePerm                     // only the owner, or root, may (EPERM)
	CodeNoEnt                    // no such name (ENOENT)
	CodeAccess                   // the permission bits say no (EACCES)
	CodeExist                    // the name is taken (EEXIST)
	CodeXDev                     // between shares, or the past and the present (EXDEV)
	CodeNotDir                   // not a directory (ENOTDIR)
	CodeIsDir                    // a directory (EISDIR)
	CodeInval                    // makes no sense (EINVAL)
	CodeFBig                     // a file larger than they can be (EFBIG)
	CodeNoSpace                  // the pool is full (ENOSPC)
	CodeReadOnly                 // the past, or a read-only export (EROFS)
	CodeMLink                    // too many links (EMLINK)
	CodeNameTooLong              // longer than 255 bytes, a target than 4095, a path than MaxDepth names (ENAMETOOLONG)
	CodeNotEmpty                 // a directory with names in it (ENOTEMPTY)
	CodeQuota                    // the share's quota is used up (EDQUOT)
	CodeStale                    // a handle of what is gone (ESTALE)
	CodeNotSync                  // the guard does not hold (NFS3ERR_NOT_SYNC)
	CodeBadCookie                // no place in a directory (NFS3ERR_BAD_COOKIE)
	CodeBadHandle                // not a handle of ours (NFS3ERR_BADHANDLE)
	CodeBadType                  // a type that cannot be made (NFS3ERR_BADTYPE)
	CodeNotSupported             // (EOPNOTSUPP)
	CodeNoData                   // no such extended attribute (ENODATA)
	CodeTooBig                   // beyond a limit (E2BIG)
	CodeBusy                     // try again in a moment (EBUSY, NFS3ERR_JUKEBOX)
)

var codeWords = [...]string{
	"no error", "input/output error", "operation not permitted", "no such file or directory", "permission denied",
	"file exists", "different shares or moments", "not a directory", "is a directory", "invalid argument", "file too large",
	"no space left", "read-only", "too many links", "name too long", "directory not empty", "quota exceeded", "stale file handle",
	"changed meanwhile", "bad directory cookie", "bad file handle", "type not supported", "not supported",
	"no such attribute", "too big", "busy, try again",
}

// Error implements error, so that a Code can be the cause of a fail.Error.
func (c Code) Error() string {
	if int(c) < len(codeWords) {
		return codeWords[c]
	}
	return fmt.Sprintf("code-%d", uint8(c))
}

// The errors of files. They are compared by CodeOf, not by ==, since some come
// with more words.
var (
	ErrPerm         = sentinel(CodePerm, fail.Denied)
	ErrNoEnt        = sentinel(CodeNoEnt, fail.NotFound)
	ErrAccess       = sentinel(CodeAccess, fail.Denied)
	ErrExist        = sentinel(CodeExist, fail.Exists)
	ErrXDev         = sentinel(CodeXDev, fail.Invalid)
	ErrNotDir       = sentinel(CodeNotDir, fail.Invalid)
	ErrIsDir        = sentinel(CodeIsDir, fail.Invalid)
	ErrInval        = sentinel(CodeInval, fail.Invalid)
	ErrFBig         = sentinel(CodeFBig, fail.TooBig)
	ErrReadOnly     = sentinel(CodeReadOnly, fail.ReadOnly)
	ErrMLink        = sentinel(CodeMLink, fail.TooBig)
	ErrNameTooLong  = sentinel(CodeNameTooLong, fail.Invalid)
	ErrNotEmpty     = sentinel(CodeNotEmpty, fail.Invalid)
	ErrQuota        = sentinel(CodeQuota, fail.NoSpace)
	ErrStale        = sentinel(CodeStale, fail.Stale)
	ErrNotSync      = sentinel(CodeNotSync, fail.Stale)
	ErrBadCookie    = sentinel(CodeBadCookie, fail.Invalid)
	ErrBadType      = sentinel(CodeBadType, fail.Invalid)
	ErrNotSupported = sentinel(CodeNotSupported, fail.Unsupported)
	ErrNoData       = sentinel(CodeNoData, fail.NotFound)
	ErrTooBig       = sentinel(CodeTooBig, fail.TooBig)

	errReserved = fail.Wrap(fail.Denied, CodeAccess, "%s is reserved", SnapshotDir).WithHint("it shows the share's past; choose another name")
	errDepth    = fail.Wrap(fail.TooBig, CodeNameTooLong, "directories nested deeper than %d", MaxDepth)
)

func sentinel(c Code, k fail.Kind) *fail.Error { return &fail.Error{Kind: k, Err: c} }

// kindCodes are the codes of errors that come from below.
var kindCodes = map[fail.Kind]Code{
	fail.Invalid: CodeInval, fail.NotFound: CodeNoEnt, fail.Exists: CodeExist, fail.Stale: CodeStale,
	fail.NoSpace: CodeNoSpace, fail.ReadOnly: CodeReadOnly, fail.Denied: CodeAccess, fail.Busy: CodeBusy,
	fail.OutsideHistory: CodeNoEnt, fail.BaseMissing: CodeNoEnt, fail.Unsupported: CodeNotSupported,
	fail.TooBig: CodeTooBig, fail.Canceled: CodeBusy,
}

// CodeOf returns the code of an error, CodeNone of nil.
func CodeOf(err error) Code {
	if err == nil {
		return CodeNone
	}
	if c, ok := ownCode(err); ok {
		return c
	}
	if c, ok := kindCodes[fail.KindOf(err)]; ok {
		return c
	}
	return CodeIO
}

func ownCode(err error) (Code, bool) {
	for err != nil {
		if c, ok := err.(Code); ok {
			return c, true
		}
		err = errors.Unwrap(err)
	}
	return CodeNone, false
}
