package keep

import (
	"math"
	"strings"
	"testing"
	"time"

	"varve/internal/fail"
	"varve/internal/when"
)

const day = 24 * time.Hour

func TestParseHistory(t *testing.T) {
	for _, c := range []struct {
		in    string
		want  History
		canon string
	}{
		{"24h,20%", DefaultHistory(), "24h,20%"},
		{"1d,20.0%", DefaultHistory(), "24h,20%"},
		{"24h", History{Age: day}, "24h"},
		{"24h,100%", History{Age: day}, "24h"},
		{"20%", History{Share: 2000}, "20%"},
		{"7d12h,5%", History{Age: 7*day + 12*time.Hour, Share: 500}, "7d12h,5%"},
		{"2w", History{Age: 14 * day}, "14d"},
		{"47h", History{Age: 47 * time.Hour}, "47h"},
		{"49h", History{Age: 49 * time.Hour}, "2d1h"},
		{"90m", History{Age: 90 * time.Minute}, "1h30m"},
		{"1d1s", History{Age: day + time.Second}, "24h1s"},
		{"36500d,99.99%", History{Age: when.MaxAge, Share: 9999}, "36500d,99.99%"},
		{"0.5%", History{Share: 50}, "0.5%"},
		{"0.05%", History{Share: 5}, "0.05%"},
		{"12.30%", History{Share: 1230}, "12.3%"},
		{"none", History{None: true}, "none"},
		{"0", History{None: true}, "none"},
		{"0s", History{None: true}, "none"},
		{"0%", History{None: true}, "none"},
		{"0h,20%", History{None: true}, "none"},
		{"24h,0%", History{None: true}, "none"},
		{"all", History{}, "all"},
		{"100%", History{}, "all"},
	} {
		got, err := ParseHistory(c.in)
		if err != nil || got != c.want {
			t.Errorf("ParseHistory(%q) = %+v, %v; want %+v", c.in, got, err, c.want)
		}
		if s := got.String(); s != c.canon {
			t.Errorf("ParseHistory(%q) is written %q, want %q", c.in, s, c.canon)
		}
	}
	for _, in := range []string{
		"", ",", "24h,", ",20%", "20%,24h", "24", "24 h", "h", "-1h", "+1h", "5m3m", "3m5h", "1y", "24H", "1.5h",
		"36501d", "36500d1s", "5214w3d", "99999999999999999999s", "20", "%", ".5%", "5.%", "0.001%", "100.01%", "101%", "-5%", "+5%", "5.-1%", "1e1%",
		"24h,20%,5", "24h,all", "all,20%", "None", strings.Repeat("1", 97) + "h",
	} {
		h, err := ParseHistory(in)
		refused(t, in, err)
		if h != (History{}) {
			t.Errorf("ParseHistory(%q) = %+v beside its error", in, h)
		}
	}
}

func TestParseSchedule(t *testing.T) {
	for _, c := range []struct {
		in    string
		want  Schedule
		canon string
	}{
		{"hourly:36,daily:30,weekly:8,monthly:12,yearly:3", DefaultSchedule(), "hourly:36,daily:30,weekly:8,monthly:12,yearly:3"},
		{"daily:7", Schedule{Daily: 7}, "daily:7"},
		{"yearly:1,hourly:10000", Schedule{Hourly: 10000, Yearly: 1}, "hourly:10000,yearly:1"},
		{"hourly:0,weekly:08", Schedule{Weekly: 8}, "weekly:8"},
		{"none", Schedule{}, "none"},
		{"hourly:0", Schedule{}, "none"},
	} {
		got, err := ParseSchedule(c.in)
		if err != nil || got != c.want {
			t.Errorf("ParseSchedule(%q) = %v, %v; want %v", c.in, got, err, c.want)
		}
		if s := got.String(); s != c.canon {
			t.Errorf("ParseSchedule(%q) is written %q, want %q", c.in, s, c.canon)
		}
	}
	for _, in := range []string{
		"", ",", "daily", "daily:", "daily:-1", "daily:+1", "daily:1.5", "daily:10001", "daily:99999999999999999999", "daily:1,",
		"daily:1,daily:2", "daily:0,daily:0", "minutely:5", "Daily:1", " daily:1", "daily: 1", "daily:1:2", "none,daily:1", "0",
		strings.Repeat("0", 97),
	} {
		s, err := ParseSchedule(in)
		refused(t, in, err)
		if s != (Schedule{}) {
			t.Errorf("ParseSchedule(%q) = %v beside its error", in, s)
		}
	}
}

// refused: an error is Invalid, short, and says what to do next.
func refused(t *testing.T, in string, err error) {
	t.Helper()
	f, ok := err.(*fail.Error)
	if !ok || f.Kind != fail.Invalid || f.Hint == "" || len(f.Error()) > 1000 || strings.Contains(f.Hint, "%!") {
		t.Errorf("%q: error %v", in, err)
	}
}

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		h        History
		age      time.Duration
		bytes    int64
		byAge    bool
		byShare  bool
		capacity int64
	}{
		{DefaultHistory(), day, 200, true, true, 1000},
		{History{Age: day}, day, 0, true, false, 1000},
		{History{Share: 1}, 0, 0, false, true, 9999},
		{History{Share: 1}, 0, 1, false, true, 10000},
		{History{Share: 9999}, 0, 9222449699651090329, false, true, math.MaxInt64},
		{History{Share: 9999}, 0, 0, false, true, -1},
		{History{None: true}, 0, 0, true, true, 1000},
		{History{}, 0, 0, false, false, 1000},
	} {
		age, byAge := c.h.AgeLimit()
		bytes, byShare := c.h.ByteLimit(c.capacity)
		if age != c.age || byAge != c.byAge || bytes != c.bytes || byShare != c.byShare {
			t.Errorf("%s of %d: age %v %v, bytes %d %v", c.h, c.capacity, age, byAge, bytes, byShare)
		}
	}
}

// FuzzHistory: nothing panics, and what ParseHistory accepts means the same
// once it was written out.
func FuzzHistory(f *testing.F) {
	for _, s := range []string{"24h,20%", "7d12h,5%", "2w", "0.05%", "none", "0", "all", "1d1s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHistory(s)
		if err != nil {
			refused(t, s, err)
			return
		}
		again, err := ParseHistory(h.String())
		if err != nil || again != h || h.Age < 0 || h.Age > when.MaxAge || h.Share < 0 || h.Share >= WholePool || h.None && h != (History{None: true}) {
			t.Fatalf("%q: %+v is written %s: %+v, %v", s, h, h, again, err)
		}
	})
}

// FuzzSchedule: the same of schedules.
func FuzzSchedule(f *testing.F) {
	for _, s := range []string{"hourly:36,daily:30,weekly:8,monthly:12,yearly:3", "none", "yearly:0,daily:10000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParseSchedule(s)
		if err != nil {
			refused(t, s, err)
			return
		}
		again, err := ParseSchedule(p.String())
		if err != nil || again != p {
			t.Fatalf("%q: %v is written %s: %v, %v", s, p, p, again, err)
		}
		for _, n := range p {
			if n < 0 || n > MaxCount {
				t.Fatalf("%q: %v", s, p)
			}
		}
	})
}
