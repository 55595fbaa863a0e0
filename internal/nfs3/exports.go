package nfs3

import (
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"varve/internal/fail"
	"varve/internal/fs"
)

// The properties of a share that say who may use it, and as whom.
const (
	propClients = "clients" // addresses and prefixes, separated by commas; default 127.0.0.1,::1
	propAccess  = "access"  // rw (default), ro
	propSquash  = "squash"  // none, root, all; default none, but root where clients are beyond loopback
	propAnonUID = "anonuid" // default 65534
	propAnonGID = "anongid" // default 65534
)

const (
	anonymous  = 65534
	maxClients = 1024 // in a rule
)

type squash uint8

const (
	squashNone squash = iota
	squashRoot        // uid 0 and gid 0 become the anonymous
	squashAll         // everyone does
)

// rule is what the properties of a share say.
type rule struct {
	clients  []netip.Prefix
	names    []string // of clients, for EXPORT
	readOnly bool
	squash   squash
	uid, gid uint32 // the anonymous user's

	props map[string]string // what it was made of
}

// parseRule reads the properties of a share. fail.Invalid, fail.TooBig.
func parseRule(props map[string]string) (*rule, error) {
	r := &rule{uid: anonymous, gid: anonymous, props: props}
	if err := r.parseClients(props[propClients]); err != nil {
		return nil, err
	}
	switch props[propAccess] {
	case "", "rw":
	case "ro":
		r.readOnly = true
	default:
		return nil, fail.New(fail.Invalid, "access=%s", props[propAccess]).WithHint("use rw or ro")
	}
	switch props[propSquash] {
	case "":
		if r.beyondLoopback() {
			r.squash = squashRoot
		}
	case "none":
	case "root":
		r.squash = squashRoot
	case "all":
		r.squash = squashAll
	default:
		return nil, fail.New(fail.Invalid, "squash=%s", props[propSquash]).WithHint("use none, root or all")
	}
	if err := parseID(props, propAnonUID, &r.uid); err != nil {
		return nil, err
	}
	return r, parseID(props, propAnonGID, &r.gid)
}

func (r *rule) parseClients(list string) error {
	if list == "" {
		list = "127.0.0.1,::1"
	}
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		p, err := netip.ParsePrefix(name)
		if err != nil {
			a, err := netip.ParseAddr(name)
			if err != nil || a.Zone() != "" {
				return fail.New(fail.Invalid, "clients: %q is no address", name).WithHint("use addresses and prefixes such as 192.168.1.0/24, separated by commas")
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if len(r.clients) == maxClients {
			return fail.New(fail.TooBig, "clients: more than %d", maxClients).WithHint("use prefixes")
		}
		r.clients = append(r.clients, p.Masked())
		r.names = append(r.names, name)
	}
	return nil
}

func (r *rule) beyondLoopback() bool {
	for _, p := range r.clients {
		whole := p.Addr().Is4() && p.Bits() >= 8 || p.IsSingleIP()
		if !p.Addr().IsLoopback() || !whole {
			return true
		}
	}
	return false
}

func parseID(props map[string]string, key string, id *uint32) error {
	v := props[key]
	if v == "" {
		return nil
	}
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil {
		return fail.New(fail.Invalid, "%s=%s is no user or group number", key, v)
	}
	*id = uint32(n)
	return nil
}

// allows reports whether a client at ip may use the share.
func (r *rule) allows(ip netip.Addr) bool {
	for _, p := range r.clients {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// become makes cred that of the user whom a call acts for. cred.Groups lies in
// the header.
func (r *rule) become(cred *fs.Cred, h *header) {
	if !h.sys || r.squash == squashAll {
		*cred = fs.Cred{UID: r.uid, GID: r.gid}
		return
	}
	*cred = fs.Cred{UID: h.uid, GID: h.gid, Groups: h.groups[:h.ngroups]}
	if r.squash == squashNone {
		return
	}
	if cred.UID == 0 {
		cred.UID = r.uid
	}
	if cred.GID == 0 {
		cred.GID = r.gid
	}
	for i, g := range cred.Groups {
		if g == 0 {
			cred.Groups[i] = r.gid
		}
	}
}

// exports keeps the rules of shares.
type exports struct {
	mu    sync.RWMutex
	rules map[uint64]*rule
}

// ruleOf returns the rule that properties make: one that allows nobody where
// they make no sense.
func ruleOf(props map[string]string) *rule {
	r, err := parseRule(props)
	if err != nil {
		return &rule{readOnly: true, squash: squashAll, uid: anonymous, gid: anonymous, props: props}
	}
	return r
}

// rule returns the rule of a share that ShareOf described: its properties are
// the same map until they change. The rule holds on to that, so that no other
// map can come to have its address.
func (x *exports) rule(s fs.Share) *rule {
	x.mu.RLock()
	r := x.rules[s.ID]
	x.mu.RUnlock()
	if r != nil && sameMap(r.props, s.Properties) {
		return r
	}
	r = ruleOf(s.Properties)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.rules == nil {
		x.rules = make(map[uint64]*rule)
	}
	x.rules[s.ID] = r
	return r
}

func sameMap(a, b map[string]string) bool {
	return reflect.ValueOf(a).UnsafePointer() == reflect.ValueOf(b).UnsafePointer()
}

// grant is the judgement of one rule on one client.
type grant struct {
	rule    *rule
	allowed bool
}

// allowed says whether this client may use what r is of. It remembers the
// last answer.
func (c *conn) allowed(r *rule) bool {
	g := c.grant.Load()
	if g == nil || g.rule != r {
		g = &grant{r, r.allows(c.ip)}
		c.grant.Store(g)
	}
	return g.allowed
}

// addrOf returns the address of "IP:PORT", without zone; an invalid one where
// there is none.
func addrOf(hostport string) netip.Addr {
	ap, err := netip.ParseAddrPort(hostport)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}
