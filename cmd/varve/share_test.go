package main

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"varve/internal/fail"
	"varve/internal/httpapi"
	"varve/internal/vfs"
	"varve/test/nfsclient"
)

// TestNFSOfARealServer: what clients do over NFS is counted, and they are
// shown while they are connected.
func TestNFSOfARealServer(t *testing.T) {
	h := serveHere(t)
	defer h.end()
	before := h.scrape()
	conn, err := nfsclient.Dial(firstAddress(h.info, "nfs"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s := shareClient{nfsclient.Client{Conn: conn}.As(0, 0)}
	if _, err := s.do("write", "/home/file", []string{strings.Repeat("x", 5000)}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.do("read", "/home/none", []string{""}); err == nil {
		t.Fatal("there is a file that nobody made")
	}
	after := h.scrape()
	for key, want := range map[string]float64{
		"varve_request_duration_seconds write nfs":        1,
		"varve_request_duration_seconds create nfs":       1,
		"varve_request_duration_seconds mount.mnt nfs":    3,
		"varve_request_duration_seconds other nfs":        0,
		"varve_request_bytes_total write nfs":             5000,
		"varve_request_errors_total not-found lookup nfs": 1,
		"varve_clients nfs":                               1,
		"varve_request_duration_seconds setattr nfs":      0,
	} {
		if _, there := after[key]; !there {
			t.Errorf("%s is not there", key)
		} else if got := after[key] - before[key]; got != want {
			t.Errorf("%s rose by %v, want %v", key, got, want)
		}
	}
	st, err := httpapi.NewClient(h.dir).Status(context.Background())
	if err != nil || len(st.Server.Clients) != 1 || st.Server.Clients[0].Proto != "nfs" {
		t.Errorf("clients %+v, %v", st.Server.Clients, err)
	}
}

// TestPortmap: who may bind port 111 tells clients where NFS is; who may not, or
// comes too late, is told so, before anything is served.
func TestPortmap(t *testing.T) {
	h := &house{t: t, dir: filepath.Join(t.TempDir(), "p")}
	if err := makePool(vfs.OS(), h.dir, 64<<20, 1<<20); err != nil {
		t.Fatal(err)
	}
	const host = "127.0.111.1" // another portmapper may be on this machine
	l, probe := net.Listen("tcp", host+":111")
	if probe == nil {
		l.Close()
	}
	ready := make(chan httpapi.ServerInfo, 1)
	o := h.options(func(i httpapi.ServerInfo, _, _ string) error { ready <- i; return nil })
	o.nfs, o.portmap = []string{host + ":0"}, true
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- servePool(ctx, o) }()
	select {
	case err := <-ended:
		switch {
		case errors.Is(probe, syscall.EACCES) && fail.Is(err, fail.Denied) && strings.Contains(err.Error(), "CAP_NET_BIND_SERVICE"):
		case errors.Is(probe, syscall.EADDRINUSE) && isTaken(err, host):
		default:
			t.Errorf("port 111: %v; serving: %v", probe, err)
		}
		return
	case i := <-ready:
		askPortmap(t, i)
		second := o
		second.dir = filepath.Join(t.TempDir(), "q")
		if err := makePool(vfs.OS(), second.dir, 64<<20, 1<<20); err != nil {
			t.Fatal(err)
		}
		second.nbd, second.http = nil, nil
		if err := servePool(ctx, second); !isTaken(err, host) {
			t.Errorf("a second portmapper: %v", err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func isTaken(err error, host string) bool {
	return fail.Is(err, fail.Busy) && strings.Contains(err.Error(), host+":111: in use") && strings.Contains(err.Error(), "leave --portmap out")
}

func askPortmap(t *testing.T, i httpapi.ServerInfo) {
	t.Helper()
	addr := firstAddress(i, "nfs")
	host, port, _ := net.SplitHostPort(addr)
	conn, err := nfsclient.Dial(host + ":111")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	got, o := nfsclient.Client{Conn: conn}.As(0, 0).Getport(100003, 3, 6)
	if err := o.Want(nfsclient.OK); err != nil || strconv.Itoa(int(got)) != port {
		t.Errorf("the portmapper says %d, NFS is at %s: %v", got, addr, err)
	}
	if i.Addresses[0].URI != "nfs://"+host+"/home" {
		t.Errorf("with a portmapper the URI is %s", i.Addresses[0].URI)
	}
}
