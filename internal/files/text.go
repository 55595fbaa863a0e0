package files

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"varve/internal/fail"
)

// Text is bytes that are meant to be text, such as a path, but may be any. It
// travels as it is, or, if it is no UTF-8 or begins with a quote, as a Go
// string literal: "\xff".
type Text string

// MarshalText implements encoding.TextMarshaler.
func (t Text) MarshalText() ([]byte, error) {
	if utf8.ValidString(string(t)) && !strings.HasPrefix(string(t), `"`) {
		return []byte(t), nil
	}
	return strconv.AppendQuote(nil, string(t)), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Text) UnmarshalText(b []byte) error {
	s := string(b)
	if strings.HasPrefix(s, `"`) {
		var err error
		if s, err = strconv.Unquote(s); err != nil {
			return fail.New(fail.Invalid, "%.100s is no quoted text", b)
		}
	}
	*t = Text(s)
	return nil
}

// String shows t on one line: with quotes and escapes where it needs them.
func (t Text) String() string {
	for _, r := range string(t) {
		if !strconv.IsPrint(r) || r == utf8.RuneError {
			return strconv.Quote(string(t))
		}
	}
	if strings.HasPrefix(string(t), `"`) {
		return strconv.Quote(string(t))
	}
	return string(t)
}
