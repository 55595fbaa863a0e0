package awake

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"varve/internal/fail"
)

// asked returns the requests that were made.
func asked(t *testing.T, name string) (list []uint32) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for ; len(b) > 0; b = b[4:] {
		list = append(list, binary.NativeEndian.Uint32(b))
	}
	return list
}

func eventually(t *testing.T, what string, step func(), cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
		step()
	}
}

func TestKeeper(t *testing.T) {
	name := filepath.Join(t.TempDir(), "device")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	busy := func() {
		for range often {
			k.Synced()
		}
	}
	nothing := func() {}
	count := func(n int) func() bool { return func() bool { return len(asked(t, name)) == n } }
	for range 3 { // syncs that are rare
		k.Synced()
		eventually(t, "the timer goes on", nothing, func() bool { return !k.armed.Load() })
	}
	if got := asked(t, name); len(got) != 0 {
		t.Fatalf("asked %v for syncs that are rare", got)
	}
	eventually(t, "asks for nothing", busy, count(1))
	eventually(t, "never takes it back", nothing, count(2))
	eventually(t, "the timer goes on", nothing, func() bool { return !k.armed.Load() })
	eventually(t, "asks only once", busy, count(3))
	got := asked(t, name)
	if got[0] != 0 || got[1] != any || got[2] != 0 {
		t.Errorf("asked %v", got)
	}
	k.Close()
	k.Synced()
	time.Sleep(2 * every)
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, err := k.device.Write(nil); err == nil {
		t.Error("the device stays open")
	}
}

func TestNoDevice(t *testing.T) {
	k, err := Open(filepath.Join(t.TempDir(), "none"))
	if !fail.Is(err, fail.Denied) {
		t.Errorf("error %v", err)
	}
	k.Synced()
	k.Close()
}
