package scsi

// modes are what MODE SELECT can change. None is saved (PS=0): a reset, or a
// restart, brings back the defaults.
type modes struct {
	writeCache   bool // WCE of the caching page: else every write flushes
	softProtect  bool // SWP of the control page
	descriptors  bool // D_SENSE of the control page
	reportMethod byte // MRIE of the informational exceptions page
}

var defaultModes = modes{writeCache: true, reportMethod: 6}

// adopt makes modes the unit's. u.mu is held.
func (u *unit) adopt(m modes) {
	u.modes = m
	u.setGate(gateProtected, m.softProtect)
	u.setGate(gateNoCache, !m.writeCache)
	u.descriptorSense.Store(m.descriptors)
}
