package power

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	nfs "varve/test/nfsclient"
)

// The data files of a share are to the history what volumes are: units that
// know who wrote them. Every durable request that is answered (COMMIT, a stable
// WRITE, any change of names) is a flush: the log has one order.

// dataUnits is how long a data file may be, in units.
const dataUnits = 4 << 20 / unitSize

// worker sends one request at a time over a connection that others share.
type worker struct {
	rig  *shareRig
	c    nfs.Client
	rng  *rand.Rand
	stop <-chan struct{}
}

// run works until the connection ends or stop is closed. It returns an error
// only for what a killed server cannot excuse.
func (w *worker) run() error {
	for {
		select {
		case <-w.stop:
			return nil
		default:
		}
		over, err := w.step()
		if over || err != nil {
			return err
		}
	}
}

// step makes one request. over is a connection that has ended.
func (w *worker) step() (over bool, err error) {
	if w.rng.IntN(2) == 0 {
		return w.changeNames()
	}
	file := w.rng.IntN(len(w.rig.files))
	switch n := w.rng.IntN(100); {
	case n < 60:
		return w.write(file)
	case n < 75:
		return w.commit(file)
	case n < 80:
		return w.truncate(file)
	}
	return w.read(file)
}

// ended tells the end of a connection from a wrong answer.
func ended(o nfs.Outcome, what string) (over bool, err error) {
	var refused *nfs.Refusal
	switch {
	case o.Err == nil && o.Status == nfs.OK:
		return false, nil
	case o.Err == nil || errors.Is(o.Err, nfs.ErrProtocol) || errors.Is(o.Err, nfs.ErrTimeout) || errors.As(o.Err, &refused):
		return false, fmt.Errorf("%s: %w", what, o.Want(nfs.OK))
	}
	return true, nil
}

func (w *worker) changeNames() (over bool, err error) {
	at := w.rig.h.tick()
	c := w.rig.names.next(w.rng, w.rig.xid())
	o, fh := c.call(w.c.Repeating(c.xid))
	if over, err = ended(o, c.String()); over || err != nil {
		return over, err // the change stays open
	}
	w.rig.names.answered(c, fh)
	w.rig.h.flushAnswered(at)
	return false, nil
}

// span chooses and holds a range of a file.
func (w *worker) span(file int) span {
	for {
		s := span{vol: file, n: 1 + w.rng.Uint64N(100)}
		if w.rng.IntN(3) == 0 {
			s.n = 8
		}
		s.first = w.rng.Uint64N(dataUnits - s.n)
		if w.rng.IntN(2) == 0 {
			s.first = s.first % 200 // where requests meet in a block
		}
		if w.rig.h.hold(s) {
			return s
		}
	}
}

func (w *worker) write(file int) (over bool, err error) {
	s, stable := w.span(file), nfs.Unstable
	if w.rng.IntN(20) == 0 {
		stable = nfs.DataSync + nfs.Stable(w.rng.IntN(2))
	}
	id := w.rig.h.sending(s, false, stable != nfs.Unstable)
	p := make([]byte, s.n*unitSize)
	for i := range s.n {
		stamp(p[i*unitSize:], s.vol, s.first+i, id)
	}
	r := w.c.Write(w.rig.files[file], s.first*unitSize, p, stable)
	if over, err = ended(r.Outcome, "WRITE"); over || err != nil {
		return over, err
	}
	if int(r.Count) != len(p) {
		return false, fmt.Errorf("WRITE of %d bytes took %d", len(p), r.Count)
	}
	w.rig.h.answered(s, id)
	w.rig.count("WRITE")
	return false, w.rig.verifier(r.Verf)
}

func (w *worker) commit(file int) (over bool, err error) {
	at := w.rig.h.tick()
	r := w.c.Commit(w.rig.files[file], 0, 0)
	if over, err = ended(r.Outcome, "COMMIT"); over || err != nil {
		return over, err
	}
	w.rig.h.flushAnswered(at)
	w.rig.count("COMMIT")
	return false, w.rig.verifier(r.Verf)
}

// truncate cuts a file and gives it its length again: its end is zeros then.
// The two are two requests: the first makes the zeros, and is durable.
func (w *worker) truncate(file int) (over bool, err error) {
	s := span{vol: file, first: dataUnits - 1 - w.rng.Uint64N(dataUnits/4)}
	s.n = dataUnits - s.first
	if !w.rig.h.hold(s) {
		return false, nil
	}
	id := w.rig.h.sending(s, true, true)
	if over, err = ended(w.c.Setattr(w.rig.files[file], nfs.Size(s.first*unitSize), nil).Outcome, "SETATTR size"); over || err != nil {
		return over, err
	}
	w.rig.h.answered(s, id)
	w.rig.count("SETATTR size")
	return false, nil
}

func (w *worker) read(file int) (over bool, err error) {
	s := w.span(file)
	p, o := readUnits(w.c, w.rig.files[file], s)
	if over, err = ended(o, "READ"); over || err != nil {
		return over, err
	}
	defer w.rig.h.release(s)
	w.rig.count("READ")
	return false, w.rig.h.current(s, p)
}

// readUnits reads a range; what is beyond the end of the file is zeros.
func readUnits(c nfs.Client, fh nfs.FH, s span) ([]byte, nfs.Outcome) {
	p := make([]byte, s.n*unitSize)
	for at := 0; at < len(p); {
		r := c.Read(fh, s.first*unitSize+uint64(at), uint32(len(p)-at))
		if r.Err != nil || r.Status != nfs.OK {
			return nil, r.Outcome
		}
		if at += copy(p[at:], r.Data); r.EOF {
			break
		}
	}
	return p, nfs.Outcome{}
}

// driveShares runs workers until stop is closed or their server is gone.
func driveShares(workers []*worker) error {
	errs := make([]error, len(workers))
	var all sync.WaitGroup
	for i, w := range workers {
		all.Go(func() { errs[i] = w.run() })
	}
	all.Wait()
	return errors.Join(errs...)
}
