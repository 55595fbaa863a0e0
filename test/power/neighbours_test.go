package power

import (
	"math/rand/v2"
	"testing"
	"time"

	"varve/test/daemon"
)

// TestNeighbours lets connections write to the same few blocks at the same
// time, each to sectors of its own. A server that merges sectors into blocks
// must lose none of them, neither live nor after a kill.
func TestNeighbours(t *testing.T) {
	const blocks, perBlock = 64, 4096 / unitSize
	bin, err := daemon.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, bin, rand.New(rand.NewPCG(1, 1)), nil)
	r.create(nil)
	stop := make(chan struct{})
	loads := r.loads(stop)
	for i, l := range loads {
		l.pick = func(l *load) request {
			for {
				s := span{l.vol, l.rand.Uint64N(blocks)*perBlock + uint64(i), 1}
				if !l.h.hold(s) {
					continue
				}
				if l.rand.IntN(2) == 0 {
					return request{cmd: cmdRead, span: s} // before another write hides a loss
				}
				return request{cmd: cmdWrite, span: s}
			}
		}
	}
	time.AfterFunc(500*time.Millisecond, func() { close(stop) })
	n, err := drive(loads)
	if err != nil {
		t.Fatal(err)
	}
	if n.write < 1000 {
		t.Errorf("only %d writes", n.write)
	}
	now := r.h.tick()
	r.look(func(m image) error { return r.h.moment(m, now, never) })
	r.server.Kill()
	r.kills++
	r.serve()
	r.look(r.h.recovered)
}
