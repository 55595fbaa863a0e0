package when

import (
	"time"

	"varve/internal/fail"
)

// Times that carry their zone, and times that take it from the location. A
// fraction may follow the seconds of either.
var (
	zoned   = []string{"2006-01-02T15:04Z07:00", "2006-01-02T15:04:05Z07:00"}
	unzoned = []string{"2006-01-02", "2006-01-02T15:04", "2006-01-02T15:04:05"}
)

func parseTime(w string, loc *time.Location) (time.Time, error) {
	for _, layout := range zoned {
		if t, err := time.Parse(layout, w); err == nil {
			return inRange(w, t)
		}
	}
	for _, layout := range unzoned {
		if wall, err := time.Parse(layout, w); err == nil {
			t, err := onClock(w, wall, loc)
			if err != nil {
				return time.Time{}, err
			}
			return inRange(w, t)
		}
	}
	return time.Time{}, fail.New(fail.Invalid, "%q reads as a time, but is none", w).
		WithHint("write 2026-11-22, 2026-11-22T10:00 or 2026-11-22T10:00:05, then nothing, Z or +02:00")
}

func inRange(w string, t time.Time) (time.Time, error) {
	t = t.UTC()
	if y := t.Year(); y < firstYear || y > lastYear {
		return time.Time{}, fail.New(fail.Invalid, "%q: years go from %d to %d", w, firstYear, lastYear)
	}
	return t, nil
}

// onClock finds the instant at which the clocks of loc show what wall shows in
// UTC. Where a clock is put back an hour is shown twice, where it is put
// forward one is never shown: neither is guessed.
func onClock(w string, wall time.Time, loc *time.Location) (time.Time, error) {
	if loc == nil {
		loc = time.UTC
	}
	found := readings(wall, loc)
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		before := wall.Add(-offset(wall.Add(-24*time.Hour), loc))
		return time.Time{}, fail.New(fail.Invalid, "%q was never on the clocks of %s: they were put forward", w, place(loc)).
			WithHint("name the zone: %s", before.In(loc).Format(time.RFC3339Nano))
	}
	return time.Time{}, fail.New(fail.Invalid, "%q was twice on the clocks of %s: they were put back", w, place(loc)).
		WithHint("name the zone: %s or %s",
			found[0].In(loc).Format(time.RFC3339Nano), found[1].In(loc).Format(time.RFC3339Nano))
}

// readings returns the instants at which loc shows wall, in order. Only the
// zone offsets in force a day before, at, and a day after can produce it.
func readings(wall time.Time, loc *time.Location) []time.Time {
	var found []time.Time
	for _, h := range []time.Duration{-24, 0, 24} {
		o := offset(wall.Add(h*time.Hour), loc)
		t := wall.Add(-o)
		if offset(t, loc) != o || len(found) > 0 && found[len(found)-1].Equal(t) {
			continue
		}
		found = append(found, t)
	}
	return found
}

func offset(t time.Time, loc *time.Location) time.Duration {
	_, seconds := t.In(loc).Zone()
	return time.Duration(seconds) * time.Second
}

func place(loc *time.Location) string {
	if loc == time.Local {
		return "this machine"
	}
	return loc.String()
}
