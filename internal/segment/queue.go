package segment

import "slices"

// sealedFrame is a frame between sealing and durability.
type sealedFrame struct {
	seq     uint64
	addr    Addr
	blocks  int
	lastLSN uint64
	buf     []byte // its memory until it is written
	state   frameState
}

type frameState uint8

const (
	unclaimed frameState = iota // in memory only
	writing                     // somebody writes it
	stored                      // written, not known durable
)

func (f *sealedFrame) bytes() int64 { return int64(f.blocks) * BlockSize }

// frameQueue holds the sealed frames that are not durable, in order. Their
// sequence numbers have no gaps. Pointers into it are valid until mu is let go.
type frameQueue struct {
	frames []sealedFrame
	head   int // frames before it are gone
}

func (q *frameQueue) live() []sealedFrame { return q.frames[q.head:] }

func (q *frameQueue) push(f sealedFrame) { q.frames = append(q.frames, f) }

// at returns the frame with that sequence number, which must be queued.
func (q *frameQueue) at(seq uint64) *sealedFrame {
	return &q.frames[q.head+int(seq-q.frames[q.head].seq)]
}

// pop removes the first frame.
func (q *frameQueue) pop() {
	q.frames[q.head] = sealedFrame{}
	q.head++
	if q.head == len(q.frames) || q.head >= 1024 && q.head > len(q.frames)/2 {
		n := copy(q.frames, q.frames[q.head:])
		clear(q.frames[n:])
		q.frames, q.head = q.frames[:n], 0
	}
}

// holding returns the first frame whose last LSN is lsn or above, or nil.
func (q *frameQueue) holding(lsn uint64) *sealedFrame {
	live := q.live()
	i, _ := slices.BinarySearchFunc(live, lsn, func(f sealedFrame, lsn uint64) int {
		if f.lastLSN < lsn {
			return -1
		}
		return 1
	})
	if i == len(live) {
		return nil
	}
	return &live[i]
}
