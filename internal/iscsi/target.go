package iscsi

import (
	"context"
	"net/netip"
	"path"
	"slices"
	"strings"

	"varve/internal/scsi"
	"varve/internal/when"
)

// Target is what an initiator logs in to.
type Target struct {
	Name   string // "iqn.2026-11.varve:disk0"
	Volume string // of its first LUN, for people
	LUNs   []LUN  // by rising number
}

// LUN is a logical unit of a target, and who may use it.
type LUN struct {
	Number   int
	Volume   string
	ID       uint64     // of the volume, whatever it is called
	At       *when.Spec // nil: as it is now, to read and write
	Access   Access
	Want     Credentials // what an initiator has to prove; unset: nothing
	Ours     Credentials // what we prove to an initiator that asks
	Disabled string      // why nobody may use it: properties that contradict each other
}

// Access says from where a LUN may be used.
type Access struct {
	Clients    []netip.Prefix
	Initiators []string // patterns of names, as path.Match; none: all
}

// Targets says which targets there are. Its methods may be called concurrently.
type Targets interface {
	// Targets lists them; moments are not listed.
	Targets(ctx context.Context) ([]Target, error)

	// Target returns the one of that name, which may name a moment. NotFound.
	Target(ctx context.Context, name string) (Target, error)

	// Open opens a LUN for the session of an initiator at addr, until its Close.
	// kick may be called at any time, from any goroutine, any number of times, to
	// end the session; it returns at once.
	Open(ctx context.Context, l LUN, addr string, kick func()) (scsi.Disk, error)
}

// allows reports whether an initiator of that name may come from ip.
func (a *Access) allows(name string, ip netip.Addr) bool {
	if !slices.ContainsFunc(a.Clients, func(p netip.Prefix) bool { return p.Contains(ip) }) {
		return false
	}
	return len(a.Initiators) == 0 || slices.ContainsFunc(a.Initiators, func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	})
}

// visible returns the LUNs of t that an initiator may use if it proves what the
// first of them wants. Others of the target that want something else stay
// hidden.
func (t *Target) visible(name string, ip netip.Addr) (luns []LUN) {
	for _, l := range t.LUNs {
		if l.Disabled != "" || !l.Access.allows(name, ip) {
			continue
		}
		if len(luns) > 0 && (l.Want != luns[0].Want || len(luns) == maxLUNs) {
			continue
		}
		luns = append(luns, l)
	}
	return luns
}

// maxLUNs bounds the logical units of a target.
const maxLUNs = 256

// checkName says whether s may be a name of an initiator or a target: up to 223
// bytes (RFC 7143, 4.2.7.1), none of them a control character or a space.
func checkName(s string) bool {
	return s != "" && len(s) <= 223 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == ',' })
}
