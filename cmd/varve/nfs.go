package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"varve/internal/fail"
	"varve/internal/fs"
	"varve/internal/httpapi"
	"varve/internal/nfs3"
)

const (
	nfsPort     = "2049"
	portmapPort = "111"
)

// nfsService is what serves shares over NFS.
type nfsService struct {
	listeners []net.Listener
	maps      []*portmap
	fs        *fs.FS
	server    *nfs3.Server
}

// portmap tells on one host which port NFS has there.
type portmap struct {
	*nfs3.Portmap
	tcp net.Listener
	udp net.PacketConn
}

// listenNFS listens on all endpoints, and with portmap on port 111 of their
// hosts.
func (s *server) listenNFS() error {
	n := &s.nfs
	var err error
	if n.listeners, err = listenAll("--nfs", s.o.nfs, ""); err != nil || !s.o.portmap {
		return err
	}
	hosts := make(map[string]bool)
	for _, l := range n.listeners {
		at := l.Addr().(*net.TCPAddr)
		if hosts[at.IP.String()] {
			continue
		}
		hosts[at.IP.String()] = true
		m := &portmap{Portmap: nfs3.NewPortmap(uint16(at.Port), s.o.log)}
		n.maps = append(n.maps, m)
		if err := m.listen(net.JoinHostPort(at.IP.String(), portmapPort)); err != nil {
			n.close()
			return err
		}
	}
	return nil
}

func (m *portmap) listen(endpoint string) (err error) {
	if m.tcp, err = net.Listen("tcp", endpoint); err == nil {
		m.udp, err = net.ListenPacket("udp", endpoint)
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		by := inUseBy(endpoint)
		if by != "" {
			by = " by " + by
		}
		return fail.New(fail.Busy, "listen %s: in use%s", endpoint, by).
			WithHint("leave --portmap out, and give clients the options port= and mountport=")
	case errors.Is(err, syscall.EACCES):
		return fail.Wrap(fail.Denied, err, "listen %s", endpoint).WithHint("--portmap needs root or CAP_NET_BIND_SERVICE")
	case err != nil:
		return fail.Wrap(fail.Invalid, err, "listen %s", endpoint)
	}
	return nil
}

// close closes what nothing serves yet.
func (n *nfsService) close() {
	closeAll(n.listeners)
	for _, m := range n.maps {
		if m.tcp != nil {
			m.tcp.Close()
		}
		if m.udp != nil {
			m.udp.Close()
		}
	}
}

// serveNFS serves on what listenNFS listens on.
func (s *server) serveNFS() {
	n := &s.nfs
	n.fs = fs.New(s.engine, fs.Options{Logger: s.o.log, Location: time.Local})
	n.server = nfs3.New(n.fs, s.engine, nfs3.Options{
		Logger: s.o.log,
		Observe: s.watch.metrics.Requests("nfs", "getattr", "lookup", "access", "read", "write", "commit", "readdirplus", "readdir",
			"create", "setattr", "remove", "rename", "mkdir", "rmdir", "link", "symlink", "mknod", "readlink",
			"fsstat", "fsinfo", "pathconf", "null", "mount.mnt"),
	})
	for _, l := range n.listeners {
		if !isLoopback(l) {
			s.o.log.Warn("NFS believes its clients who their users are: clients= of a share says who may use it", "listen", endpointOf(l))
		}
		go func() { s.ended <- n.server.Serve(l) }()
	}
	for _, m := range n.maps {
		go func() { s.ended <- m.Serve(m.tcp) }()
		go func() { s.ended <- m.ServePacket(m.udp) }()
	}
}

// shutdown lets calls in flight finish.
func (n *nfsService) shutdown(ctx context.Context) error {
	err := n.server.Shutdown(ctx)
	for _, m := range n.maps {
		if mapErr := m.Shutdown(ctx); err == nil {
			err = mapErr
		}
	}
	return err
}

// addresses are where NFS is served; share is one that can be mounted there.
func (n *nfsService) addresses(share string) []httpapi.Address {
	var list []httpapi.Address
	for _, l := range n.listeners {
		a := httpapi.Address{Proto: "nfs", Addr: endpointOf(l)}
		a.URI = nfsURI(a.Addr, share, len(n.maps) > 0)
		list = append(list, a)
	}
	return list
}

// nfsURI names a share as libnfs does, which without the ports would ask a
// portmapper.
func nfsURI(addr, share string, mapped bool) string {
	host, port := hostPort(addr)
	u := fmt.Sprintf("nfs://%s/%s", host, share)
	if !mapped {
		u += fmt.Sprintf("?nfsport=%s&mountport=%[1]s", port)
	}
	return u
}

// mountLine is the command with which Linux mounts a share.
func mountLine(addr, share string) string {
	host, port := hostPort(addr)
	proto := "tcp"
	if strings.HasPrefix(host, "[") {
		proto = "proto=tcp6,mountproto=tcp6"
	}
	return fmt.Sprintf("mount -t nfs -o vers=3,%s,port=%s,mountport=%[2]s,nolock %s:/%s /mnt", proto, port, host, share)
}

// hostPort splits an address into a host as URIs have it, and a port. What
// listens everywhere is reached here.
func hostPort(addr string) (host, port string) {
	host, port, _ = net.SplitHostPort(addr)
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host, port
}
