package keep

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"varve/internal/when"
)

func at(t *testing.T, s string) time.Time {
	t.Helper()
	w, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestThin: 2026-11-23 is a Monday.
func TestThin(t *testing.T) {
	for _, c := range []struct {
		name     string
		schedule string
		times    []string // a "!" before one protects it
		gone     []int
	}{
		{"nothing", "daily:1", nil, nil},
		{"none keeps the newest", "none", []string{"2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z"}, []int{0}},
		{"none keeps the protected", "none", []string{"!2026-11-22T10:00:00Z", "2026-11-22T10:30:00Z", "2026-11-22T11:00:00Z"}, []int{1}},
		{"the last of each hour", "hourly:2",
			[]string{"2026-11-22T09:59:59Z", "2026-11-22T10:00:00Z", "2026-11-22T10:59:59Z", "2026-11-22T11:00:00Z"}, []int{0, 1}},
		{"hours without points do not count", "hourly:3",
			[]string{"2001-01-01T00:00:00Z", "2016-01-01T00:00:00Z", "2026-11-22T10:00:00Z"}, nil},
		{"days are UTC", "daily:2",
			[]string{"2026-11-22T00:30:00+02:00", "2026-11-22T01:30:00+02:00", "2026-11-22T02:30:00+02:00"}, []int{0}},
		{"weeks begin on Monday", "weekly:2",
			[]string{"2026-11-16T00:00:00Z", "2026-11-22T23:59:59Z", "2026-11-23T00:00:00Z", "2026-11-29T00:00:00Z"}, []int{0, 2}},
		{"a week over the end of a year", "weekly:1", []string{"2026-12-28T00:00:00Z", "2027-01-03T23:00:00Z"}, []int{0}},
		{"months of two years", "monthly:2", []string{"2025-11-05T00:00:00Z", "2026-10-31T23:00:00Z", "2026-11-01T00:00:00Z"}, []int{0}},
		{"years", "yearly:2", []string{"2024-12-31T23:59:59Z", "2025-01-01T00:00:00Z", "2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z"}, []int{0, 1}},
		{"one rule keeps what another lets go", "hourly:2,yearly:2",
			[]string{"2025-12-31T23:00:00Z", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z"}, []int{1}},
		{"a protected point counts as its period's", "daily:2",
			[]string{"2026-11-20T10:00:00Z", "!2026-11-21T10:00:00Z", "2026-11-22T10:00:00Z"}, []int{0}},
		{"a protected point stays beside its period's", "daily:2",
			[]string{"2026-11-20T10:00:00Z", "!2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z", "2026-11-22T10:00:00Z"}, []int{0}},
		{"equal times", "daily:9", []string{"2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z"}, []int{0, 1}},
		{"time that fell, in the order of LSNs", "daily:3",
			[]string{"2026-11-21T10:00:00Z", "2036-11-22T10:00:00Z", "2026-11-22T10:00:00Z"}, nil},
	} {
		s, err := ParseSchedule(c.schedule)
		if err != nil {
			t.Fatal(err)
		}
		var points []Point
		for _, w := range c.times {
			w, protected := strings.CutPrefix(w, "!")
			points = append(points, Point{at(t, w), protected})
		}
		if gone := Thin(s, points); !slices.Equal(gone, c.gone) {
			t.Errorf("%s: %v gone, want %v", c.name, gone, c.gone)
		}
	}
}

// TestYearsOfHours: a point each hour, thinned at once each time, leaves what
// the default schedule promises.
func TestYearsOfHours(t *testing.T) {
	s := DefaultSchedule()
	var points []Point
	for now := at(t, "2026-01-01T00:00:00Z"); now.Before(at(t, "2030-03-01T00:00:00Z")); now = now.Add(time.Hour) {
		points = without(append(points, Point{Time: now}), s)
	}
	for r, want := range s {
		n := 0
		for i, p := range points {
			if i == len(points)-1 || !Rule(r).start(p.Time).Equal(Rule(r).start(points[i+1].Time)) {
				n++
			}
		}
		if n < want {
			t.Errorf("%s: points of %d periods, want %d", ruleNames[r], n, want)
		}
	}
	if got := points[0].Time; !got.Equal(at(t, "2028-12-31T23:00:00Z")) {
		t.Errorf("the oldest point is of %v, want the last of 2028", got)
	}
	if n := len(points); n > 36+30+8+12+3 {
		t.Errorf("%d points are left", n)
	}
}

func without(points []Point, s Schedule) []Point {
	gone := Thin(s, points)
	left := make([]Point, 0, len(points))
	for i, p := range points {
		if !slices.Contains(gone, i) {
			left = append(left, p)
		}
	}
	return left
}

// TestJumpsPruneNothing: wherever the clock goes, a new point displaces one
// for each rule at most, the newest and the protected stay, and thinning again
// finds nothing more.
func TestJumpsPruneNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Schedule
		for r := range s {
			s[r] = rapid.IntRange(0, 5).Draw(t, "count")
		}
		now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
		steps := rapid.SampledFrom([]time.Duration{0, time.Minute, time.Hour, day, 31 * day, 3650 * day, -time.Hour, -3650 * day})
		var points []Point
		for range rapid.IntRange(1, 60).Draw(t, "points") {
			now = now.Add(steps.Draw(t, "step"))
			points = append(points, Point{now, rapid.IntRange(0, 9).Draw(t, "protected") == 0})
			gone := Thin(s, points)
			if len(gone) > len(s) {
				t.Fatalf("one point displaced %d", len(gone))
			}
			for _, i := range gone {
				if points[i].Protected || i == len(points)-1 {
					t.Fatalf("point %d of %d is gone, protected %v", i, len(points), points[i].Protected)
				}
			}
			points = without(points, s)
			if again := Thin(s, points); again != nil {
				t.Fatalf("thinned again: %v gone", again)
			}
		}
	})
}

func TestDue(t *testing.T) {
	for _, c := range []struct {
		schedule, last, now string
		want                bool
	}{
		{"hourly:1", "2026-11-22T10:00:00Z", "2026-11-22T10:59:59Z", false},
		{"hourly:1", "2026-11-22T10:59:59Z", "2026-11-22T11:00:00Z", true},
		{"hourly:1", "2026-11-22T11:00:00Z", "2026-11-22T11:00:00Z", false},
		{"hourly:1", "2026-11-22T11:00:00Z", "2036-11-22T11:00:00Z", true},
		{"hourly:1", "2026-11-22T11:00:00Z", "2016-11-22T11:00:00Z", false},
		{"daily:1,yearly:1", "2026-11-22T00:00:00Z", "2026-11-22T23:59:59Z", false},
		{"daily:1,yearly:1", "2026-11-22T23:59:59Z", "2026-11-23T00:00:00Z", true},
		{"daily:1", "2026-11-22T23:30:00Z", "2026-11-23T01:30:00+02:00", false},
		{"weekly:1", "2026-11-16T00:00:00Z", "2026-11-22T23:59:59Z", false},
		{"weekly:1", "2026-11-22T23:59:59Z", "2026-11-23T00:00:00Z", true},
		{"monthly:1", "2026-11-30T23:59:59Z", "2026-12-01T00:00:00Z", true},
		{"yearly:1", "2026-01-01T00:00:00Z", "2026-12-31T23:59:59Z", false},
		{"hourly:1", "0001-01-01T00:00:00Z", "2026-11-22T11:30:00Z", true},
		{"none", "0001-01-01T00:00:00Z", "2026-11-22T11:30:00Z", false},
	} {
		s, err := ParseSchedule(c.schedule)
		if err != nil {
			t.Fatal(err)
		}
		if got := Due(s, at(t, c.last), at(t, c.now)); got != c.want {
			t.Errorf("%s, %s to %s: due %v", c.schedule, c.last, c.now, got)
		}
	}
}

func TestPointName(t *testing.T) {
	if got := PointName(at(t, "2026-11-28T12:00:05+02:00")); got != "keep-20261128t100005z" {
		t.Error(got)
	}
	rapid.Check(t, func(t *rapid.T) {
		seconds := rapid.Int64Range(0, 9223372036)
		a, b := seconds.Draw(t, "a"), seconds.Draw(t, "b")
		x, y := PointName(time.Unix(a, 0)), PointName(time.Unix(b, 999999999))
		if (a < b) != (x < y) || (a == b) != (x == y) {
			t.Fatalf("%d is %s, %d is %s", a, x, b, y)
		}
		w, err := when.Parse("@"+x, nil)
		if err != nil || w.Kind != when.Snapshot || w.Name != x || when.ValidName(x) != nil {
			t.Fatalf("%s reads as %+v, %v", x, w, err)
		}
	})
}
