package when

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the zones of these tests, on any machine

	"varve/internal/fail"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestParse(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	for _, c := range []struct {
		in    string
		want  Spec
		canon string
	}{
		{"@now", Spec{Kind: Now}, "@now"},
		{"now", Spec{Kind: Now}, "@now"},
		{"@before-upgrade", Spec{Kind: Snapshot, Name: "before-upgrade"}, "@before-upgrade"},
		{"@2026-11-22-nightly", Spec{Kind: Snapshot, Name: "2026-11-22-nightly"}, "@2026-11-22-nightly"},
		{"@10m-ago", Spec{Kind: Ago, Ago: 10 * time.Minute}, "@10m-ago"},
		{"@1d2h-ago", Spec{Kind: Ago, Ago: 26 * time.Hour}, "@1d2h-ago"},
		{"@2w-ago", Spec{Kind: Ago, Ago: 14 * 24 * time.Hour}, "@14d-ago"},
		{"@90s-ago", Spec{Kind: Ago, Ago: 90 * time.Second}, "@1m30s-ago"},
		{"@0s-ago", Spec{Kind: Ago}, "@0s-ago"},
		{"@lsn:812455", Spec{Kind: LSN, LSN: 812455}, "@lsn:812455"},
		{"@lsn:18446744073709551615", Spec{Kind: LSN, LSN: 1<<64 - 1}, "@lsn:18446744073709551615"},
		{"@cp:88", Spec{Kind: Checkpoint, Checkpoint: 88}, "@cp:88"},
		{"@2026-11-22", Spec{Kind: Time, Time: time.Date(2026, 11, 21, 23, 0, 0, 0, time.UTC)}, "@2026-11-21T23:00:00Z"},
		{"@2026-11-22T10:00", Spec{Kind: Time, Time: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)}, "@2026-11-22T09:00:00Z"},
		{"@2026-11-22T10:00:05", Spec{Kind: Time, Time: time.Date(2026, 11, 22, 9, 0, 5, 0, time.UTC)}, "@2026-11-22T09:00:05Z"},
		{"@2026-11-22T10:00:05.25Z", Spec{Kind: Time, Time: time.Date(2026, 11, 22, 10, 0, 5, 25e7, time.UTC)}, "@2026-11-22T10:00:05.25Z"},
		{"@2026-11-22T10:00Z", Spec{Kind: Time, Time: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)}, "@2026-11-22T10:00:00Z"},
		{"@2026-11-22T10:00+02:00", Spec{Kind: Time, Time: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)}, "@2026-11-22T08:00:00Z"},
		{"@2026-11-22T10:00:05-03:30", Spec{Kind: Time, Time: time.Date(2026, 11, 22, 13, 30, 5, 0, time.UTC)}, "@2026-11-22T13:30:05Z"},
	} {
		got, err := Parse(c.in, berlin)
		if err != nil || got != c.want {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", c.in, got, err, c.want)
			continue
		}
		if s := got.String(); s != c.canon {
			t.Errorf("Parse(%q).String() = %q, want %q", c.in, s, c.canon)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for in, say := range map[string]string{
		"":                           "names no moment",
		"@":                          "names no moment",
		"@@now":                      "names no moment",
		"@Now":                       "names no moment",
		"@pool":                      "names no moment",
		"@a b":                       "names no moment",
		"@lsn:":                      "after lsn: comes a number",
		"@lsn:-1":                    "after lsn: comes a number",
		"@lsn:18446744073709551616":  "after lsn: comes a number",
		"@cp:x":                      "after cp: comes a number",
		"@10-ago":                    "reads as a time ago, but is none",
		"@10x-ago":                   "reads as a time ago, but is none",
		"@2h1d-ago":                  "reads as a time ago, but is none",
		"@5m3m-ago":                  "reads as a time ago, but is none",
		"@5mm-ago":                   "reads as a time ago, but is none",
		"@99999999999999999999s-ago": "more than 100 years",
		"@36501d-ago":                "more than 100 years",
		"@36500d1s-ago":              "more than 100 years",
		"@2026-13-01":                "reads as a time, but is none",
		"@2026-02-30":                "reads as a time, but is none",
		"@2026-11-22T":               "reads as a time, but is none",
		"@2026-11-22t10:00":          "reads as a time, but is none",
		"@2026-11-22T25:00":          "reads as a time, but is none",
		"@1969-12-31T23:59Z":         "years go from 1970",
		"@1970-01-01T00:00+01:00":    "years go from 1970",
		"@2262-01-01":                "years go from 1970",
		strings.Repeat("a", 97):      "too long",
	} {
		got, err := Parse(in, time.UTC)
		if !fail.Is(err, fail.Invalid) || !strings.Contains(err.Error(), say) {
			t.Errorf("Parse(%q) = %+v, %v; want an error that says %q", in, got, err, say)
		}
	}
}

func TestDaylightSaving(t *testing.T) {
	for _, c := range []struct {
		loc, in, want string // want is UTC, or what the error says
	}{
		{"Europe/Berlin", "2026-10-25T01:59", "@2026-10-24T23:59:00Z"},
		{"Europe/Berlin", "2026-10-25T02:30", "2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00"},
		{"Europe/Berlin", "2026-10-25T02:30+01:00", "@2026-10-25T01:30:00Z"},
		{"Europe/Berlin", "2026-10-25T03:00", "@2026-10-25T02:00:00Z"},
		{"Europe/Berlin", "2026-03-29T01:59:59", "@2026-03-29T00:59:59Z"},
		{"Europe/Berlin", "2026-03-29T02:00", "put forward; name the zone: 2026-03-29T03:00:00+02:00"},
		{"Europe/Berlin", "2026-03-29T03:00", "@2026-03-29T01:00:00Z"},
		{"Australia/Lord_Howe", "2026-04-05T01:45", "2026-04-05T01:45:00+11:00 or 2026-04-05T01:45:00+10:30"},
		{"America/Havana", "2026-11-01", "2026-11-01T00:00:00-04:00 or 2026-11-01T00:00:00-05:00"},
		{"Pacific/Apia", "2011-12-30", "was never on the clocks of Pacific/Apia"},
		{"Pacific/Apia", "2011-12-31", "@2011-12-30T10:00:00Z"},
		{"America/New_York", "2026-11-01T01:30", "2026-11-01T01:30:00-04:00 or 2026-11-01T01:30:00-05:00"},
	} {
		s, err := Parse(c.in, zone(t, c.loc))
		if got := s.String(); err == nil && got != c.want {
			t.Errorf("%s in %s: got %s, want %s", c.in, c.loc, got, c.want)
		} else if err != nil && (!fail.Is(err, fail.Invalid) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s in %s: error %v, want %s", c.in, c.loc, err, c.want)
		}
	}
}

func TestParseAddress(t *testing.T) {
	now, snap := &Spec{}, &Spec{Kind: Snapshot, Name: "a.."}
	ten := &Spec{Kind: Time, Time: time.Date(2026, 11, 22, 10, 0, 5, 0, time.UTC)}
	for in, want := range map[string]Address{
		"disk0":                           {Dataset: "disk0"},
		"disk0@now":                       {Dataset: "disk0", When: now},
		"disk0@a..":                       {Dataset: "disk0", When: snap},
		"disk0@a....@now":                 {Dataset: "disk0", When: snap, To: now},
		"disk0@2026-11-22T10:00:05":       {Dataset: "disk0", When: ten},
		"home@2026-11-22T10:00:05Z:/a":    {Dataset: "home", When: ten, Path: "/a"},
		"home:/x@y:/z:p3":                 {Dataset: "home", Path: "/x@y:/z:p3"},
		"disk0:p1":                        {Dataset: "disk0", Partition: 1},
		"disk0@now:p128:/etc/passwd":      {Dataset: "disk0", When: now, Partition: 128, Path: "/etc/passwd"},
		"disk0@now..@2026-11-22T10:00:05": {Dataset: "disk0", When: now, To: ten},
	} {
		got, err := ParseAddress(in, time.UTC)
		if err != nil {
			t.Errorf("ParseAddress(%q): %v", in, err)
			continue
		}
		if got.Dataset != want.Dataset || got.Path != want.Path || got.Partition != want.Partition ||
			!same(got.When, want.When) || !same(got.To, want.To) {
			t.Errorf("ParseAddress(%q) = %+v (%v..%v)", in, got, got.When, got.To)
		}
	}
	for _, in := range []string{"", "@now", ":/a", "Disk", "a b", "disk0@", "disk0@now..@", "disk0:p0", "disk0:p129",
		"disk0:p99999999999999999999", "disk0@a..b@c", "disk0@now..@now..@now", "disk0:", strings.Repeat("a", 64)} {
		if got, err := ParseAddress(in, time.UTC); !fail.Is(err, fail.Invalid) {
			t.Errorf("ParseAddress(%q) = %+v, %v; want Invalid", in, got, err)
		}
	}
}

func same(a, b *Spec) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

func TestValidName(t *testing.T) {
	for _, ok := range []string{"a", "disk0", "0", "a.b_c-d", "now-1", "ago", "before-10m-ago", "2026-11", "2026-11-22-nightly", "20261122", "lsn", strings.Repeat("a", 63)} {
		if err := ValidName(ok); err != nil {
			t.Errorf("ValidName(%q): %v", ok, err)
		}
		if s, err := Parse(ok, time.UTC); err != nil || s.Kind != Snapshot || s.Name != ok {
			t.Errorf("Parse(%q) = %+v, %v; want a snapshot", ok, s, err)
		}
	}
	for bad, say := range map[string]string{
		"":                      "missing",
		"pool":                  "reserved",
		"now":                   "reads as a time",
		"10m-ago":               "reads as a time",
		"10x-ago":               "reads as a time",
		"2026-11-22":            "reads as a time",
		"2026-99-99":            "reads as a time",
		"2026-11-22t10":         "reads as a time",
		"A":                     "is no name",
		"-a":                    "is no name",
		".a":                    "is no name",
		"a/b":                   "is no name",
		"a@b":                   "is no name",
		"lsn:5":                 "is no name",
		"a\n":                   "is no name",
		strings.Repeat("a", 64): "at most 63",
	} {
		if err := ValidName(bad); !fail.Is(err, fail.Invalid) || !strings.Contains(err.Error(), say) {
			t.Errorf("ValidName(%q) = %v; want %q", bad, err, say)
		}
	}
}

// FuzzWhen: nothing panics, and what Parse accepts means the same everywhere
// once it was written out.
func FuzzWhen(f *testing.F) {
	for _, s := range []string{"@now", "@1d2h-ago", "@2026-10-25T02:30", "@2026-11-22T10:00:05.5+02:00", "@lsn:7", "@cp:8", "disk0@a..@b:p1:/x"} {
		f.Add(s, true)
	}
	berlin, apia := zone(f, "Europe/Berlin"), zone(f, "Pacific/Apia")
	f.Fuzz(func(t *testing.T, s string, north bool) {
		from, to := berlin, apia
		if !north {
			from, to = apia, berlin
		}
		if spec, err := Parse(s, from); err == nil {
			roundTrip(t, spec, to)
		} else if !fail.Is(err, fail.Invalid) || len(err.Error()) > 1000 {
			t.Fatalf("Parse(%q): %v", s, err)
		}
		if a, err := ParseAddress(s, from); err == nil {
			if checkShape(a.Dataset) != nil || a.To != nil && a.When == nil {
				t.Fatalf("ParseAddress(%q) = %+v", s, a)
			}
			for _, spec := range []*Spec{a.When, a.To} {
				if spec != nil {
					roundTrip(t, *spec, to)
				}
			}
		}
		if ValidName(s) == nil {
			if spec, err := Parse("@"+s, from); err != nil || spec != (Spec{Kind: Snapshot, Name: s}) {
				t.Fatalf("the name %q parses as %+v, %v", s, spec, err)
			}
		}
	})
}

func roundTrip(t *testing.T, s Spec, loc *time.Location) {
	if got, err := Parse(s.String(), loc); err != nil || got != s {
		t.Fatalf("%+v is written %q, which parses as %+v, %v", s, s, got, err)
	}
}
