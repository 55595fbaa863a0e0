package interop

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const targets = "iqn.2026-11.varve:"

// portals finds addresses that nobody listens on.
func portals(t *testing.T, n int) (list []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		list = append(list, l.Addr().String())
	}
	return list
}

// newTarget makes a pool and serves it on n portals.
func newTarget(t *testing.T, n int) (*lake, []string) {
	t.Helper()
	at := portals(t, n)
	var args []string
	for _, a := range at {
		args = append(args, "--iscsi", a)
	}
	return newLake(t, args...), at
}

func iscsiURL(at, name string) string { return "iscsi://" + at + "/" + targets + name + "/0" }

// conformance is how libiscsi's test program runs: once with all of it but what
// sanitizes, which sleeps for a minute, and once with that, at the same time.
// skips are what it does not test here, how often it says so, and why: it is not
// what a disk is.
var conformance = []struct {
	args  []string
	tests string
	skips map[string]skip
}{
	{[]string{"-t", "ALL"}, "230", map[string]skip{
		"Logical unit is not removable. Skipping test.":       {8, "medium removal, with START STOP UNIT and PREVENT ALLOW: a volume is no removable medium"},
		"Media is not removable.":                             {1, "the same"},
		"Logical unit is not write-protected. Skipping test.": {1, "the tests of a write-protected unit: this one is not, and those of moments are TestTargets"},
		"LBPPB < 2. Skipping test":                            {5, "they are for physical blocks larger than logical ones, and this volume was made to have none, see TestConformance"},
		"--allow-sanitize flag is not set. Skipping test.":    {11, "the other run has them"},
	}},
	{[]string{"-S", "-t", "ALL.Sanitize"}, "11", map[string]skip{
		"SANITIZE CRYPTO_ERASE is not implemented according to REPORT_SUPPORTED_OPCODES.": {3, "volumes are not encrypted: there is no key to forget"},
	}},
}

type skip struct {
	times int
	why   string
}

var (
	skipLine  = regexp.MustCompile(`\[SKIPPED\] ([^\n]*)`)
	testsLine = regexp.MustCompile(`tests +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)`)
	failLine  = regexp.MustCompile(`(?m)^ +\d+\. test_.*$`)
)

// TestConformance is libiscsi's test program: all of it, over two portals.
func TestConformance(t *testing.T) {
	for _, c := range conformance {
		t.Run(c.args[len(c.args)-1], func(t *testing.T) {
			t.Parallel()
			out := conform(t, c.args, c.tests)
			checkSkips(t, out, c.skips)
		})
	}
}

// conform runs libiscsi's tests against a pool of their own and returns what they
// said.
func conform(t *testing.T, args []string, tests string) string {
	t.Helper()
	l, at := newTarget(t, 2)
	l.varve("volume", "create", "disk0", "--size", "512M") // Sanitize.Reset wants one that it takes seconds to overwrite
	l.varve("set", "disk0", "sanitize=on")
	l.varve("set", "disk0", "physical-block=512") // with larger ones GetLBAStatus.UnmapSingle expects a map finer than they are
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	args = append(append([]string{"-d", "-n"}, args...), iscsiURL(at[0], "disk0"), iscsiURL(at[1], "disk0"))
	out, err := exec.CommandContext(ctx, "iscsi-test-cu", args...).CombinedOutput() // its status says whether any test failed
	m := testsLine.FindStringSubmatch(string(out))
	if m == nil {
		t.Fatalf("no summary: %v\n%s", err, out)
	}
	t.Logf("tests %s, ran %s, passed %s, failed %s, inactive %s", m[1], m[2], m[3], m[4], m[5])
	if m[2] != tests {
		t.Errorf("%s tests ran, not %s", m[2], tests)
	}
	if m[4] != "0" {
		t.Errorf("%s tests failed", m[4])
	}
	for _, line := range failLine.FindAllString(string(out), -1) {
		t.Errorf("failed: %s", line)
	}
	return string(out)
}

// checkSkips compares what was skipped with the list.
func checkSkips(t *testing.T, out string, skips map[string]skip) {
	t.Helper()
	found := map[string]int{}
	for _, s := range skipLine.FindAllStringSubmatch(out, -1) {
		found[strings.TrimSpace(s[1])]++
	}
	for line, n := range found {
		if skips[line].times != n {
			t.Errorf("skipped %d times, not %d: %s", n, skips[line].times, line)
		}
	}
	for line, want := range skips {
		if found[line] == 0 {
			t.Errorf("not skipped any more: %s (%s)", line, want.why)
		}
	}
}

// TestISCSIPrograms: libiscsi's other programs, and qemu's.
func TestISCSIPrograms(t *testing.T) {
	l, at := newTarget(t, 2)
	l.volume("disk0", "64M")
	l.volume("other", "1G")
	uri := iscsiURL(at[0], "disk0")

	list := do(t, "iscsi-ls", "iscsi://"+at[1])
	for _, want := range []string{targets + "disk0", targets + "other", at[0] + ",1", at[1] + ",2"} {
		if !strings.Contains(list, want) {
			t.Errorf("iscsi-ls shows no %s:\n%s", want, list)
		}
	}
	inq := do(t, "iscsi-inq", uri)
	for _, want := range []string{"Vendor:VARVE", "DIRECT_ACCESS", "CmdQue:1"} {
		if !strings.Contains(inq, want) {
			t.Errorf("iscsi-inq says no %s:\n%s", want, inq)
		}
	}
	ids := do(t, "iscsi-inq", "-e", "1", "-c", "131", uri)
	if again := do(t, "iscsi-inq", "-e", "1", "-c", "128", iscsiURL(at[1], "disk0")); again != do(t, "iscsi-inq", "-e", "1", "-c", "128", uri) {
		t.Errorf("another serial number on the other portal: %s", again)
	}
	if other := do(t, "iscsi-inq", "-e", "1", "-c", "131", iscsiURL(at[0], "other")); other == ids {
		t.Error("two volumes are the same device")
	}

	in := pattern(t, 64<<20, t.Name())
	do(t, "qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", in, uri)
	do(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", in, uri)
	l.varve("snapshot", "disk0@dawn")
	do(t, "qemu-io", "-f", "raw", "-c", "write -P 0x44 1M 300k", "-c", "write -P 0x45 5000192 512", "-c", "read -P 0x44 1M 300k", "-c", "read -P 0x45 5000192 512",
		"-c", "write -z 8M 1M", "-c", "read -P 0 8M 1M", "-c", "discard 16M 2M", "-c", "read -P 0 16M 2M", "-c", "flush", uri)
	// The moment before is served too, over iSCSI and unchanged, and cannot be written.
	do(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", in, iscsiURL(at[0], "disk0:dawn"))
	fails(t, "qemu-io", "-f", "raw", "-c", "write -P 1 0 4k", iscsiURL(at[0], "disk0:dawn"))
	// NBD and iSCSI serve the same bytes, also after a crash.
	l.crash()
	do(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", uri, l.URI("disk0"))
	back := filepath.Join(t.TempDir(), "back")
	do(t, "qemu-img", "convert", "-f", "raw", "-O", "raw", iscsiURL(at[1], "disk0:dawn"), back)
	sameFile(t, in, back)

	if out := do(t, "iscsi-perf", "-m", "32", "-b", "8", "-r", "-t", "1", uri); !strings.Contains(out, "iops average") {
		t.Errorf("iscsi-perf: %s", out)
	}
	if s := l.varve("status", "--json"); !strings.Contains(s, `"iscsi"`) {
		t.Errorf("status shows no iSCSI: %s", s)
	}
}

// TestISCSISecrets: CHAP with libiscsi's initiator, and that nothing shows the
// secrets.
func TestISCSISecrets(t *testing.T) {
	l, at := newTarget(t, 1)
	l.volume("disk0", "16M")
	const in, out = "secret-of-alice", "secret-of-varve"
	for _, p := range []string{"iscsi-user=alice", "iscsi-secret=" + in, "iscsi-mutual-user=varve", "iscsi-mutual-secret=" + out} {
		if said := l.varve("set", "disk0", p); strings.Contains(said, in) || strings.Contains(said, out) {
			t.Errorf("varve set says %q", said)
		}
	}
	uri := iscsiURL(at[0], "disk0")
	as := func(user, rest string) string {
		return strings.Replace(uri, "iscsi://", "iscsi://"+user+"@", 1) + rest
	}
	do(t, "iscsi-inq", as("alice%"+in, ""))
	do(t, "iscsi-inq", as("alice%"+in, "?target_user=varve&target_password="+out))
	for _, bad := range []string{uri, as("alice%wrong-secret-0", ""), as("bob%"+in, ""), as("alice%"+in, "?target_user=varve&target_password=another-secret"), as("alice%"+out, "")} {
		fails(t, "iscsi-inq", bad)
	}
	for _, args := range [][]string{{"show", "disk0"}, {"show", "disk0", "--json"}, {"list", "--json"}, {"log", "disk0", "--json"}, {"log", "disk0"}} {
		if said := l.varve(args...); strings.Contains(said, in) || strings.Contains(said, out) {
			t.Errorf("varve %v shows a secret:\n%s", args, said)
		}
	}
	l.crash() // they are there again
	do(t, "iscsi-inq", as("alice%"+in, ""))
	fails(t, "iscsi-inq", uri)

	l.varve("set", "disk0", "iscsi-clients=10.0.0.0/8")
	fails(t, "iscsi-inq", as("alice%"+in, ""))
	if list := do(t, "iscsi-ls", "iscsi://"+at[0]); strings.Contains(list, "disk0") {
		t.Errorf("discovery shows what may not be used: %s", list)
	}
	l.varve("set", "disk0", "iscsi-clients=", "--json")
	l.varve("set", "disk0", "iscsi-initiators=iqn.2026-11.test:one,iqn.2026-11.test:rack-*")
	for name, ok := range map[string]bool{"one": true, "rack-7": true, "two": false} {
		args := []string{"-i", "iqn.2026-11.test:" + name, as("alice%"+in, "")}
		if ok {
			do(t, "iscsi-inq", args...)
		} else {
			fails(t, "iscsi-inq", args...)
		}
	}
}

// TestISCSIStops: a server that ends lets go of its initiators and loses nothing.
func TestISCSIStops(t *testing.T) {
	l, at := newTarget(t, 1)
	l.volume("disk0", "64M")
	uri := iscsiURL(at[0], "disk0")
	cmd := exec.Command("iscsi-perf", "-m", "8", "-b", "8", "-t", "20", uri)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	time.Sleep(500 * time.Millisecond)
	begun := time.Now()
	if err := l.server.Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > 8*time.Second {
		t.Errorf("it took %v", took)
	}
	l.start()
	if !slices.Contains(strings.Fields(do(t, "iscsi-ls", "iscsi://"+at[0])), "Target:"+targets+"disk0") {
		t.Error("the target is gone")
	}
	fmt.Fprintln(t.Output(), l.varve("check", "--json"))
}
