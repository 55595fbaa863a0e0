package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"varve/internal/fail"
)

func TestEndpoints(t *testing.T) {
	for _, c := range []struct {
		given []string
		want  string
	}{
		{nil, "usual"},
		{[]string{"none"}, ""},
		{[]string{"127.0.0.1:1", "[::1]:2", "unix:/x"}, "127.0.0.1:1 [::1]:2 unix:/x"},
		{[]string{":10809"}, ":10809"},
	} {
		got, err := endpoints(c.given, "usual")
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("endpoints(%q) = %q, %v", c.given, got, err)
		}
	}
	for _, bad := range [][]string{{"none", "127.0.0.1:1"}, {"127.0.0.1:1", "none"}, {"unix:"}, {"10809"}, {"::1:10809"}, {""}} {
		if got, err := endpoints(bad, "usual"); !fail.Is(err, fail.Invalid) {
			t.Errorf("endpoints(%q) = %q, %v", bad, got, err)
		}
	}
}

// self is this process, as others name it.
func self(t *testing.T) string {
	t.Helper()
	name, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s (pid %d)", bytes.TrimSpace(name), os.Getpid())
}

func TestInUseBy(t *testing.T) {
	for _, c := range []struct{ listen, ask string }{
		{"127.0.0.1:0", "127.0.0.1:"}, {"127.0.0.1:0", ":"}, {"127.0.0.1:0", "0.0.0.0:"},
		{"0.0.0.0:0", "127.0.0.1:"}, {":0", "127.0.0.1:"}, {":0", "[::1]:"}, {"[::1]:0", "[::1]:"},
	} {
		l, err := net.Listen("tcp", c.listen)
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		if got := inUseBy(c.ask + port); got != self(t) {
			t.Errorf("%s listens; %s is held by %q", c.listen, c.ask+port, got)
		}
		l.Close()
		if got := inUseBy(c.ask + port); got != "" {
			t.Errorf("nobody listens; %s is held by %q", c.ask+port, got)
		}
	}
}

func TestParseListener(t *testing.T) {
	for line, want := range map[string]string{
		"   0: 0100007F:2A39 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 25541 1 0 100 0 0 10 0":                               "127.0.0.1:10809 25541",
		"   0: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1": "[::1]:22 77",
		"   0: 0000000000000000FFFF00000100007F:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 78 1": "127.0.0.1:22 78",
		"   0: 0100007F:2A39 0100007F:0017 01 00000000:00000000 00:00000000 00000000     0        0 25541 1":                                              "",
		"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode":                                                "",
		"   0: 010000:2A39 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 25541 1":                                                "",
		"   0: 010000XX:2A39 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 25541 1":                                              "",
		"   0: 0100007F:12A39 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 25541 1":                                             "",
		"": "",
	} {
		got := ""
		if at, inode, ok := parseListener(line); ok {
			got = at.String() + " " + inode
		}
		if got != want {
			t.Errorf("%q is %q, want %q", line, got, want)
		}
	}
}

func TestAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	sock := unixPrefix + filepath.Join(t.TempDir(), "nbd.sock")
	at := taken.Addr().String()
	_, err = listenAll("--nbd", []string{sock, at}, "")
	want := "listen " + at + ": in use by " + self(t) + "; use --nbd none or --nbd " + nextPort(at)
	if !fail.Is(err, fail.Busy) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	again, err := listenAll("--nbd", []string{sock}, "") // the first was let go
	if err != nil {
		t.Fatal(err)
	}
	if got := endpointOf(again[0]); got != sock {
		t.Errorf("listens on %s", got)
	}
	closeAll(again)
	if got := nextPort("[::1]:65535"); got != "[::1]:0" {
		t.Errorf("after the last port comes %s", got)
	}
}
