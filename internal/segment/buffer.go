package segment

import (
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bufferPool keeps the memory of frames: outside the Go heap, so that the
// collector never walks or moves it, and page-aligned, so that it can go to
// the disk directly. Long buffers lie side by side in huge pages, where the
// kernel has them:
//
//	arena, 16 MiB  | buffer | buffer | buffer ... | rest |
//	huge pages     |    2 MiB    |    2 MiB    | ...
//
// A frame is then one piece for the disk, and not one per page, of which a
// request has a limited number. The most recently used buffer is given first:
// it is in the processor's cache. Log.mu guards it.
type bufferPool struct {
	size   int      // bytes of a buffer
	arenas []*arena // those that are mapped; the first are used first
	idle   int      // buffers in them that nobody uses
	freed  bool     // what comes back is unmapped
}

// arena is a run of buffers.
type arena struct {
	raw  []byte // as mapped
	mem  []byte // the buffers
	idle []int  // where in mem those begin that nobody uses
}

const (
	// keepBuffers is how many idle buffers stay mapped: what
	// Options.MaxUnwritten keeps in use by default, and a few.
	keepBuffers = 20

	hugePage  = 2 << 20
	arenaSize = 16 << 20
	hugeFrom  = 1 << 20 // bytes of a buffer from which on it has neighbours
)

// get returns a buffer with any content. It panics if there is no memory, as
// an allocation would.
func (p *bufferPool) get() []byte {
	i := slices.IndexFunc(p.arenas, func(a *arena) bool { return len(a.idle) > 0 })
	if i < 0 {
		i = len(p.arenas)
		p.arenas = append(p.arenas, p.newArena())
	}
	a := p.arenas[i]
	last := len(a.idle) - 1
	at := a.idle[last]
	a.idle = a.idle[:last]
	p.idle--
	return a.mem[at : at+p.size : at+p.size]
}

func (p *bufferPool) newArena() *arena {
	a := new(arena)
	if p.size < hugeFrom {
		a.raw = mapMemory(p.size)
		a.mem = a.raw
	} else {
		a.raw = mapMemory(arenaSize + hugePage)
		skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(a.raw))) % hugePage)
		huge := a.raw[skip : skip+arenaSize]
		a.mem = huge[:len(huge)/p.size*p.size]
		_ = unix.Madvise(huge, unix.MADV_HUGEPAGE) // without, it is only slower
	}
	for at := len(a.mem) - p.size; at >= 0; at -= p.size {
		a.idle = append(a.idle, at)
	}
	p.idle += len(a.idle)
	return a
}

func mapMemory(n int) []byte {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		panic("segment: no memory for a frame: " + err.Error())
	}
	return b
}

// put takes back what get returned, whole or cut at its end; or nil.
func (p *bufferPool) put(b []byte) {
	if b == nil {
		return
	}
	i := slices.IndexFunc(p.arenas, func(a *arena) bool { return a.at(b) >= 0 })
	a := p.arenas[i]
	a.idle = append(a.idle, a.at(b))
	p.idle++
	if n := len(a.idle); n == p.perArena(a) && (p.freed || p.idle-n >= keepBuffers) {
		p.unmap(i)
	}
}

// at returns where in the arena b begins, or -1.
func (a *arena) at(b []byte) int {
	d := uintptr(unsafe.Pointer(unsafe.SliceData(b))) - uintptr(unsafe.Pointer(unsafe.SliceData(a.mem)))
	if d >= uintptr(len(a.mem)) {
		return -1
	}
	return int(d)
}

func (p *bufferPool) perArena(a *arena) int { return len(a.mem) / p.size }

// free unmaps the arenas of which nobody uses a buffer, and the others when
// those come back.
func (p *bufferPool) free() {
	p.freed = true
	for i := len(p.arenas) - 1; i >= 0; i-- {
		if len(p.arenas[i].idle) == p.perArena(p.arenas[i]) {
			p.unmap(i)
		}
	}
}

func (p *bufferPool) unmap(i int) {
	a := p.arenas[i]
	p.arenas = slices.Delete(p.arenas, i, i+1)
	p.idle -= len(a.idle)
	if err := unix.Munmap(a.raw); err != nil {
		panic("segment: unmap a frame: " + err.Error())
	}
}
