package scsi

import (
	"sync"
	"sync/atomic"
)

// Group is a target port group: ports that have their access state in common.
type Group struct {
	Tag   uint16   // not 0; iSCSI's TargetPortalGroupTag
	Ports []uint16 // relative target port identifiers, not 0
}

// Target is a SCSI target device as initiators see it. It outlives sessions.
// Safe for concurrent use.
type Target struct {
	Name   string // "iqn.2026-11.varve:disk0"
	groups []Group

	// restricted is whether any state is not active/optimized.
	restricted atomic.Bool

	mu      sync.Mutex
	states  map[uint16]accessState // by tag; what is not there is active/optimized
	nexuses map[*Nexus]struct{}
}

// accessState is an asymmetric access state (SPC-4 table 303).
type accessState byte

const (
	optimized    accessState = 0x0
	nonOptimized accessState = 0x1
	standby      accessState = 0x2
	unavailable  accessState = 0x3
)

// stateOf returns the access state of a port.
func (t *Target) stateOf(port uint16) accessState {
	if !t.restricted.Load() {
		return optimized
	}
	tag := t.groupOf(port)
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.states[tag]
}

// NewTarget describes a target device and its ports. groups must not be empty.
func NewTarget(name string, groups []Group) *Target {
	return &Target{Name: name, groups: groups, states: make(map[uint16]accessState), nexuses: make(map[*Nexus]struct{})}
}

// groupOf returns the tag of the group that a port belongs to, 0 for none.
func (t *Target) groupOf(port uint16) uint16 {
	for _, g := range t.groups {
		for _, p := range g.Ports {
			if p == port {
				return g.Tag
			}
		}
	}
	return 0
}
