package nfs3

import (
	"net/netip"
	"strings"
	"sync"

	"varve/internal/fail"
	"varve/internal/fs"
)

const (
	maxMounts = 1024     // remembered for DUMP
	maxList   = 64 << 10 // bytes of the reply to DUMP and EXPORT
)

// mount is what a client said it has mounted.
type mount struct {
	client netip.Addr
	path   string
}

// mounts remembers for DUMP what clients said. It means nothing else.
type mounts struct {
	mu  sync.Mutex
	set map[mount]struct{}
}

func (m *mounts) add(x mount) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.set == nil {
		m.set = make(map[mount]struct{})
	}
	if len(m.set) < maxMounts {
		m.set[x] = struct{}{}
	}
}

// remove forgets what matches.
func (m *mounts) remove(match func(mount) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for x := range m.set {
		if match(x) {
			delete(m.set, x)
		}
	}
}

func (m *mounts) list() []mount {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []mount
	for x := range m.set {
		out = append(out, x)
	}
	return out
}

// MNT, RFC 1813 section 5.2.1.
func (t *task) mount() {
	path := strings.TrimRight(string(t.args.target), "/")
	h, err := t.mountable(path)
	if err != nil { // the client is told a number, of which few make a reason
		t.fail(err)
		t.c.srv.log.Info("nfs: not mounted", "client", t.c.addr, "path", path, "reason", err)
		return
	}
	t.h = h
	t.c.srv.mounts.add(mount{t.c.ip, path})
}

// mountable returns the handle of a directory for a client that wants to mount
// it. The path is walked as root: whoever may use the share may have a handle of
// any directory in it, and every use of that is judged.
func (t *task) mountable(path string) (fs.Handle, error) {
	files := t.c.srv.files
	name, _, _ := strings.Cut(strings.TrimLeft(path, "/"), "/")
	name, _, _ = strings.Cut(name, "@")
	if strings.IndexByte(path, 0) >= 0 {
		return fs.Handle{}, fs.ErrInval
	}
	share, err := files.Share(name)
	if err != nil {
		return fs.Handle{}, err
	}
	if !ruleOf(share.Properties).allows(t.c.ip) {
		return fs.Handle{}, fail.New(fail.Denied, "%s is not among the clients of share %s", t.c.ip, name).
			WithHint("varve set %s clients=ADDRESS,... names all who may", name)
	}
	t.call = fs.Call{Client: t.c.name, ReadOnly: true}
	h, a, err := files.Walk(&t.call, "/"+strings.TrimLeft(path, "/"))
	if err == nil && a.Mode&0xf000 != modeDir {
		err = fs.ErrNotDir
	}
	return h, err
}

func (t *task) putMount(p []byte) []byte {
	p = putStatus(p, t.status.ofMount())
	if t.status == nfsOK {
		p = t.putHandle(p, t.h)
		p = put32(p, 2)
		p = put32(put32(p, authSys), authNone)
	}
	return p
}

// UMNT, section 5.2.3.
func (t *task) unmount() {
	gone := mount{t.c.ip, strings.TrimRight(string(t.args.target), "/")}
	t.c.srv.mounts.remove(func(m mount) bool { return m == gone })
}

// UMNTALL, section 5.2.4.
func (t *task) unmountAll() {
	t.c.srv.mounts.remove(func(m mount) bool { return m.client == t.c.ip })
}

func roomOfList(*args) int { return maxList }

// DUMP, section 5.2.2.
func (t *task) listMounts() { t.mounts = t.c.srv.mounts.list() }

func (t *task) putMounts(p []byte) []byte {
	for _, m := range t.mounts {
		host := m.client.String()
		if len(p)+len(host)+len(m.path)+32 > maxList {
			break
		}
		p = putOpaque(putFlag(p, true), host)
		p = putOpaque(p, m.path)
	}
	return putFlag(p, false)
}

// exported is a share as EXPORT shows it.
type exported struct {
	name string
	rule *rule
}

// EXPORT, section 5.2.5: the shares that this client may use.
func (t *task) listExports() {
	srv := t.c.srv
	for _, s := range srv.files.Shares() {
		if r := ruleOf(s.Properties); r.allows(t.c.ip) {
			t.exports = append(t.exports, exported{s.Name, r})
		}
	}
}

func (t *task) putExports(p []byte) []byte {
	for _, x := range t.exports {
		size := len(x.name) + 16
		for _, n := range x.rule.names {
			size += len(n) + 12
		}
		if len(p)+size+4 > maxList {
			break
		}
		p = putOpaque(putFlag(p, true), "/"+x.name)
		for _, n := range x.rule.names {
			p = putOpaque(putFlag(p, true), n)
		}
		p = putFlag(p, false)
	}
	return putFlag(p, false)
}
