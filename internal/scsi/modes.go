package scsi

// modes are what MODE SELECT can change. None is saved (PS=0): a reset, or a
// restart, brings back the defaults, of which the write cache is the disk's.
type modes struct {
	writeCache   bool // WCE of the caching page: else every write flushes
	softProtect  bool // SWP of the control page
	descriptors  bool // D_SENSE of the control page
	reportMethod byte // MRIE of the informational exceptions page
}

func defaultModes(d Disk) modes { return modes{writeCache: d.WriteCache(), reportMethod: 6} }

// renew takes over other defaults, where no nexus has seen the ones before.
func (u *unit) renew(d Disk) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if to := defaultModes(d); to != u.defaults {
		u.defaults = to
		u.adopt(to)
	}
}

// adopt makes modes the unit's. u.mu is held.
func (u *unit) adopt(m modes) {
	u.modes = m
	u.setGate(gateProtected, m.softProtect)
	u.setGate(gateNoCache, !m.writeCache)
	u.descriptorSense.Store(m.descriptors)
}
