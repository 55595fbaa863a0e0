package scsi

// maxPortName bounds the name of an initiator port: bytes.
const maxPortName = 256

// persistent is the state of persistent reservations of a unit (SPC-4 5.12).
type persistent struct {
	generation uint32
	kind       byte // of the reservation: 0 none
	registered []registration
}

// registration is an I_T nexus that registered.
type registration struct {
	port string // of the initiator
	at   uint16 // relative target port
	key  uint64
}

func (p *persistent) decode(b []byte) error { return nil }

// conflicts reports whether a reservation keeps a command from being executed.
func (u *unit) conflicts(c *Command) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.holder != nil && u.holder != c.a && c.op.class != free
}
