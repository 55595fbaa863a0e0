package main

import (
	"math"
	"strconv"
	"strings"

	"varve/internal/fail"
)

// sizeUnits are powers of 1024, from the first on.
const sizeUnits = "KMGTPE"

// sizeFlag is a flag whose value is bytes: "40G", "512M", "4096".
type sizeFlag uint64

func (s *sizeFlag) String() string { return formatSize(uint64(*s)) }
func (s *sizeFlag) Type() string   { return "size" }

func (s *sizeFlag) Set(v string) error {
	n, err := parseSize(v)
	*s = sizeFlag(n)
	return err
}

// parseSize reads bytes with an optional unit. A fraction must come out as
// whole bytes.
func parseSize(s string) (uint64, error) {
	bad := fail.New(fail.Invalid, "%.40q is no size", s).WithHint("write bytes, or a number with K, M, G, T: 40G")
	digits, factor := s, 1.0
	if s != "" {
		if i := strings.IndexByte(sizeUnits, s[len(s)-1]&^0x20); i >= 0 {
			digits, factor = s[:len(s)-1], math.Pow(1024, float64(i+1))
		}
	}
	if strings.Trim(digits, "0123456789.") != "" {
		return 0, bad
	}
	if n, err := strconv.ParseUint(digits, 10, 64); err == nil && n <= math.MaxInt64/uint64(factor) {
		return n * uint64(factor), nil
	}
	f, err := strconv.ParseFloat(digits, 64)
	if n := f * factor; err == nil && strings.Contains(digits, ".") && n < 1<<53 && n == math.Trunc(n) {
		return uint64(n), nil
	}
	return 0, bad
}

// formatSize shows bytes with at most one digit after the point.
func formatSize(n uint64) string {
	if n < 1024 {
		return strconv.FormatUint(n, 10)
	}
	f, unit := float64(n), byte(0)
	for i := 0; f >= 1023.95 && i < len(sizeUnits); i++ {
		f, unit = f/1024, sizeUnits[i]
	}
	return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0") + string(unit)
}
