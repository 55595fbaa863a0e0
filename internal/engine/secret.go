package engine

import (
	"path"
	"strconv"
	"strings"

	"varve/internal/fail"
)

// Secrets are properties that nothing shows: DatasetInfo and OpInfo have hidden
// in their place. The log and the pool have them as they are.
const hidden = "(set)"

func isSecret(key string) bool { return strings.HasSuffix(key, "-secret") }

// Secrets returns the properties of a dataset as they are, secrets too: for the
// front end that they are for. NotFound.
func (e *Engine) Secrets(name string) (map[string]string, error) {
	e.gate.RLock()
	defer e.gate.RUnlock()
	d, err := e.find(name)
	if err != nil {
		return nil, err
	}
	m := d.properties()
	for k := range m {
		m[k] = d.props[k].value
	}
	return m, nil
}

// checkSecret: CHAP asks for 96 bits at least where there is no IPsec (RFC 7143,
// 9.2.1), and initiators of Windows take 12 to 16 bytes.
func checkSecret(v string) error {
	if len(v) < 12 || len(v) > 128 {
		return fail.New(fail.Invalid, "a secret of %d bytes", len(v)).WithHint("choose 12 to 128 bytes; Windows takes at most 16")
	}
	return checkWord(v)
}

func checkUser(v string) error {
	if len(v) > 223 {
		return fail.New(fail.Invalid, "a user's name of %d bytes", len(v))
	}
	return checkWord(v)
}

// checkWord refuses what cannot stand in a text key, and spaces.
func checkWord(v string) error {
	if strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return fail.New(fail.Invalid, "spaces and control characters are not allowed")
	}
	return nil
}

// checkTarget: names begin as RFC 7143 (4.2.7) says, in small letters.
func checkTarget(v string) error {
	ok := strings.HasPrefix(v, "iqn.") || strings.HasPrefix(v, "eui.") || strings.HasPrefix(v, "naa.")
	bad := func(r rune) bool {
		return r != '.' && r != '-' && r != ':' && (r < 'a' || r > 'z') && (r < '0' || r > '9')
	}
	if !ok || len(v) > 200 || strings.ContainsFunc(v, bad) {
		return fail.New(fail.Invalid, "%q is no name of an iSCSI target", v).WithHint("write iqn.2026-11.com.example:disk, in small letters, at most 200")
	}
	return nil
}

func checkLUN(v string) error {
	if n, err := strconv.ParseUint(v, 10, 32); err != nil || n > 255 {
		return fail.New(fail.Invalid, "%q is not a number of a logical unit", v).WithHint("they go from 0 to 255")
	}
	return nil
}

func checkPatterns(v string) error {
	for p := range strings.SplitSeq(v, ",") {
		if _, err := path.Match(p, ""); err != nil || p == "" || checkWord(p) != nil {
			return fail.New(fail.Invalid, "%q is no name of an initiator", p).WithHint("write iqn.1993-08.org.debian:01:ab12, with * for any part, and commas in between")
		}
	}
	return nil
}
