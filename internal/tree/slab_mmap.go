//go:build !race

package tree

import (
	"fmt"
	"syscall"
	"unsafe"
)

// mapPages returns memory for the pages of a slab, outside the Go heap.
func mapPages() *[slabPages]page {
	b, err := syscall.Mmap(-1, 0, slabPages*PageSize, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		// As when the Go heap cannot grow: there is no memory left.
		panic(fmt.Sprintf("tree: no memory for pages: %v", err))
	}
	return (*[slabPages]page)(unsafe.Pointer(unsafe.SliceData(b)))
}

func unmapPages(p *[slabPages]page) {
	if err := syscall.Munmap(unsafe.Slice(&p[0][0], slabPages*PageSize)); err != nil {
		panic(fmt.Sprintf("tree: unmap pages: %v", err))
	}
}
