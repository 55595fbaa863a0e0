package main

import (
	"net"
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

func TestAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	sock := unixPrefix + filepath.Join(t.TempDir(), "nbd.sock")
	at := taken.Addr().String()
	_, err = listenAll("--nbd", []string{sock, at}, "")
	want := "listen " + at + ": in use; use --nbd none or --nbd " + nextPort(at)
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
