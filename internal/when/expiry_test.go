package when

import (
	"testing"
	"time"

	"varve/internal/fail"
)

func TestExpiry(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	tokyo := time.FixedZone("", 9*3600)
	for _, c := range []struct {
		text, canonical string
		at              time.Time
	}{
		{"never", "never", time.Time{}},
		{"30d", "30d", now.AddDate(0, 0, 30)},
		{"1w", "7d", now.AddDate(0, 0, 7)},
		{"1d12h", "1d12h", now.Add(36 * time.Hour)},
		{"2027-01-01", "2026-12-31T15:00:00Z", time.Date(2026, 12, 31, 15, 0, 0, 0, time.UTC)},
		{"2027-01-01T10:00Z", "2027-01-01T10:00:00Z", time.Date(2027, 1, 1, 10, 0, 0, 0, time.UTC)},
		{"2026-11-22T19:00:01", "2026-11-22T10:00:01Z", now.Add(time.Second)},
	} {
		e, err := ParseExpiry(c.text, tokyo)
		if err != nil || e.String() != c.canonical {
			t.Errorf("%s: %v, %v", c.text, e, err)
			continue
		}
		if at, err := e.From(now); err != nil || !at.Equal(c.at) {
			t.Errorf("%s is %v, want %v; %v", c.text, at, c.at, err)
		}
		if again, err := ParseExpiry(e.String(), nil); err != nil || again != e {
			t.Errorf("%s came back as %v, %v", c.text, again, err)
		}
	}
}

func TestNoExpiry(t *testing.T) {
	for _, text := range []string{"", "0s", "30", "d", "30x", "30d-ago", "5m3m", "now", "@2027-01-01", "2027-13-01", "101w5000000d"} {
		if e, err := ParseExpiry(text, nil); !fail.Is(err, fail.Invalid) {
			t.Errorf("%q is %v, %v", text, e, err)
		}
	}
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for _, text := range []string{"2026-11-22", "2026-11-22T10:00"} {
		e, err := ParseExpiry(text, nil)
		if err != nil {
			t.Fatal(err)
		}
		if at, err := e.From(now); !fail.Is(err, fail.Invalid) {
			t.Errorf("%s, which is past, is %v, %v", text, at, err)
		}
	}
}
