package main

import (
	"strings"
	"testing"
	"time"
)

func TestClaims(t *testing.T) {
	var out strings.Builder
	printClaims(&out, []claim{
		{"fast", true, 95, 94.9, " %"},
		{"fast enough", true, 95, 95, " %"},
		{"small", false, 400, 400.5, " MiB"},
		{"small enough", false, 400, 400, " MiB"},
	}, []string{"a note"})
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"a note",
		"fast at least 95 % 94.90 % MISSED", "fast enough at least 95 % 95.00 % met",
		"small at most 400 MiB 400.50 MiB MISSED", "small enough at most 400 MiB 400.00 MiB met",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestMiddle(t *testing.T) {
	list := []time.Duration{9, 1, 5}
	if m := middle(list); m != 5 || list[0] != 9 {
		t.Error(m, list)
	}
}

func TestParseNFS(t *testing.T) {
	got, err := parseNFS("seqread 3 3000 1.5\n")
	if want := (result{perSecond: 2, bytes: 2000}); err != nil || got != want {
		t.Fatal(got, err)
	}
	for _, bad := range []string{"create 100 0\n", "create 0 0 1\n", "create 5 0 0\n", "nfsbench: mount failed\n"} {
		if r, err := parseNFS(bad); err == nil {
			t.Errorf("%q passes as %v", bad, r)
		}
	}
}

func TestNFSReport(t *testing.T) {
	all := results{}
	for _, n := range []float64{100, 5, 300} { // the median is 100
		all.add("create", nameVarve, result{perSecond: n})
	}
	all.add("create", nameGanesha, result{perSecond: 60})
	all.add("stat", nameGanesha, result{perSecond: 60})
	var out strings.Builder
	claims := nfsReport(&out, all)
	if len(claims) != 1 || claims[0].kept() || claims[0].limit != 2 || claims[0].got != 100.0/60 {
		t.Errorf("%+v", claims)
	}
	if flat := strings.Join(strings.Fields(out.String()), " "); !strings.Contains(flat, "create nfs-ganesha 60 0 1.67") || !strings.Contains(flat, "stat nfs-ganesha 60 0 -") {
		t.Error(out.String())
	}
}

func TestProvide(t *testing.T) {
	needs := []need{{"sh", "dash"}, {"/dev/null", "base"}, {"no-such-program", "b"}, {"/no/such/file", "a"}, {"no-such-either", "a"}}
	if got := strings.Join(missing(needs), " "); got != "a b" {
		t.Error(got)
	}
}
