package engine

import (
	"encoding/binary"
	"io"

	"varve/internal/fail"
)

// writeVerifier is what tells NFS clients that writes which were not committed
// may be lost (RFC 1813 section 3.3.7). It survives a clean end and changes
// after any other.
type writeVerifier struct {
	value uint64
	clean bool // the state read was that of a clean end
}

// Verifier returns the write verifier. It is constant while the engine is open.
func (e *Engine) Verifier() uint64 { return e.verifier.value }

func (e *Engine) readVerifier(v []byte) error {
	if len(v) != 9 {
		return fail.New(fail.Corrupt, "the pool tree's write verifier has %d bytes", len(v))
	}
	e.verifier = writeVerifier{binary.LittleEndian.Uint64(v), v[8] == 1}
	return nil
}

// keepVerifier notes it for the next checkpoint. The gate is held exclusively,
// or the engine is being opened.
func (e *Engine) keepVerifier(clean bool) {
	e.record(itemKey(tagVerifier, 0, 0), putBool(binary.LittleEndian.AppendUint64(nil, e.verifier.value), clean))
}

// openVerifier makes a new one unless the pool was closed cleanly. While it is
// open, it is not.
func (e *Engine) openVerifier() error {
	if r := &e.recovery; !e.verifier.clean || r.Ops > 0 || r.Discarded != "" || e.opt.AcceptLoss {
		var b [8]byte
		if _, err := io.ReadFull(e.opt.Rand, b[:]); err != nil {
			return err
		}
		e.verifier.value = binary.LittleEndian.Uint64(b[:])
	}
	e.keepVerifier(false)
	return nil
}
