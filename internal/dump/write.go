package dump

import (
	"context"
	"encoding/binary"
	"io"
	"runtime"
	"sync"

	"varve/internal/fail"
)

// Bounds of what is read ahead.
const (
	batchBytes = 512 << 10 // of data that a batch is to have; at most twice that, but for large directories
	batchItems = 512
	batches    = 24 // in flight
)

// Result is what became of an archive.
type Result struct {
	Bytes       uint64 `json:"bytes"`
	Directories uint64 `json:"directories"`
	Files       uint64 `json:"files"`       // all that are no directories
	Lost        uint64 `json:"lost"`        // names that were left out because they lead to nothing
	Xattrs      uint64 `json:"lost_xattrs"` // extended attributes that the profile has no place for
}

// Write writes an archive to w: a header, the maps, the directories, all else, the
// end. tell, which may be nil, is called with the bytes so far, now and then, from
// the goroutine that calls Write. Files are read ahead by several goroutines, which
// end before Write returns; about 24 MiB are in memory. An error of w is returned
// as Canceled.
func Write(ctx context.Context, w io.Writer, s Source, plan *Plan, o *Options, tell func(bytes uint64)) (Result, error) {
	if err := o.Check(); err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	x := &writer{ctx: ctx, w: w, s: s, plan: plan, o: o, tell: tell, common: o.header()}
	var workers sync.WaitGroup
	x.work, x.order = make(chan *batch, batches), make(chan *batch, batches)
	for range 2 + 2*runtime.GOMAXPROCS(0) {
		workers.Add(1)
		go func() {
			defer workers.Done()
			p := packer{ctx: ctx, s: s, o: o, common: x.common, used: plan.Used}
			for b := range x.work {
				p.pack(b)
			}
		}()
	}
	workers.Add(1)
	go func() {
		defer workers.Done()
		x.scan()
	}()
	err := x.write()
	if err == nil && ctx.Err() != nil {
		err = fail.Wrap(fail.Canceled, ctx.Err(), "the dump was given up")
	}
	cancel()
	workers.Wait()
	return x.result, err
}

type writer struct {
	ctx    context.Context
	w      io.Writer
	s      Source
	plan   *Plan
	o      *Options
	tell   func(uint64)
	common Header
	tapea  int64
	result Result

	work, order chan *batch // the same batches: to be packed, and in their order
	free        sync.Pool   // of batches

	batch   *batch // that is being filled, and how much it has
	bytes   uint64
	scanErr error // valid when order is closed
}

// scan visits the inodes of the passes III and IV and hands them out in batches.
func (x *writer) scan() {
	defer close(x.order)
	defer close(x.work)
	files := NewMap(x.plan.Dumped.MaxIno())
	files.Copy(x.plan.Dumped)
	for i, b := range x.plan.Dirs.bits {
		files.bits[i] &^= b
	}
	for _, pass := range [...]struct {
		want  *Map
		count *uint64
	}{{x.plan.Dirs, &x.result.Directories}, {files, &x.result.Files}} {
		err := x.s.Scan(x.ctx, pass.want, func(i *Inode) error {
			*pass.count++
			return x.inode(i)
		})
		if err == nil && x.batch != nil {
			err = x.send()
		}
		if err != nil {
			x.scanErr = err
			return
		}
	}
}

// inode cuts an inode into items.
func (x *writer) inode(i *Inode) error {
	it := item{ino: i.Clone()}
	if i.Mode&ModeType != ModeFile || i.Flags&Snapshot != 0 || records(i.Size) <= pieceRecords {
		size := i.Size
		if i.Mode&ModeType == ModeFile {
			size = min(size, i.Blocks*512)
		}
		return x.add(it, min(size, batchBytes)+2*RecordSize)
	}
	f, err := x.s.Open(x.ctx, it.ino)
	if err != nil {
		return fail.Wrap(fail.Other, err, "inode %d", i.Ino)
	}
	it.file = f
	if i.HasXattrs && x.o.Profile == Portable {
		xs, err := x.s.Xattrs(x.ctx, it.ino)
		if err != nil {
			return fail.Wrap(fail.Other, err, "inode %d", i.Ino)
		}
		it.ext = appendBSD([]byte{}, xs)
	}
	for total := records(i.Size); it.first < total; it.first += pieceRecords {
		if err := x.add(it, min(i.Blocks*512, min(total-it.first, pieceRecords)*RecordSize)+RecordSize); err != nil {
			return err
		}
	}
	return nil
}

// add adds an item that takes about so many bytes.
func (x *writer) add(it item, bytes uint64) error {
	if x.batch != nil && (x.bytes+bytes > 2*batchBytes || len(x.batch.items) >= batchItems) {
		if err := x.send(); err != nil {
			return err
		}
	}
	if x.batch == nil {
		b, _ := x.free.Get().(*batch)
		if b == nil {
			b = &batch{}
		}
		*b = batch{items: b.items[:0], buf: b.buf[:0], heads: b.heads[:0], done: make(chan struct{})}
		x.batch, x.bytes = b, 0
	}
	x.batch.items = append(x.batch.items, it)
	if x.bytes += bytes; x.bytes >= batchBytes {
		return x.send()
	}
	return nil
}

func (x *writer) send() error {
	b := x.batch
	x.batch = nil
	select {
	case x.order <- b:
	case <-x.ctx.Done():
		return x.ctx.Err()
	}
	x.work <- b // does not wait for long: its readers never wait for anything but the source
	return nil
}

// write writes everything in its order.
func (x *writer) write() error {
	if err := x.beginning(); err != nil {
		return err
	}
	for {
		select {
		case b, ok := <-x.order:
			if !ok {
				if x.scanErr != nil {
					return x.scanErr
				}
				return x.end()
			}
			if err := x.take(b); err != nil {
				return err
			}
		case <-x.ctx.Done():
			return fail.Wrap(fail.Canceled, x.ctx.Err(), "the dump was given up")
		}
	}
}

// take writes a batch.
func (x *writer) take(b *batch) error {
	select {
	case <-b.done:
	case <-x.ctx.Done():
		return fail.Wrap(fail.Canceled, x.ctx.Err(), "the dump was given up")
	}
	if b.err != nil {
		return b.err
	}
	x.result.Lost += uint64(b.lost)
	x.result.Xattrs += uint64(b.xattrs)
	if err := x.put(b.buf, b.heads); err != nil {
		return err
	}
	if cap(b.buf) <= 4*batchBytes {
		x.free.Put(b)
	}
	return nil
}

// put numbers the headers in a run of records, and writes it.
func (x *writer) put(buf []byte, heads []int) error {
	for _, at := range heads {
		number(buf[at:at+RecordSize], x.tapea+int64(at/RecordSize))
	}
	x.tapea += int64(len(buf) / RecordSize)
	if _, err := x.w.Write(buf); err != nil {
		return fail.Wrap(fail.Canceled, err, "writing the archive")
	}
	x.result.Bytes += uint64(len(buf))
	if x.tell != nil {
		x.tell(x.result.Bytes)
	}
	return nil
}

// number sets the number of a header that was encoded with 0, and its checksum.
func number(b []byte, tapea int64) {
	le := binary.LittleEndian
	sum := le.Uint32(b[28:]) - uint32(tapea)
	le.PutUint32(b[16:], uint32(tapea))
	if le.Uint32(b[24:]) == MagicUFS2 {
		le.PutUint64(b[912:], uint64(tapea))
		sum -= uint32(tapea) + uint32(tapea>>32)
	}
	le.PutUint32(b[28:], sum)
}

// beginning writes what comes before the inodes.
func (x *writer) beginning() error {
	b := &batch{}
	h := x.common
	h.Type, h.Count, h.Flags = TypeTape, 1, h.Flags|FlagNewHeader
	b.head(&h)
	if err := x.put(b.buf, b.heads); err != nil {
		return err
	}
	for _, m := range [...]struct {
		t Type
		m *Map
	}{{TypeClri, x.plan.Used}, {TypeBits, x.plan.Dumped}} {
		h := x.common
		h.Type, h.Ino = m.t, m.m.MaxIno()
		h.Count = int32(m.m.Records())
		h.Size = uint64(h.Count) * RecordSize
		*b = batch{}
		b.head(&h)
		copy(b.grow(int(h.Count)), m.m.bits)
		if err := x.put(b.buf, b.heads); err != nil {
			return err
		}
	}
	return nil
}

// end writes headers that say so up to the end of a block, at least one.
func (x *writer) end() error {
	b := &batch{}
	h := x.common
	h.Type, h.Ino = TypeEnd, x.plan.Used.MaxIno()
	for n := x.o.Blocking - int(x.tapea%int64(x.o.Blocking)); n > 0; n-- {
		b.head(&h)
	}
	return x.put(b.buf, b.heads)
}
