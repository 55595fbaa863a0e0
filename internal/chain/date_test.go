package chain

import "testing"

// TestDates: no two dumps of a share have the same date; those of others do not matter.
func TestDates(t *testing.T) {
	d := New(nil)
	for i, x := range []struct {
		share       string
		least, want int64
	}{{"a", 100, 100}, {"a", 100, 101}, {"b", 100, 100}, {"a", 50, 102}, {"a", 200, 200}} {
		if got := d.date(x.share, x.least); got != x.want {
			t.Errorf("%d: %s at %d has %d, want %d", i, x.share, x.least, got, x.want)
		}
	}
}
