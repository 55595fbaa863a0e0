// Package nfsclient is a client of NFS version 3, MOUNT version 3 and the
// portmapper for tests. It is written from their texts (RFC 1813, 5531, 4506,
// 1833), shares nothing with the server it tests, and forgives nothing: a reply
// that breaks a rule of the protocol is an error.
//
// It can also do what no good client does: send a request again from another
// port, break a message in odd places, send what is no message at all. See Wire.
package nfsclient

import (
	"errors"
	"fmt"
)

// The programs, with the versions that this client speaks.
const (
	ProgramNFS     = 100003
	ProgramMount   = 100005
	ProgramPortmap = 100000
	ProgramACL     = 100227

	VersionNFS     = 3
	VersionMount   = 3
	VersionPortmap = 2
)

// Flavors of authentication (RFC 5531, 8.2).
const (
	FlavorNone = 0
	FlavorSys  = 1
	FlavorTLS  = 7
)

// ErrProtocol is a server that breaks the protocol, as opposed to one that is
// gone.
var ErrProtocol = errors.New("protocol violated")

// Auth is a credential or verifier.
type Auth struct {
	Flavor uint32
	Body   []byte
}

// Sys is a credential of AUTH_SYS. The limits of its parts (16 groups, 255 bytes
// of name) are the caller's to keep or to break.
func Sys(machine string, uid, gid uint32, groups ...uint32) Auth {
	var e encoder
	e.u32(0) // the stamp
	e.string(machine)
	e.u32(uid)
	e.u32(gid)
	e.u32(uint32(len(groups)))
	for _, g := range groups {
		e.u32(g)
	}
	return Auth{FlavorSys, e}
}

// Call is one request.
type Call struct {
	XID                         uint32
	RPC                         uint32 // version of RPC: 2
	Program, Version, Procedure uint32
	Cred, Verf                  Auth
	Args                        []byte
}

// Bytes is the message, without its record marks.
func (c Call) Bytes() []byte {
	var e encoder
	e.u32(c.XID)
	e.u32(0) // a call
	e.u32(c.RPC)
	e.u32(c.Program)
	e.u32(c.Version)
	e.u32(c.Procedure)
	for _, a := range []Auth{c.Cred, c.Verf} {
		e.u32(a.Flavor)
		e.opaque(a.Body)
	}
	return append(e, c.Args...)
}

// Why a call is refused (RFC 5531, 9).
const (
	ProgUnavail  = 1
	ProgMismatch = 2
	ProcUnavail  = 3
	GarbageArgs  = 4
	SystemErr    = 5

	RPCMismatch = 0
	AuthError   = 1
)

// Refusal is a call that was not made: RPC itself refused it.
type Refusal struct {
	Denied    bool   // MSG_DENIED, so that Stat is RPCMismatch or AuthError
	Stat      uint32 // else ProgUnavail ... SystemErr
	Low, High uint32 // of ProgMismatch and RPCMismatch: the versions there are
	Auth      uint32 // of AuthError: why
}

func (r *Refusal) Error() string {
	if r.Denied {
		return fmt.Sprintf("RPC denied: reject_stat %d, auth_stat %d, versions %d to %d", r.Stat, r.Auth, r.Low, r.High)
	}
	return fmt.Sprintf("RPC refused: accept_stat %d, versions %d to %d", r.Stat, r.Low, r.High)
}

// ParseReply reads a reply message and returns its results, or a *Refusal.
func ParseReply(msg []byte) (xid uint32, results []byte, err error) {
	d := decoder{b: msg}
	xid = d.u32()
	if kind := d.u32(); kind != 1 {
		d.fault("message type %d, want a reply", kind)
	}
	refusal := &Refusal{}
	switch stat := d.u32(); stat {
	case 0:
		d.accepted(refusal)
	case 1:
		d.denied(refusal)
	default:
		d.fault("reply_stat %d", stat)
	}
	if d.err != nil {
		return xid, nil, fmt.Errorf("%w: RPC reply: %w", ErrProtocol, d.err)
	}
	if !refusal.Denied && refusal.Stat == 0 {
		return xid, d.b, nil
	}
	if err := d.done(); err != nil {
		return xid, nil, fmt.Errorf("%w: RPC refusal: %w", ErrProtocol, err)
	}
	return xid, nil, refusal
}

func (d *decoder) accepted(r *Refusal) {
	if flavor, body := d.u32(), d.opaque(400); flavor != FlavorNone || len(body) > 0 {
		d.fault("verifier of flavor %d with %d bytes", flavor, len(body))
	}
	r.Stat = d.u32()
	switch {
	case r.Stat == ProgMismatch:
		r.Low, r.High = d.u32(), d.u32()
	case r.Stat > SystemErr:
		d.fault("accept_stat %d", r.Stat)
	}
}

func (d *decoder) denied(r *Refusal) {
	r.Denied = true
	switch r.Stat = d.u32(); r.Stat {
	case RPCMismatch:
		r.Low, r.High = d.u32(), d.u32()
	case AuthError:
		if r.Auth = d.u32(); r.Auth == 0 || r.Auth > 14 {
			d.fault("auth_stat %d", r.Auth)
		}
	default:
		d.fault("reject_stat %d", r.Stat)
	}
}
