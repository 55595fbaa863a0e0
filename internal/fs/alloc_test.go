package fs

import (
	"runtime/debug"
	"testing"

	"varve/test/race"
)

// TestGlancesAllocateNothing counts what the calls allocate that a server of
// files gets most.
func TestGlancesAllocateNothing(t *testing.T) {
	w := newWorld(t)
	d := w.mkdir(w.root, "d", 0o755)
	file := w.file(d, "a-name-of-some-length", "some bytes")
	limit := 0.0
	if race.Enabled() {
		limit = 2
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties the pools
	for name, call := range map[string]func() error{
		"Getattr": func() error {
			_, err := w.f.Getattr(root, file)
			return err
		},
		"Access": func() error {
			_, _, err := w.f.Access(root, file, AccessRead)
			return err
		},
		"Lookup": func() error {
			_, _, _, err := w.f.Lookup(root, d, "a-name-of-some-length")
			return err
		},
	} {
		per := testing.AllocsPerRun(1000, func() {
			if err := call(); err != nil {
				t.Fatal(err)
			}
		})
		if per > limit {
			t.Errorf("%s: %v allocations per call, limit %v", name, per, limit)
		}
	}
}
