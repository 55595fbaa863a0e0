package segment

import "golang.org/x/sys/unix"

// bufferPool keeps the memory of frames: outside the Go heap, so that the
// collector never walks or moves it, and page-aligned, so that it can go to
// the disk directly. The most recently used buffer is given first: it is in
// the processor's cache. Log.mu guards it.
type bufferPool struct {
	size  int      // bytes of a buffer
	idle  [][]byte // at most keepBuffers
	all   int      // buffers mapped
	freed bool     // what comes back is unmapped
}

// keepBuffers is how many idle buffers stay mapped: what Options.MaxUnwritten
// keeps in use by default, and a few.
const keepBuffers = 20

// get returns a buffer with any content. It panics if there is no memory, as
// an allocation would.
func (p *bufferPool) get() []byte {
	if n := len(p.idle); n > 0 {
		b := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		return b
	}
	b, err := unix.Mmap(-1, 0, p.size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		panic("segment: no memory for a frame: " + err.Error())
	}
	p.all++
	return b
}

// put takes back what get returned, whole or cut at its end; or nil.
func (p *bufferPool) put(b []byte) {
	if b == nil {
		return
	}
	b = b[:p.size]
	if len(p.idle) < keepBuffers && !p.freed {
		p.idle = append(p.idle, b)
		return
	}
	p.unmap(b)
}

// free unmaps the idle buffers, and the others when they come back.
func (p *bufferPool) free() {
	p.freed = true
	for _, b := range p.idle {
		p.unmap(b)
	}
	p.idle = nil
}

func (p *bufferPool) unmap(b []byte) {
	if err := unix.Munmap(b); err != nil {
		panic("segment: unmap a frame: " + err.Error())
	}
	p.all--
}
