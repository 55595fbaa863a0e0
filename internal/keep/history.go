// Package keep holds the retention policies of a dataset, as text and as
// decisions: how much history is kept whole, at which times points are made
// beyond it, and which of them are not needed any more. It knows no pool and
// reads no clock: the engine says what time it is and acts.
//
//	HISTORY  = "none" | "all" | AGE | SHARE | AGE "," SHARE
//	AGE      = 1*( NUMBER UNIT )                 UNIT of w d h m s, falling
//	SHARE    = NUMBER [ "." 1*2DIGIT ] "%"       of the pool
//	SCHEDULE = "none" | RULE *( "," RULE )
//	RULE     = ( "hourly" | "daily" | "weekly" | "monthly" | "yearly" ) ":" NUMBER
//
// All values are immutable and comparable: two policies that mean the same
// are equal by ==.
package keep

import (
	"math/bits"
	"strconv"
	"strings"
	"time"

	"varve/internal/fail"
	"varve/internal/when"
)

// History says how much of a dataset's past is kept whole, every moment of it:
// what is younger than Age and, at most, Share of the pool, whichever is less.
// The zero value has no limit, so that a forgotten policy forgets nothing.
type History struct {
	None  bool          // no history at all; the limits are zero then
	Age   time.Duration // whole seconds; 0: no limit by age
	Share int           // hundredths of a percent of the pool, below WholePool; 0: no limit by share
}

const (
	// WholePool is 100 %, in the unit of History.Share.
	WholePool = 10000
	// maxLen bounds what a parser looks at, and so what an error repeats.
	maxLen = 96
)

const historyForms = "write an age and a share of the pool, such as 24h,20%, or one of them, or none, or all"

// DefaultHistory is the history of a dataset for which none was set: 24h,20%.
func DefaultHistory() History { return History{Age: 24 * time.Hour, Share: WholePool / 5} }

// ParseHistory reads a history. An age alone has no limit by share, and the
// other way round. "0", like an age or a share of nothing, means none, and
// 100 % is no limit. What cannot be read is fail.Invalid.
func ParseHistory(s string) (History, error) {
	switch {
	case len(s) > maxLen:
		return History{}, fail.New(fail.Invalid, "a history of %d bytes is too long", len(s)).WithHint("%s", historyForms)
	case s == "none" || s == "0":
		return History{None: true}, nil
	case s == "all":
		return History{}, nil
	}
	age, share, both := strings.Cut(s, ",")
	byAge, byShare := true, both
	if !both && strings.HasSuffix(s, "%") {
		share, byAge, byShare = s, false, true
	}
	var h History
	var err error
	if byAge {
		if h.Age, err = parseAge(age); err != nil {
			return History{}, err
		}
	}
	if byShare {
		if h.Share, err = parseShare(share); err != nil {
			return History{}, err
		}
	}
	if byAge && h.Age == 0 || byShare && h.Share == 0 {
		return History{None: true}, nil
	}
	h.Share %= WholePool
	return h, nil
}

// String returns the canonical form, which parses back to the same History.
func (h History) String() string {
	switch {
	case h.None:
		return "none"
	case h.Age == 0 && h.Share == 0:
		return "all"
	case h.Age == 0:
		return formatShare(h.Share)
	case h.Share == 0:
		return formatAge(h.Age)
	}
	return formatAge(h.Age) + "," + formatShare(h.Share)
}

// AgeLimit returns the age from which on a moment is not kept by history any
// more, and false if history has no limit by age.
func (h History) AgeLimit() (time.Duration, bool) { return h.Age, h.None || h.Age > 0 }

// ByteLimit returns how many bytes of a pool of that capacity history may
// hold, and false if history has no limit by share.
func (h History) ByteLimit(capacity int64) (int64, bool) {
	if h.None || h.Share == 0 {
		return 0, h.None
	}
	hi, lo := bits.Mul64(uint64(max(0, capacity)), uint64(min(h.Share, WholePool)))
	n, _ := bits.Div64(hi, lo, WholePool) // hi is less, so the quotient fits
	return int64(n), true
}

// parseAge reads "7d12h".
func parseAge(s string) (time.Duration, error) {
	d, ok := when.ParseAge(s)
	switch {
	case d > when.MaxAge:
		return 0, fail.New(fail.Invalid, "the age %q is more than 100 years", s).WithHint("all has no limit")
	case !ok:
		return 0, fail.New(fail.Invalid, "%q is no age", s).
			WithHint("write numbers with w, d, h, m, s, the larger unit first: 24h or 7d12h; %s", historyForms)
	}
	return d, nil
}

// formatAge writes days from two on only: 24h is how people say it.
func formatAge(d time.Duration) string {
	var b strings.Builder
	hours := d < 48*time.Hour
	for _, u := range when.Units[1:] {
		if n := d / u.Length; n > 0 && !(hours && u.Letter == 'd') {
			b.WriteString(strconv.FormatInt(int64(n), 10))
			b.WriteByte(u.Letter)
			d -= n * u.Length
		}
	}
	return b.String()
}

// parseShare reads "20%" or "0.25%" into hundredths of a percent.
func parseShare(s string) (int, error) {
	no := fail.New(fail.Invalid, "%q is no share of the pool", s).
		WithHint("write a percentage from 0%% to 100%% with at most two decimals, such as 20%%; %s", historyForms)
	number, ok := strings.CutSuffix(s, "%")
	whole, decimals, dotted := strings.Cut(number, ".")
	if !ok || dotted && decimals == "" || len(decimals) > 2 {
		return 0, no
	}
	n, err := strconv.ParseUint(whole, 10, 16)
	if err != nil {
		return 0, no
	}
	hundredths, err := strconv.ParseUint((decimals + "00")[:2], 10, 16)
	if err != nil || n*100+hundredths > WholePool {
		return 0, no
	}
	return int(n*100 + hundredths), nil
}

func formatShare(n int) string {
	s := strconv.Itoa(n / 100)
	if n%100 != 0 {
		s += strings.TrimRight("."+strconv.Itoa(100 + n%100)[1:], "0")
	}
	return s + "%"
}
