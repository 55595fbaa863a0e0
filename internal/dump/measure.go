package dump

import (
	"context"
)

// Measure makes the length of a plan exact: it asks the source for the names of
// every directory, the ranges of every file that may have holes, and extended
// attributes, so it is for sources in which that costs little.
func Measure(ctx context.Context, s Source, plan *Plan, o *Options) error {
	m := measure{ctx: ctx, s: s, o: o, used: plan.Used}
	plan.Records = plan.overhead()
	err := s.Scan(ctx, plan.Dumped, func(i *Inode) error {
		n, err := m.records(i)
		plan.Records += n
		return err
	})
	plan.Exact = err == nil
	return err
}

type measure struct {
	ctx  context.Context
	s    Source
	o    *Options
	used *Map
	dir  directory
}

// records returns what an inode takes in the archive.
func (m *measure) records(i *Inode) (uint64, error) {
	var data, span uint64 // records with and without holes
	switch i.Mode & ModeType {
	case ModeDir:
		if _, err := m.dir.read(m.ctx, m.s, i, m.used); err != nil {
			return 0, err
		}
		data = records(uint64(len(m.dir.buf)))
		span = data
	case ModeLink:
		data = records(i.Size)
		span = data
	case ModeFile:
		if i.Flags&Snapshot != 0 {
			break
		}
		span = records(i.Size)
		data = span
		if i.Blocks*512 < i.Size {
			var err error
			if data, err = m.data(i); err != nil {
				return 0, err
			}
		}
	}
	var ext uint64
	if i.HasXattrs {
		xs, err := m.s.Xattrs(m.ctx, i)
		if err != nil {
			return 0, err
		}
		if m.o.Profile == Linux {
			return max(1, heads(span)) + data + linuxXattrRecords(i, xs), nil
		}
		ext = records(uint64(len(appendBSD(nil, xs))))
	}
	return headsWith(i, span, ext) + data + ext, nil
}

func heads(records uint64) uint64 { return (records + maxAddr - 1) / maxAddr }

// headsWith returns how many headers announce so many records and, after them,
// those of extended attributes, which share a header with the last data where they fit.
func headsWith(i *Inode, span, ext uint64) uint64 {
	if i.Mode&ModeType != ModeFile {
		return max(1, heads(span+ext))
	}
	n := max(1, heads(span))
	if span-(n-1)*maxAddr+ext > maxAddr {
		n += heads(ext)
	}
	return n
}

// data counts the records of a file that are no holes.
func (m *measure) data(i *Inode) (uint64, error) {
	f, err := m.s.Open(m.ctx, i)
	if err != nil {
		return 0, err
	}
	var n, next uint64
	for at := uint64(0); at < i.Size; {
		from, to, err := f.Next(m.ctx, at)
		if err != nil {
			return 0, err
		}
		if from >= to {
			break
		}
		if lo, hi := max(from/RecordSize, next), records(to); lo < hi {
			n += hi - lo
			next = hi
		}
		at = to
	}
	if next < records(i.Size) {
		n++ // the last record is no hole
	}
	return n, nil
}
