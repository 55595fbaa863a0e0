package iscsi

import (
	"context"

	"varve/internal/fail"
	"varve/internal/scsi"
)

// openNexus opens the units that a login is for.
func (s *Server) openNexus(l *login) (*scsi.Nexus, error) {
	c := l.c
	disks := make(map[uint64]scsi.Disk, len(l.luns))
	closeAll := func() {
		for _, d := range disks {
			d.Close()
		}
	}
	for _, lun := range l.luns {
		d, err := s.targets.Open(c.ctx, lun, c.addr, func() { s.kick(c) })
		if err != nil {
			closeAll()
			return nil, err
		}
		disks[lunField(lun.Number)] = d
		// It was judged by its properties some time ago, and is opened by its name.
		if d.Identity().Dataset != lun.ID {
			closeAll()
			return nil, fail.New(fail.NotFound, "%s is another volume now", lun.Volume)
		}
	}
	key := l.key()
	n, err := s.units.OpenNexus(scsi.NexusConfig{
		Target:    s.device(&l.target),
		Initiator: key.initiator + ",i,0x" + key.isid,
		Port:      c.portal.tag,
		Disks:     disks,
		Aborted:   c.tasks.mark,
		Silent:    c.silent,
	})
	if err != nil {
		closeAll()
		return nil, err
	}
	if context.Cause(c.ctx) == errKicked { // perhaps before it was told of a power on, which it cannot hear now
		s.units.Replaced()
	}
	return n, nil
}

// kick ends a session from which a volume is taken. It may come back to one that
// holds something else.
func (s *Server) kick(c *conn) {
	s.units.Replaced()
	c.cut(errKicked)
}

// lunField is a unit's number as the LUN field of a PDU has it: peripheral
// device addressing.
func lunField(n int) uint64 { return uint64(n) << 48 }

// device returns the target device of that name. That of a moment lives as long
// as the session.
func (s *Server) device(t *Target) *scsi.Target {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.devices[t.Name]; d != nil {
		return d
	}
	groups := make([]scsi.Group, len(s.portals))
	for i, p := range s.portals {
		groups[i] = scsi.Group{Tag: p.tag, Ports: []uint16{p.tag}}
	}
	d := scsi.NewTarget(t.Name, groups)
	if t.LUNs[0].At == nil {
		s.devices[t.Name] = d
	}
	return d
}
