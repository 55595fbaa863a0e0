package scsi

import "sync/atomic"

// threshold watches the room that the unit's volume may still take: initiators are
// told once when it runs short, and again only after there was more (SBC-3 4.7.3.7).
type threshold struct {
	written atomic.Int64 // since the last look
	short   atomic.Bool
}

// When initiators are told, and when that is over: percent of the room taken.
const (
	shortAt  = 90
	enoughAt = 85

	lookEvery = 64 << 20 // bytes written between looks
)

// wrote counts n bytes that were written, and looks from time to time.
func (u *unit) wrote(d Disk, n int) {
	if sum := u.thin.written.Add(int64(n)); sum < lookEvery || !u.thin.written.CompareAndSwap(sum, 0) {
		return
	}
	used := d.Used()
	switch {
	case used >= shortAt && u.thin.short.CompareAndSwap(false, true):
		u.mu.Lock()
		u.attend(nil, attnThin)
		u.mu.Unlock()
	case used < enoughAt:
		u.thin.short.Store(false)
	}
}
