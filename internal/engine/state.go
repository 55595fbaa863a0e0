package engine

import (
	"math"

	"varve/internal/fail"
	"varve/internal/oplog"
)

// MaxState bounds what a front end can keep with a volume: bytes. One block of
// log holds it.
const MaxState = 3 << 10

// statePiece is how much of it one item of the pool tree holds: bytes.
const statePiece = 768

// ID returns the identity of the pool: another for every copy that was made with
// Reid.
func (e *Engine) ID() [16]byte { return e.super.identity }

// State returns what SetState kept: bytes that only a front end understands. It
// goes with the volume through renames, rollbacks and restarts; a clone begins
// without. The caller must not change it.
func (h *Head) State() []byte {
	h.e.gate.RLock()
	defer h.e.gate.RUnlock()
	return h.d.state
}

// SetState keeps p, at most MaxState bytes, in place of what was there; it is
// durable when SetState returns. It may use the last space, since it replaces.
// NotFound, FailStopped.
func (h *Head) SetState(p []byte) error {
	if len(p) > MaxState {
		return fail.New(fail.TooBig, "%d bytes of state; a volume keeps %d", len(p), MaxState)
	}
	op := &oplog.Op{Kind: oplog.SetState, Client: h.client, Dataset: h.d.id, Value: string(p)}
	_, err := h.e.change(op, true, func() (*prepared, error) {
		if h.d.destroyed.lsn != 0 {
			return nil, fail.New(fail.NotFound, "%s was destroyed", h.d.name)
		}
		return nil, nil
	})
	return err
}

// setState applies SetState: item n of the pool tree holds piece n, from 0. The
// gate is held exclusively.
func (e *Engine) setState(d *dataset, value string) {
	old, now := len(d.state), len(value)
	d.state = []byte(value)
	for at := 0; at < max(old, now); at += statePiece {
		var piece []byte
		if at < now {
			piece = d.state[at:min(at+statePiece, now)]
		}
		e.record(itemKey(tagState, d.id, uint64(at/statePiece)), piece)
	}
}

// readState takes in a piece; they come in order.
func (d *dataset) readState(number uint64, v []byte) error {
	if number > math.MaxInt32 || len(d.state) != int(number)*statePiece || len(v) == 0 || len(d.state)+len(v) > MaxState {
		return fail.New(fail.Corrupt, "piece %d of the state of dataset %d makes no sense", number, d.id)
	}
	d.state = append(d.state, v...)
	return nil
}
