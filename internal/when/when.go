// Package when reads the words by which people name a moment ("@10m-ago",
// "@2026-11-22T10:00", "@lsn:812455") and the addresses that carry them
// ("disk0@10m-ago:/etc"). It knows no pool: the engine turns a Spec into an
// LSN.
//
//	WHEN  = [ "@" ] ( "now"
//	                | NAME                                a snapshot
//	                | 1*( NUMBER UNIT ) "-ago"            UNIT of w d h m s, falling
//	                | DATE [ "T" hh:mm [ :ss[.frac] ] [ "Z" | ±hh:mm ] ]
//	                | "lsn:" NUMBER | "cp:" NUMBER )
//	ADDR  = NAME [ "@" WHEN [ "..@" WHEN ] ] [ ":p" NUMBER ] [ ":/" PATH ]
package when

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"varve/internal/fail"
)

// Kind says which of the forms a Spec has.
type Kind uint8

// The forms of a Spec.
const (
	Now        Kind = iota // the head
	Snapshot               // a named moment: Name
	Ago                    // so long before the command: Ago
	Time                   // the last operation at or before Time
	LSN                    // the state after operation LSN
	Checkpoint             // the cut of the checkpoint of that number
)

// Spec names a moment. Only the field that belongs to Kind is set. Two Specs
// that Parse returned are equal by == if they mean the same words.
type Spec struct {
	Kind       Kind
	Name       string
	Ago        time.Duration // whole seconds, not negative
	Time       time.Time     // in UTC
	LSN        uint64
	Checkpoint uint64
}

const (
	// maxLen bounds what Parse looks at, and so what an error repeats.
	maxLen = 96
	// Nanoseconds since 1970 are what the log records; these years fit.
	firstYear, lastYear = 1970, 2261
)

const forms = "write now, a snapshot's name, 10m-ago, 1d2h-ago, 2026-11-22, 2026-11-22T10:00, 2026-11-22T10:00:05Z, 2026-11-22T10:00+02:00, lsn:812455 or cp:88"

// Shapes that are times even where their digits are out of range, so that no
// snapshot is ever taken for one or the other.
var (
	dateShape = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt].*)?$`)
	agoShape  = regexp.MustCompile(`^[0-9][0-9a-z]*-ago$`)
)

// Parse reads a WHEN, with or without its leading "@". A time without a zone
// is in loc (nil means UTC). What cannot be read is fail.Invalid.
func Parse(s string, loc *time.Location) (Spec, error) {
	if len(s) > maxLen {
		return Spec{}, fail.New(fail.Invalid, "a WHEN of %d bytes is too long", len(s)).WithHint(forms)
	}
	w := strings.TrimPrefix(s, "@")
	switch {
	case w == "now":
		return Spec{Kind: Now}, nil
	case strings.HasPrefix(w, "lsn:"):
		n, err := parseNumber(w, "lsn:")
		return Spec{Kind: LSN, LSN: n}, err
	case strings.HasPrefix(w, "cp:"):
		n, err := parseNumber(w, "cp:")
		return Spec{Kind: Checkpoint, Checkpoint: n}, err
	case agoShape.MatchString(w):
		d, err := parseAgo(w)
		return Spec{Kind: Ago, Ago: d}, err
	case dateShape.MatchString(w):
		t, err := parseTime(w, loc)
		return Spec{Kind: Time, Time: t}, err
	case ValidName(w) == nil:
		return Spec{Kind: Snapshot, Name: w}, nil
	}
	return Spec{}, fail.New(fail.Invalid, "%q names no moment", s).WithHint(forms)
}

// String returns the canonical form, with "@" and, for a time, its zone: it
// parses back to the same Spec in every location.
func (s Spec) String() string {
	switch s.Kind {
	case Snapshot:
		return "@" + s.Name
	case Ago:
		return "@" + formatAgo(s.Ago) + "-ago"
	case Time:
		return "@" + s.Time.UTC().Format(time.RFC3339Nano)
	case LSN:
		return "@lsn:" + strconv.FormatUint(s.LSN, 10)
	case Checkpoint:
		return "@cp:" + strconv.FormatUint(s.Checkpoint, 10)
	}
	return "@now"
}

func parseNumber(w, prefix string) (uint64, error) {
	n, err := strconv.ParseUint(w[len(prefix):], 10, 64)
	if err != nil {
		return 0, fail.New(fail.Invalid, "%q: after %s comes a number", w, prefix)
	}
	return n, nil
}

// parseAgo reads "1d2h-ago", which has agoShape.
func parseAgo(w string) (time.Duration, error) {
	d, ok := ParseAge(strings.TrimSuffix(w, "-ago"))
	switch {
	case d > MaxAge:
		return 0, fail.New(fail.Invalid, "%q is more than 100 years", w)
	case !ok:
		return 0, fail.New(fail.Invalid, "%q reads as a time ago, but is none", w).
			WithHint("write numbers with w, d, h, m, s, the larger unit first: 1d2h-ago")
	}
	return d, nil
}

func formatAgo(d time.Duration) string {
	var b strings.Builder
	for _, u := range Units[1:] {
		if n := d / u.Length; n > 0 {
			b.WriteString(strconv.FormatInt(int64(n), 10))
			b.WriteByte(u.Letter)
			d -= n * u.Length
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}
