//go:build race

package tree

// The race detector watches only the Go heap, so under it pages live there.

func mapPages() *[slabPages]page { return new([slabPages]page) }

func unmapPages(*[slabPages]page) {}
