package iscsi

import (
	"bytes"
	"strconv"
	"strings"

	"varve/internal/fail"
)

const (
	// maxText bounds the keys of one login or text exchange, over all PDUs that
	// are continued: bytes.
	maxText = 16 << 10

	// maxKeys bounds their number, maxKeyName the length of a name (RFC 7143, 6.1)
	// and maxValue that of a value, both in bytes.
	maxKeys    = 64
	maxKeyName = 63
	maxValue   = 8 << 10
)

var errBadKeys = fail.New(fail.Invalid, "text keys that are none")

// pair is one key and its value.
type pair struct{ key, value string }

// parseKeys takes the data of login and text PDUs apart: key=value, each ended
// by a zero byte. A key that comes twice is an error.
func parseKeys(p []byte) ([]pair, error) {
	if len(p) > maxText {
		return nil, errBadKeys
	}
	var all []pair
	seen := make(map[string]bool)
	for len(p) > 0 {
		end := bytes.IndexByte(p, 0)
		if end < 0 {
			return nil, errBadKeys
		}
		if end == 0 { // padding
			p = p[1:]
			continue
		}
		key, value, found := strings.Cut(string(p[:end]), "=")
		p = p[end+1:]
		if !found || key == "" || len(key) > maxKeyName || len(value) > maxValue || !plain(key) || seen[key] || len(all) == maxKeys {
			return nil, errBadKeys
		}
		seen[key] = true
		all = append(all, pair{key, value})
	}
	return all, nil
}

// plain reports whether a name of a key has only what is allowed in one.
func plain(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.IndexByte(".-+@_#/", c) >= 0) {
			return false
		}
	}
	return true
}

// appendKey encodes one key.
func appendKey(p []byte, key, value string) []byte {
	p = append(p, key...)
	p = append(p, '=')
	p = append(p, value...)
	return append(p, 0)
}

// number parses a numerical value (RFC 7143, 6.1): decimal or hexadecimal.
func number(v string) (uint32, bool) {
	base := 10
	if h, ok := strings.CutPrefix(strings.ToLower(v), "0x"); ok {
		v, base = h, 16
	}
	n, err := strconv.ParseUint(v, base, 32)
	return uint32(n), err == nil
}

// listed returns the first of ours that a list of values has, in the order of
// the list.
func listed(list string, ours ...string) (string, bool) {
	for v := range strings.SplitSeq(list, ",") {
		for _, o := range ours {
			if v == o {
				return v, true
			}
		}
	}
	return "", false
}
