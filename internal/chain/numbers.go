package chain

import (
	"cmp"
	"slices"
	"sort"

	"varve/internal/dump"
	"varve/internal/fail"
	"varve/internal/inode"
)

// Numbers map the inode numbers of a share, which are 64 bits and ever rising, to
// those of archives, which are below 1<<31 and, for the sake of the maps, dense.
// Once given, a number is never another's in the same chain. Not for concurrent
// changes.
type Numbers struct {
	runs    []run   // by archive number
	byShare []int32 // the same by share number; nil if that is the same order
	max     uint32
	top     uint64 // the largest share number
}

// run gives the share numbers [share, share+n) the archive numbers from archive on.
type run struct {
	share      uint64
	archive, n uint32
}

// bridge is how many numbers that are not in use a run may take along, to join with
// the next.
const bridge = 16

// maxArchive bounds archive numbers.
const maxArchive = 1<<31 - 8192*2

// newNumbers begins with the root.
func newNumbers() *Numbers {
	return &Numbers{runs: []run{{dump.RootIno, dump.RootIno, 1}}, max: dump.RootIno, top: inode.Root}
}

// add gives a share's inode a number, the next one. Those of one call after another
// that rise are cheap.
func (s *Numbers) add(share uint64) error {
	last := &s.runs[len(s.runs)-1]
	d := share - last.share
	next := d == uint64(last.n)
	near := share > s.top && last.share+uint64(last.n) == s.top+1 && d-uint64(last.n) <= bridge
	s.top = max(s.top, share)
	if next || near {
		skip := uint32(d) - last.n + 1
		if s.max > maxArchive-skip {
			return errNumbers
		}
		last.n += skip
		s.max += skip
		return nil
	}
	if s.max >= maxArchive || len(s.runs) >= 1<<31-1 {
		return errNumbers
	}
	s.max++
	s.runs = append(s.runs, run{share, s.max, 1})
	return nil
}

var errNumbers = fail.New(fail.TooBig, "the share has more files than an archive can number")

// seal makes what add added findable.
func (s *Numbers) seal() {
	s.byShare = nil
	if slices.IsSortedFunc(s.runs, func(a, b run) int { return cmp.Compare(a.share, b.share) }) {
		return
	}
	s.byShare = make([]int32, len(s.runs))
	for i := range s.byShare {
		s.byShare[i] = int32(i)
	}
	slices.SortFunc(s.byShare, func(a, b int32) int { return cmp.Compare(s.runs[a].share, s.runs[b].share) })
}

// clone returns a copy to be added to.
func (s *Numbers) clone() *Numbers {
	return &Numbers{runs: slices.Clone(s.runs), byShare: slices.Clone(s.byShare), max: s.max, top: s.top}
}

// archive returns the archive number of a share's inode, 0 if it has none.
func (s *Numbers) archive(share uint64) uint32 {
	at := func(i int) *run {
		if s.byShare != nil {
			i = int(s.byShare[i])
		}
		return &s.runs[i]
	}
	i := sort.Search(len(s.runs), func(i int) bool { return at(i).share > share }) - 1
	if i < 0 {
		return 0
	}
	r := at(i)
	if share-r.share >= uint64(r.n) {
		return 0
	}
	return r.archive + uint32(share-r.share)
}

// share is the inverse of archive.
func (s *Numbers) share(archive uint32) uint64 {
	i := sort.Search(len(s.runs), func(i int) bool { return s.runs[i].archive > archive }) - 1
	if i < 0 || archive-s.runs[i].archive >= s.runs[i].n {
		return 0
	}
	return s.runs[i].share + uint64(archive-s.runs[i].archive)
}

// straight reports whether archive numbers rise as share numbers do.
func (s *Numbers) straight() bool { return s.byShare == nil }
