package when

import (
	"strconv"
	"strings"
	"time"
)

// MaxAge bounds an age, so that a moment minus it is a time still.
const MaxAge = 100 * 365 * 24 * time.Hour

// Unit is a unit of an age.
type Unit struct {
	Letter byte
	Length time.Duration
}

// Units of an age, from large to small. A week is written in days.
var Units = []Unit{
	{'w', 7 * 24 * time.Hour},
	{'d', 24 * time.Hour},
	{'h', time.Hour},
	{'m', time.Minute},
	{'s', time.Second},
}

// ParseAge reads 1*( NUMBER UNIT ), such as "7d12h": whole seconds. Each unit
// comes at most once and after the larger ones, so "5m3m" is a slip, not eight
// minutes. ok is false for what is none, and for more than MaxAge: then d is more,
// too.
func ParseAge(s string) (d time.Duration, ok bool) {
	rest := s
	for _, u := range Units {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		if digits == 0 || digits == len(rest) || rest[digits] != u.Letter {
			continue
		}
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil || n > int64(MaxAge/u.Length) || d+time.Duration(n)*u.Length > MaxAge {
			return MaxAge + 1, false
		}
		d += time.Duration(n) * u.Length
		rest = rest[digits+1:]
	}
	return d, s != "" && rest == ""
}
