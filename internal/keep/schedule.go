package keep

import (
	"strconv"
	"strings"
	"time"

	"varve/internal/fail"
)

// Rule is one line of a schedule: periods of which one point each is kept.
type Rule uint8

// The rules, the finest first.
const (
	Hourly Rule = iota
	Daily
	Weekly // weeks begin on Monday, as ISO 8601 has them
	Monthly
	Yearly
	rules
)

var ruleNames = [rules]string{"hourly", "daily", "weekly", "monthly", "yearly"}

// MaxCount is the most points that one rule can ask for.
const MaxCount = 10000

// Schedule says how many points each rule keeps: Schedule[Daily] is of how
// many days. All periods are in UTC. The zero value keeps none.
type Schedule [rules]int

const scheduleForms = "write hourly:36,daily:30,weekly:8,monthly:12,yearly:3, or some of these, or none"

// DefaultSchedule is the schedule of a dataset for which none was set:
// hourly:36,daily:30,weekly:8,monthly:12,yearly:3.
func DefaultSchedule() Schedule {
	return Schedule{Hourly: 36, Daily: 30, Weekly: 8, Monthly: 12, Yearly: 3}
}

// ParseSchedule reads a schedule. Its rules come in any order, each once, with
// counts up to MaxCount. What cannot be read is fail.Invalid.
func ParseSchedule(text string) (Schedule, error) {
	var s Schedule
	if len(text) > maxLen {
		return s, fail.New(fail.Invalid, "a schedule of %d bytes is too long", len(text)).WithHint("%s", scheduleForms)
	}
	if text == "none" {
		return s, nil
	}
	var seen [rules]bool
	for part := range strings.SplitSeq(text, ",") {
		name, count, _ := strings.Cut(part, ":")
		r := ruleNamed(name)
		if r == rules {
			return Schedule{}, fail.New(fail.Invalid, "%q is no rule of a schedule", part).WithHint("%s", scheduleForms)
		}
		n, err := strconv.ParseUint(count, 10, 64)
		if err != nil || n > MaxCount {
			return Schedule{}, fail.New(fail.Invalid, "%q: after %s: comes a number up to %d", part, name, MaxCount).WithHint("%s", scheduleForms)
		}
		if seen[r] {
			return Schedule{}, fail.New(fail.Invalid, "the schedule has %s twice", name).WithHint("name each rule once")
		}
		s[r], seen[r] = int(n), true
	}
	return s, nil
}

func ruleNamed(name string) Rule {
	for r := range rules {
		if ruleNames[r] == name {
			return r
		}
	}
	return rules
}

// String returns the canonical form, which parses back to the same Schedule.
func (s Schedule) String() string {
	var parts []string
	for r, n := range s {
		if n > 0 {
			parts = append(parts, ruleNames[r]+":"+strconv.Itoa(n))
		}
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ",")
}

// Due reports whether a new point should be made: a period of the finest rule
// began in (last, now]. The zero time as last means that there is no point
// yet. However far now jumped, one point is due, and none if it went back.
func Due(s Schedule, last, now time.Time) bool {
	for r, n := range s {
		if n > 0 {
			return Rule(r).start(now).After(last)
		}
	}
	return false
}

// start returns when the period of r that holds t began.
func (r Rule) start(t time.Time) time.Time {
	t = t.UTC()
	year, month, day := t.Date()
	hour := 0
	switch r {
	case Hourly:
		hour = t.Hour()
	case Weekly:
		day -= (int(t.Weekday()) + 6) % 7
	case Monthly:
		day = 1
	case Yearly:
		month, day = time.January, 1
	}
	return time.Date(year, month, day, hour, 0, 0, 0, time.UTC)
}
