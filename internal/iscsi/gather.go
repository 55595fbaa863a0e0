package iscsi

import "varve/internal/outbox"

const (
	gatherShare = 3        // of the commands under way: the initiator has the others to go on with
	gatherBytes = 32 << 10 // at most
	depthUnits  = 64       // reads after which one command less is taken to be under way

	// Reads that take what comes after one that waited in vain: twice as many
	// each time, half as many after each that did not.
	leastPause = 8
	mostPause  = 1024
)

// gathering decides for how many bytes the next read waits. Initiators send
// their commands one by one. A server that takes up each as it comes is woken,
// reads, answers, and wakes the initiator, for every one or two of them, which
// costs both sides more than the commands do. So of many under way a share is
// let come together, if that does not take long.
type gathering struct {
	pdu   int    // bytes of the last PDU
	known uint32 // the StatSN up to which the initiator had our statuses when it sent that
	depth int    // the most commands under way lately, times depthUnits
	pause int    // after the last read that waited in vain: reads
	left  int    // of it
}

// received is told of every PDU.
func (g *gathering) received(h header, size int) {
	g.known, g.pdu = h.expStatSN(), size
}

// next returns how many bytes to wait for; 0: take what comes. All statuses
// before statSN were sent. Those that the initiator did not know are of commands
// that were under way when it sent its last PDU: as many may come anew.
func (g *gathering) next(statSN uint32) int {
	underWay := max(0, min(int32(statSN-g.known), window))
	g.depth = max(g.depth-1, int(underWay)*depthUnits)
	n := min(g.depth/depthUnits/gatherShare*g.pdu, gatherBytes)
	switch {
	case n < 2*g.pdu:
		return 0
	case g.left > 0:
		g.left--
		return 0
	}
	return n
}

// result is told how a read fared that waited. In vain: fewer are under way, or
// something holds the initiator up.
func (g *gathering) result(w outbox.Waited) {
	if w != outbox.Asleep {
		g.pause /= 2
		return
	}
	g.depth = 0
	g.pause = max(leastPause, min(2*g.pause, mostPause))
	g.left = g.pause
}
