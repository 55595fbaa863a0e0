package interop

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"varve/test/daemon"
)

// TestUnit: systemd understands every line of the unit, finds its program, and
// thinks it well confined; and it can make the user that the unit names.
func TestUnit(t *testing.T) {
	root, err := daemon.Root()
	if err != nil {
		t.Fatal(err)
	}
	contrib := filepath.Join(root, "contrib", "systemd")
	unit, err := os.ReadFile(filepath.Join(contrib, "varve@.service"))
	if err != nil {
		t.Fatal(err)
	}
	const installed = "/usr/bin/varve"
	if !strings.Contains(string(unit), "ExecStart="+installed+" serve\n") {
		t.Fatal("the unit does not start " + installed)
	}
	dir := t.TempDir()
	instance := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, "varve@"+name+".service")
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, installed, program)), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	analyze := func(args ...string) (string, error) {
		out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
		return string(out), err
	}
	good := instance("main", string(unit))
	if out, err := analyze("verify", "--man=no", "--recursive-errors=no", good); err != nil || out != "" {
		t.Errorf("verify: %v\n%s", err, out)
	}
	bad := instance("bad", strings.Replace(string(unit), "NoNewPrivileges=", "NoNewPrivilege=", 1))
	if out, err := analyze("verify", "--man=no", "--recursive-errors=no", bad); err == nil && out == "" {
		t.Error("verify says nothing about a misspelt line")
	}
	const exposure = "20" // of 100
	if out, err := analyze("security", "--offline=yes", "--no-pager", "--threshold="+exposure, good); err != nil {
		t.Errorf("security: %v\n%s", err, out)
	}
	out, err := exec.Command("systemd-sysusers", "--dry-run", "--root="+t.TempDir(), filepath.Join(contrib, "varve.conf")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "varve") {
		t.Errorf("sysusers: %v\n%s", err, out)
	}
}
