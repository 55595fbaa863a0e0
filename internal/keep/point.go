package keep

import "time"

// Point is a moment that a schedule made.
type Point struct {
	Time      time.Time
	Protected bool // held or in use: it stays, whatever the schedule says
}

// Thin returns the indexes, rising, of the points that a schedule does not
// need. The points are in the order in which they were made, by LSN.
//
// Each rule walks from the newest point to the oldest and keeps the last of
// each period until it has as many as it asks for. Periods without points do
// not count and ages are not looked at: so a clock that jumps by years lets go
// no more than each new point displaces, one per rule. A protected point takes
// its place in this like any other. The newest point stays under any schedule,
// even one that keeps none. What Thin leaves, it leaves again.
func Thin(s Schedule, points []Point) (gone []int) {
	stays := make([]bool, len(points))
	for r, count := range s {
		walk(Rule(r), count, points, stays)
	}
	for i := range points {
		if !stays[i] && !points[i].Protected && i < len(points)-1 {
			gone = append(gone, i)
		}
	}
	return gone
}

// walk marks the points that one rule keeps.
func walk(r Rule, count int, points []Point, stays []bool) {
	var period time.Time // that the point before was in
	for i := len(points) - 1; i >= 0 && count > 0; i-- {
		start := r.start(points[i].Time)
		if i < len(points)-1 && start.Equal(period) {
			continue
		}
		period = start
		stays[i] = true
		count--
	}
}

// PointName returns the name of the point made at t: one for each second. Up
// to the year 9999 names sort as their times do, and none reads as a time.
func PointName(t time.Time) string { return t.UTC().Format("keep-20060102t150405z") }
