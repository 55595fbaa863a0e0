package httpapi

import "fmt"

// Health grades a status for monitoring.
type Health uint8

// The grades, from good to bad.
const (
	OK Health = iota
	Warning
	Critical
)

func (h Health) String() string {
	return [...]string{"ok", "warning", "critical"}[h]
}

// Free space, in percent of the capacity, under which a pool is in trouble.
// The engine keeps two segments back so that deleting always works.
const (
	warnFreePercent     = 15
	criticalFreePercent = 6
)

// Health grades the pool and gives a reason for every grade but OK.
func (s ServerStatus) Health() (Health, []string) {
	grade, reasons := OK, []string(nil)
	find := func(h Health, format string, args ...any) {
		grade = max(grade, h)
		reasons = append(reasons, fmt.Sprintf(format, args...))
	}
	p := s.Pool
	if p.State != "online" {
		find(Critical, "the pool is %s: %s", p.State, p.Reason)
	}
	if p.CheckpointLate != "" {
		find(Critical, "%s", p.CheckpointLate)
	}
	if p.QuarantinedBlocks > 0 {
		find(Critical, "%d blocks were found damaged since the server began; see varve check --data", p.QuarantinedBlocks)
	}
	if free := float64(p.FreeBytes) * 100; p.CapacityBytes > 0 {
		percent := free / float64(p.CapacityBytes)
		switch {
		case percent < criticalFreePercent:
			find(Critical, "%.1f %% of the pool is free", percent)
		case percent < warnFreePercent:
			find(Warning, "%.1f %% of the pool is free", percent)
		}
	}
	for _, w := range p.Warnings {
		find(Warning, "%s", w)
	}
	return grade, reasons
}
