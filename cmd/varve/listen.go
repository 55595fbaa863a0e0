package main

import (
	"errors"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"varve/internal/fail"
	"varve/internal/httpapi"
)

const unixPrefix = "unix:"

// endpoints turns the values of --nfs, --nbd or --http into what to listen on:
// HOST:PORT, [::1]:PORT, unix:/path, or none for nothing at all.
func endpoints(given []string, usual ...string) ([]string, error) {
	if len(given) == 0 {
		return usual, nil
	}
	_, port, _ := net.SplitHostPort(usual[0])
	for _, e := range given {
		path, isUnix := strings.CutPrefix(e, unixPrefix)
		_, _, err := net.SplitHostPort(e)
		switch {
		case e == "none" && len(given) == 1:
			return nil, nil
		case e == "none":
			return nil, fail.New(fail.Invalid, "none stands alone: nothing else can be listened on with it")
		case isUnix && path == "", !isUnix && err != nil:
			return nil, fail.New(fail.Invalid, "%q is nothing to listen on", e).
				WithHint("write 127.0.0.1:%s, [::1]:%[1]s, unix:/path or none", port)
		}
	}
	return given, nil
}

// listenAll listens on all endpoints or on none. The caller holds the lock of
// the pool, so a unix socket that is there already is stale.
func listenAll(flag string, endpoints []string, group string) ([]net.Listener, error) {
	var all []net.Listener
	for _, e := range endpoints {
		l, err := listen(flag, e, group)
		if err != nil {
			closeAll(all)
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

func listen(flag, endpoint, group string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(endpoint, unixPrefix); ok {
		return httpapi.ListenUnix(path, group)
	}
	l, err := net.Listen("tcp", endpoint)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		by := inUseBy(endpoint)
		if by != "" {
			by = " by " + by
		}
		return nil, fail.New(fail.Busy, "listen %s: in use%s", endpoint, by).
			WithHint("use %s none or %[1]s %s", flag, nextPort(endpoint))
	case errors.Is(err, syscall.EACCES):
		return nil, fail.Wrap(fail.Denied, err, "listen %s", endpoint)
	case err != nil:
		return nil, fail.Wrap(fail.Invalid, err, "listen %s", endpoint)
	}
	return l, nil
}

// nextPort is an address to try instead: the port above, or any if that is
// not a number.
func nextPort(endpoint string) string {
	host, port, _ := net.SplitHostPort(endpoint)
	n, err := strconv.Atoi(port)
	if err != nil || n >= 65535 {
		n = -1
	}
	return net.JoinHostPort(host, strconv.Itoa(n+1))
}

func closeAll(ls []net.Listener) {
	for _, l := range ls {
		l.Close()
	}
}

// endpointOf names what a listener really listens on.
func endpointOf(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		path := l.Addr().String()
		if abs, err := filepath.Abs(path); err == nil {
			path = abs
		}
		return unixPrefix + path
	}
	return l.Addr().String()
}

// isLoopback says whether only this machine can reach a listener.
func isLoopback(l net.Listener) bool {
	tcp, ok := l.Addr().(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}
