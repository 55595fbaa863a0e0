package compact_test

import (
	"slices"
	"testing"
	"time"

	"varve/internal/segstore/compact"
)

func TestChoose(t *testing.T) {
	all := []compact.Candidate{
		{1, 0, 100, time.Hour},        // nothing to move
		{2, 25, 100, time.Hour},       // too much
		{3, 24, 100, time.Hour},       // worth 0.76/1.24 h
		{4, 5, 100, 30 * time.Minute}, // worth 0.95/1.05/2 h
		{5, 5, 100, time.Hour},        // worth 0.95/1.05 h
		{6, 1, 100, 0},                // young
		{7, 24, 100, 10 * time.Hour},
		{9, 10, 200, time.Hour}, // as good as 5
		{8, 10, 200, time.Hour},
		{10, 1, 100, -time.Hour}, // a clock that went back
	}
	given := slices.Clone(all)
	numbers := func(short bool) (n []uint64) {
		for _, c := range compact.Choose(all, 0.25, short) {
			n = append(n, c.Number)
		}
		return n
	}
	wantSegments(t, "chosen", numbers(false), 7, 5, 8, 9, 3, 4, 6, 10)
	wantSegments(t, "chosen when short", numbers(true), 6, 10, 4, 5, 8, 9, 3, 7)
	if !slices.Equal(all, given) {
		t.Error("the candidates themselves were changed")
	}
}
