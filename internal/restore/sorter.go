package restore

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"io"
	"os"
	"slices"
)

// sorter sorts numbers. Those beyond limit are in a temporary file, in runs that are
// sorted each. Close it, sorted or not. Not for concurrent use.
type sorter struct {
	limit int
	mem   []uint64
	f     *os.File
	ends  []int64 // of the runs: bytes
}

const numberSize = 8

func (s *sorter) add(v uint64) error {
	s.mem = append(s.mem, v)
	if len(s.mem) < s.limit {
		return nil
	}
	return s.spill()
}

func (s *sorter) spill() (err error) {
	if s.f == nil {
		if s.f, err = tempFile(); err != nil {
			return err
		}
	}
	slices.Sort(s.mem)
	w := &numberWriter{w: bufio.NewWriterSize(s.f, 64<<10)}
	for _, v := range s.mem {
		w.put(v)
	}
	end := int64(len(s.mem)) * numberSize
	if len(s.ends) > 0 {
		end += s.ends[len(s.ends)-1]
	}
	s.ends, s.mem = append(s.ends, end), s.mem[:0]
	return w.flush()
}

// numberWriter writes numbers; the first error stays.
type numberWriter struct{ w *bufio.Writer }

func (w *numberWriter) put(v uint64) {
	var b [numberSize]byte
	binary.LittleEndian.PutUint64(b[:], v)
	w.w.Write(b[:])
}

func (w *numberWriter) flush() error { return tempError(w.w.Flush()) }

// close lets go of the temporary file.
func (s *sorter) close() {
	if s.f != nil {
		s.f.Close()
	}
}

// sorted returns what was added, in order, which outlives the sorter; to be called once.
func (s *sorter) sorted() (*sorted, error) {
	if s.f == nil {
		slices.Sort(s.mem)
		return &sorted{mem: s.mem}, nil
	}
	if err := s.spill(); err != nil {
		return nil, err
	}
	s.mem = nil
	return s.merge()
}

// run is a run that is being read.
type run struct {
	in   *bufio.Reader
	next uint64
}

func (r *run) advance() error {
	var b [numberSize]byte
	_, err := io.ReadFull(r.in, b[:])
	r.next = binary.LittleEndian.Uint64(b[:])
	return err
}

// runBuffer is how much of a run is read at a time: bytes.
const runBuffer = 16 << 10

// merge makes one file of the runs.
func (s *sorter) merge() (out *sorted, err error) {
	var heap []*run
	from := int64(0)
	for _, end := range s.ends {
		r := &run{in: bufio.NewReaderSize(io.NewSectionReader(s.f, from, end-from), runBuffer)}
		if err := r.advance(); err == nil {
			heap = append(heap, r)
		} else if err != io.EOF {
			return nil, tempError(err)
		}
		from = end
	}
	slices.SortFunc(heap, func(a, b *run) int { return cmp.Compare(a.next, b.next) })
	out = &sorted{loaded: -1}
	if out.f, err = tempFile(); err != nil {
		return nil, err
	}
	w := &numberWriter{w: bufio.NewWriterSize(out.f, 64<<10)}
	for len(heap) > 0 {
		if out.n%pageNumbers == 0 {
			out.first = append(out.first, heap[0].next)
		}
		w.put(heap[0].next)
		out.n++
		if err := heap[0].advance(); err == io.EOF {
			heap[0] = heap[len(heap)-1]
			heap = heap[:len(heap)-1]
		} else if err != nil {
			out.close()
			return nil, tempError(err)
		}
		sink(heap)
	}
	if err := w.flush(); err != nil {
		out.close()
		return nil, err
	}
	return out, nil
}

// sink moves the first of a heap to where it belongs.
func sink(heap []*run) {
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(heap); c++ {
			if heap[c].next < heap[least].next {
				least = c
			}
		}
		if least == i {
			return
		}
		heap[i], heap[least] = heap[least], heap[i]
		i = least
	}
}

// sorted are numbers in order: in memory, or in a file of which the first number of
// each page is. Not for concurrent use.
type sorted struct {
	mem    []uint64
	f      *os.File
	n      int64 // numbers in f
	first  []uint64
	page   []uint64
	loaded int // which page
}

// pageNumbers is how many numbers a page has.
const pageNumbers = 512

// from visits the numbers from v on until fn returns false.
func (s *sorted) from(v uint64, fn func(v uint64) bool) error {
	if s.f == nil {
		at, _ := slices.BinarySearch(s.mem, v)
		for ; at < len(s.mem) && fn(s.mem[at]); at++ {
		}
		return nil
	}
	page, _ := slices.BinarySearch(s.first, v)
	for page = max(page-1, 0); page < len(s.first); page++ {
		if err := s.load(page); err != nil {
			return err
		}
		at, _ := slices.BinarySearch(s.page, v)
		for ; at < len(s.page); at++ {
			if !fn(s.page[at]) {
				return nil
			}
		}
	}
	return nil
}

func (s *sorted) load(page int) error {
	if s.loaded == page {
		return nil
	}
	var b [pageNumbers * numberSize]byte
	n := int(min(pageNumbers, s.n-int64(page)*pageNumbers))
	if _, err := s.f.ReadAt(b[:n*numberSize], int64(page)*int64(len(b))); err != nil {
		s.loaded = -1
		return tempError(err)
	}
	s.page, s.loaded = s.page[:0], page
	for i := range n {
		s.page = append(s.page, binary.LittleEndian.Uint64(b[i*numberSize:]))
	}
	return nil
}

func (s *sorted) close() {
	if s != nil && s.f != nil {
		s.f.Close()
	}
}
