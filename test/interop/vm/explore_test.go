package vm

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
	"fmt"
	"strings"
)

// development only
func TestExplore(t *testing.T) {
	s := serve(t)
	s.varve("volume", "create", "disk0", "--size", "2G")
	s.varve("volume", "create", "disk1", "--size", "1G")
	bin := filepath.Join(t.TempDir(), "reattach")
	c := exec.Command("go", "build", "-o", bin, "./reattach")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatal(string(out))
	}
	g := boot(t, bin)
	fmt.Println("PORT", s.port, "DIR", s.Dir)
	os.WriteFile("/tmp/vmdev/env", []byte(s.port+" "+s.Dir+"\n"), 0o644)
	for {
		if _, err := os.Stat("/tmp/vmdev/stop"); err == nil { break }
		if _, err := os.Stat("/tmp/vmdev/kill"); err == nil { os.Remove("/tmp/vmdev/kill"); s.running.Kill() }
		if _, err := os.Stat("/tmp/vmdev/start"); err == nil { os.Remove("/tmp/vmdev/start"); s.start() }
		b, err := os.ReadFile("/tmp/vmdev/cmd")
		if err != nil { time.Sleep(100*time.Millisecond); continue }
		os.Remove("/tmp/vmdev/cmd")
		g.begin(5*time.Minute, string(b))
		go func() {
			out, err := g.end(5*time.Minute)
			os.WriteFile("/tmp/vmdev/out.tmp", []byte(fmt.Sprint(strings.TrimSpace(out), "\n", err, "\n")), 0o644)
			os.Rename("/tmp/vmdev/out.tmp", "/tmp/vmdev/out")
		}()
	}
}
