package scsi

// kept is what of a unit outlives restarts, as Disk.SetState keeps it:
//
//	1 | flags | with flag 1: reservations, see persistent.encode
const (
	keptReservations = 1 << iota
	keptErasing      // a SANITIZE began, and did not end well
	keptUnrestricted // it had AUSE: EXIT FAILURE MODE may follow
)

// encodeKept is the state to keep with these reservations and this sanitize.
func encodeKept(pr *persistent, z *sanitize) []byte {
	flags := byte(0)
	if pr.aptpl {
		flags |= keptReservations
	}
	if z.running || z.failed {
		flags |= keptErasing | bit(z.unrestricted, keptUnrestricted)
	}
	if flags == 0 {
		return nil
	}
	b := []byte{1, flags}
	if pr.aptpl {
		b = pr.encode(b)
	}
	return b
}

func decodeKept(b []byte) (pr persistent, z sanitize, err error) {
	if len(b) == 0 {
		return pr, z, nil
	}
	if len(b) < 2 || b[0] != 1 || b[1] > keptReservations|keptErasing|keptUnrestricted {
		return pr, z, errState
	}
	if b[1]&(keptErasing|keptUnrestricted) == keptUnrestricted {
		return pr, z, errState
	}
	z.failed, z.unrestricted = b[1]&keptErasing != 0, b[1]&keptUnrestricted != 0
	if b[1]&keptReservations != 0 {
		err = pr.decode(b[2:])
	} else if len(b) > 2 {
		err = errState
	}
	return pr, z, err
}

// keep makes a state durable. u.saving is held.
func (u *unit) keep(d Disk, pr *persistent, z *sanitize) sense {
	p := encodeKept(pr, z)
	if len(p) > MaxState {
		return senseRegistrants
	}
	if err := d.SetState(p); err != nil {
		return of(err)
	}
	return sense{}
}
