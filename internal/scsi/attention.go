package scsi

import "slices"

// attention is a unit attention condition: additional sense code and qualifier.
type attention struct{ asc, ascq byte }

// The unit attentions there are (SPC-4 table D.1).
var (
	attnPowerOn     = attention{0x29, 0x00} // POWER ON, RESET, OR BUS DEVICE RESET OCCURRED: what initiators look for
	attnBusReset    = attention{0x29, 0x02} // SCSI BUS RESET OCCURRED
	attnDeviceReset = attention{0x29, 0x03} // BUS DEVICE RESET FUNCTION OCCURRED
	attnNexusLoss   = attention{0x29, 0x07} // I_T NEXUS LOSS OCCURRED
	attnModes       = attention{0x2a, 0x01} // MODE PARAMETERS CHANGED
	attnPreempted   = attention{0x2a, 0x03} // RESERVATIONS PREEMPTED
	attnReleased    = attention{0x2a, 0x04} // RESERVATIONS RELEASED
	attnRegistered  = attention{0x2a, 0x05} // REGISTRATIONS PREEMPTED
	attnAccess      = attention{0x2a, 0x06} // ASYMMETRIC ACCESS STATE CHANGED
	attnCapacity    = attention{0x2a, 0x09} // CAPACITY DATA HAS CHANGED
	attnCleared     = attention{0x2f, 0x00} // COMMANDS CLEARED BY ANOTHER INITIATOR
	attnThin        = attention{0x38, 0x07} // THIN PROVISIONING SOFT THRESHOLD REACHED
)

// maxAttentions bounds what waits for one nexus: no more than there are kinds.
const maxAttentions = 12

// attend queues a unit attention. A reset replaces what was before it, but for
// a reset; what waits already does not wait twice.
func (a *attachment) attend(x attention) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if slices.Contains(a.attentions, x) || len(a.attentions) == maxAttentions {
		return
	}
	if x.asc == 0x29 {
		a.attentions = slices.DeleteFunc(a.attentions, func(y attention) bool { return y.asc != 0x29 })
	}
	a.attentions = append(a.attentions, x)
	a.pending.Store(true)
}

// nextAttention takes the first unit attention off the queue.
func (a *attachment) nextAttention() (x attention, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.attentions) == 0 {
		return x, false
	}
	x = a.attentions[0]
	a.attentions = slices.Delete(a.attentions, 0, 1)
	a.pending.Store(len(a.attentions) > 0)
	return x, true
}
