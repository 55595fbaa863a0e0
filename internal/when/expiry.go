package when

import (
	"time"

	"varve/internal/fail"
)

// Expiry says when something goes by itself. The zero value is never.
//
//	EXPIRY = "never" | 1*( NUMBER UNIT )                 UNIT of w d h m s, falling
//	       | DATE [ "T" hh:mm [ :ss[.frac] ] [ "Z" | ±hh:mm ] ]
type Expiry struct {
	After time.Duration // from when it is set on; whole seconds; 0 if there is an At
	At    time.Time     // in UTC
}

// ParseExpiry reads an EXPIRY. A time without a zone is in loc (nil means
// UTC). What cannot be read is fail.Invalid.
func ParseExpiry(s string, loc *time.Location) (Expiry, error) {
	switch {
	case len(s) > maxLen:
	case s == "never":
		return Expiry{}, nil
	case dateShape.MatchString(s):
		t, err := parseTime(s, loc)
		return Expiry{At: t}, err
	case agoShape.MatchString(s + "-ago"):
		d, err := parseAgo(s + "-ago")
		if err == nil && d > 0 {
			return Expiry{After: d}, nil
		}
	}
	return Expiry{}, fail.New(fail.Invalid, "%.40q is no time to expire at", s).
		WithHint("write never, 30d, 1d12h, 2027-01-01, or 2027-01-01T10:00")
}

// From returns when that is, if it is set at now; the zero time is never. A
// time that is past is fail.Invalid.
func (e Expiry) From(now time.Time) (time.Time, error) {
	switch {
	case e.After > 0:
		return now.Add(e.After).UTC(), nil
	case !e.At.IsZero() && !e.At.After(now):
		return time.Time{}, fail.New(fail.Invalid, "%s is past", e)
	}
	return e.At, nil
}

// String returns the canonical form, which parses back to the same Expiry in
// every location.
func (e Expiry) String() string {
	switch {
	case e.After > 0:
		return formatAgo(e.After)
	case !e.At.IsZero():
		return e.At.UTC().Format(time.RFC3339Nano)
	}
	return "never"
}
