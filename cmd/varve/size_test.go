package main

import (
	"testing"

	"varve/internal/fail"
)

func TestSizes(t *testing.T) {
	for in, want := range map[string]uint64{
		"0": 0, "4096": 4096, "1K": 1024, "40G": 40 << 30, "40g": 40 << 30, "1.5M": 3 << 19, "7E": 7 << 60, "0.5K": 512,
	} {
		if n, err := parseSize(in); err != nil || n != want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", in, n, err, want)
		}
	}
	for _, in := range []string{"", "G", "-1", "1GB", "0.3K", "1e9", "8E", "16E", "99999999999999999999", "1..5G", "Inf", "0x10", " 1", "1 G"} {
		if n, err := parseSize(in); !fail.Is(err, fail.Invalid) {
			t.Errorf("parseSize(%q) = %d, %v", in, n, err)
		}
	}
	for n, want := range map[uint64]string{
		0: "0", 1023: "1023", 1024: "1K", 1536: "1.5K", 40 << 30: "40G", 1<<20 - 1: "1M", 1<<20 - 100: "1023.9K", 1<<63 + 1<<62: "12E", 1<<64 - 1: "16E",
	} {
		if got := formatSize(n); got != want {
			t.Errorf("formatSize(%d) = %s, want %s", n, got, want)
		}
	}
}
