package main

import (
	"context"
	"net"
	"slices"
	"strings"
	"time"

	"varve/internal/fail"
	"varve/internal/httpapi"
	"varve/internal/iscsi"
)

const iscsiPort = "3260"

// iscsiService is what serves volumes over iSCSI.
type iscsiService struct {
	listeners []net.Listener
	server    *iscsi.Server
}

// iscsiEndpoints are those of --iscsi. Its initiators know no unix sockets.
func iscsiEndpoints(f serveFlags) ([]string, error) {
	all, err := endpoints(f.iscsi, "127.0.0.1:"+iscsiPort)
	switch {
	case err != nil:
		return nil, err
	case slices.ContainsFunc(all, func(e string) bool { return strings.HasPrefix(e, unixPrefix) }):
		return nil, fail.New(fail.Invalid, "iSCSI is served over TCP only").WithHint("write --iscsi 127.0.0.1:%s, [::1]:%[1]s or none", iscsiPort)
	}
	return all, nil
}

// serveISCSI serves on all listeners: they are portals of the same targets.
func (s *server) serveISCSI() {
	i := &s.iscsi
	i.server = iscsi.New(iscsi.Volumes(s.engine, time.Local), i.listeners, iscsi.Options{
		Logger:     s.o.log,
		Processors: s.o.processors,
		Observe:    s.watch.metrics.Requests("iscsi", iscsi.OpNames...),
	})
	if len(i.listeners) > 0 {
		go func() { s.ended <- i.server.Serve() }()
	}
}

func (i *iscsiService) shutdown(ctx context.Context) error { return i.server.Shutdown(ctx) }

func (i *iscsiService) addresses() (list []httpapi.Address) {
	for _, l := range i.listeners {
		list = append(list, httpapi.Address{Proto: "iscsi", Addr: endpointOf(l), URI: iscsiURI(endpointOf(l), "")})
	}
	return list
}

func (i *iscsiService) clients() (list []httpapi.Session) {
	for _, c := range i.server.Clients() {
		list = append(list, httpapi.Session{
			Proto: "iscsi", Addr: c.Addr, Export: c.Target, Since: c.Since, Requests: c.Requests, Bytes: c.BytesRead + c.BytesWritten,
		})
	}
	return list
}

// iscsiURI names a volume as libiscsi and qemu do.
func iscsiURI(addr, volume string) string {
	if volume == "" {
		return "iscsi://" + addr
	}
	return "iscsi://" + addr + "/" + iscsi.Prefix + volume + "/0"
}
