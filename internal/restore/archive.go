package restore

import (
	"encoding/binary"
	"fmt"
	"io"

	"varve/internal/dump"
	"varve/internal/fail"
)

// Archive reads an archive from its beginning to its end. Not for concurrent use.
type Archive struct {
	First dump.Header // the first header of the first volume

	// Used and Dumped are the maps of inodes that are in use, and that are in the
	// archive. nil: the map is damaged, or did not come yet.
	Used, Dumped *dump.Map

	volumes Volumes
	volume  int // of which s is
	s       *stream
	order   binary.ByteOrder
	tell    func(Damage) error

	force   bool  // volumes that do not begin with a header are searched for one
	tape    int64 // the number of the next record, as headers count them
	counts  bool  // headers count records
	unsure  bool  // whether the first header of this volume was counted: see turn
	jumped  bool  // headers are missing before the last one
	ahead   *dump.Header
	h       dump.Header // of the object that is being read
	unread  bool        // its data
	ext     []byte      // UFS: its extended attributes, as far as they were read
	lostExt bool        // not all of them could be read
	seen    []uint64    // the inodes that came already
	ended   bool        // the end record was read, or nothing is left
	whole   bool        // the end record was read
}

// maxXattrs is how many bytes of extended attributes an inode can have; more are
// reported and left out.
const maxXattrs = 1 << 20

// Open opens an archive and reads its first header. tell is told of damage, in
// order; an error that it returns ends the reading. With force a volume that does
// not begin with a header is searched for one. Close it.
func Open(v Volumes, force bool, tell func(Damage) error) (*Archive, error) {
	a := &Archive{volumes: v, tell: tell, counts: true, force: force}
	first, err := v(0)
	if err != nil {
		return nil, err
	}
	a.s = newStream(first)
	if err := a.begin(force); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

func (a *Archive) begin(force bool) error {
	h, err := a.s.begin()
	if fail.Is(err, fail.Corrupt) && force {
		if h, err = a.beginAnywhere(err); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if h.Volume > 1 {
		return fail.New(fail.Invalid, "%s is volume %d of an archive", a.s.name, h.Volume).WithHint("give volume 1 first, each with its own -f")
	}
	b, err := a.s.peek(dump.RecordSize)
	if len(b) < dump.RecordSize {
		return err
	}
	if a.order, err = h.Decode(b); err != nil {
		return err
	}
	a.First, a.tape = *h, h.TapeA
	switch {
	case h.Type == dump.TypeTape:
		a.pass(1)
	case !force:
		return fail.New(fail.Corrupt, "%s does not begin with the header of a volume", a.s.name).WithHint("-y reads what there is")
	}
	return nil
}

// beginAnywhere finds the first header of a volume that does not begin with one.
func (a *Archive) beginAnywhere(cause error) (*dump.Header, error) {
	at := a.s.offset()
	if err := a.search(); err != nil {
		return nil, err
	}
	b, _ := a.s.peek(dump.RecordSize)
	if len(b) < dump.RecordSize {
		return nil, fail.New(fail.Corrupt, "%s has no header of dump in it", a.s.name)
	}
	if err := a.hurt(at, "%v; the first header is %d bytes further on", cause, a.s.offset()-at); err != nil {
		return nil, err
	}
	return a.s.begin()
}

// Close gives the volume back that is open.
func (a *Archive) Close() {
	if a.s != nil {
		a.s.close()
	}
}

// Whole reports whether the archive was read up to its end record.
func (a *Archive) Whole() bool { return a.whole }

func (a *Archive) damage(at int64, format string, args ...any) *Damage {
	return &Damage{Volume: a.s.name, Offset: at, What: fmt.Sprintf(format, args...), Ino: a.h.Ino}
}

func (a *Archive) hurt(at int64, format string, args ...any) error {
	return a.tell(*a.damage(at, format, args...))
}

// pass passes n records that were peeked at.
func (a *Archive) pass(n int) {
	a.s.skip(n * dump.RecordSize)
	a.tape += int64(n)
}

// valid decodes a record as a header of this archive; nil if it is none.
func (a *Archive) valid(b []byte) *dump.Header {
	if _, ok := dump.IsHeader(b); !ok {
		return nil
	}
	h := new(dump.Header)
	o, err := h.Decode(b)
	if err != nil || a.order != nil && (o != a.order || h.Magic != a.First.Magic || h.Date != a.First.Date || h.DDate != a.First.DDate) {
		return nil
	}
	if a.order == nil {
		return h
	}
	if a.counts && a.missing(h, 0) < 0 && !a.second(h) || h.Type == dump.TypeTape {
		return nil // of an archive within this one
	}
	if (h.Type == dump.TypeInode || h.Type == dump.TypeAddr) && a.Dumped != nil && !a.Dumped.Has(h.Ino) {
		return nil
	}
	return h
}

// second reports whether h is the second header, and counts as the first: then
// headers do not count records.
func (a *Archive) second(h *dump.Header) bool {
	return a.tape == a.First.TapeA+1 && h.TapeA == a.First.TapeA
}

// missing returns how many records are missing before header h, if it comes after n more.
func (a *Archive) missing(h *dump.Header, n int) int64 {
	m := h.TapeA - a.tape - int64(n)
	if m == -1 && a.unsure {
		return 0
	}
	return m
}

// header returns the next header, behind what is damaged. io.EOF: there is none.
func (a *Archive) header() (*dump.Header, error) {
	if h := a.ahead; h != nil {
		a.ahead = nil
		return h, nil
	}
	if a.ended {
		return nil, io.EOF
	}
	at, skipped, broken := a.s.offset(), false, false
	for {
		b, err := a.s.peek(dump.RecordSize)
		switch {
		case len(b) == dump.RecordSize:
			if h := a.valid(b); h != nil {
				err := a.found(h, at, skipped)
				a.jumped = a.jumped || broken
				return h, err
			}
			skipped = true
			if err := a.search(); err != nil {
				return nil, err
			}
		case err == errGap:
			a.s.skip(len(b))
			a.s.crossGap()
			skipped = true
		case err != io.EOF:
			return nil, err
		default:
			var cut *Damage
			if skipped || len(b) > 0 {
				cut = a.damage(at, "%d bytes up to the end of the volume are no header", a.s.offset()+int64(len(b))-at)
			}
			if err := a.turnCut(0, cut, !skipped); err == errBroken {
				broken = true
			} else if err != nil {
				return nil, err
			}
			at, skipped = a.s.offset(), false
		}
	}
}

// found takes the header h, which is next, and reports what is missing before it.
func (a *Archive) found(h *dump.Header, at int64, skipped bool) error {
	if a.second(h) {
		a.counts = false
	}
	missing := int64(0)
	if a.counts {
		missing = a.missing(h, 0)
	}
	a.unsure = false
	a.jumped = missing != 0 || skipped && !a.counts
	a.s.skip(dump.RecordSize)
	a.tape++
	if a.counts {
		a.tape = h.TapeA + 1
	}
	switch off := a.s.offset() - dump.RecordSize - at; {
	case skipped && missing != 0:
		return a.hurt(at, "%d bytes are no header; %d records are missing before the next one", off, missing)
	case skipped:
		return a.hurt(at, "%d bytes are no header", off)
	case missing != 0:
		return a.hurt(at, "%d records are missing", missing)
	}
	return nil
}

// search goes to the next header at any byte, or to where the volume ends or has
// a gap.
func (a *Archive) search() error {
	a.s.skip(1)
	for {
		b, err := a.s.peek(searchSize)
		if len(b) < dump.RecordSize {
			if err == io.EOF || err == errGap {
				a.s.skip(len(b))
				return nil
			}
			return err
		}
		if at := a.scan(b); at >= 0 {
			a.s.skip(at)
			return nil
		}
		a.s.skip(len(b) - dump.RecordSize + 1)
	}
}

// searchSize is how much is searched at a time: bytes.
const searchSize = 64 << 10

// scan returns where in b the first header begins that is whole, or -1.
func (a *Archive) scan(b []byte) int {
	for i := 0; i+dump.RecordSize <= len(b); i++ {
		if b[i+24] != 0x6c && b[i+24] != 0x19 && b[i+24] != 0 {
			continue // the first byte of no magic
		}
		if a.valid(b[i:i+dump.RecordSize]) != nil {
			return i
		}
	}
	return -1
}

// turn opens the next volume, in which rest records of the last header have to be.
// io.EOF: there is none. errBroken: they are not there.
func (a *Archive) turn(rest int) error {
	v, err := a.volumes(a.volume + 1)
	if err == io.EOF {
		if err := a.hurt(a.s.offset(), "the archive ends here, without an end record: it is cut off, or volume %d is missing", a.volume+2); err != nil {
			return err
		}
		a.ended = true
		return io.EOF
	}
	if err != nil {
		return err
	}
	a.s.close()
	a.s = newStream(v)
	a.volume++
	h, err := a.s.begin()
	switch {
	case fail.Is(err, fail.Corrupt) && a.force:
		return a.turnDamaged(err)
	case err != nil:
		return err
	case h.Type != dump.TypeTape || h.Date != a.First.Date || h.DDate != a.First.DDate || h.Magic != a.First.Magic:
		return fail.New(fail.Invalid, "%s belongs to another dump: of %s, level %d", v.Name, date(h.Date), h.Level)
	case int(h.Volume) != a.volume+1:
		return fail.New(fail.Invalid, "%s is volume %d, and %d is wanted", v.Name, h.Volume, a.volume+1).WithHint("give the volumes in order, each with its own -f")
	}
	missing := a.turned(h)
	if missing != 0 || !a.counts && rest > 0 && (h.Ino != a.h.Ino || int(h.Count) != rest) {
		if err := a.hurt(0, "the volume does not go on where the last one ended: %d records are missing", missing); err != nil {
			return err
		}
		return errBroken
	}
	return nil
}

// turnCut is turn where a volume is cut off, if cut says so. Within a record that is
// harmless where the next volume has it: a medium ends anywhere.
func (a *Archive) turnCut(rest int, cut *Damage, within bool) error {
	if cut != nil && !within {
		if err := a.tell(*cut); err != nil {
			return err
		}
	}
	err := a.turn(rest)
	if cut != nil && within && (err == io.EOF || err == errBroken) {
		if terr := a.tell(*cut); terr != nil {
			return terr
		}
	}
	return err
}

// maxRepeated bounds the records that a volume has once more: those of a block.
const maxRepeated = maxBlock / dump.RecordSize

// turned passes the first header of another volume, and returns how many records are
// missing before it.
//
// A volume that dump ended itself is followed by one whose header is counted like every
// record. Where instead the medium ended it, the header has the number of the record
// behind it; and what was written of the last block, which came to nothing, is repeated.
func (a *Archive) turned(h *dump.Header) (missing int64) {
	if !a.counts {
		a.pass(1)
		return 0
	}
	again := a.tape - h.TapeA
	if again > 0 && again <= maxRepeated {
		a.s.skip(dump.RecordSize)
		b, _ := a.s.peek(int(again) * dump.RecordSize)
		there := len(b) / dump.RecordSize
		a.s.skip(there * dump.RecordSize)
		return again - int64(there)
	}
	a.unsure = again == 0
	a.tape = h.TapeA
	a.pass(1)
	return -again
}

// turnDamaged goes on in a volume whose first header is damaged, as if it were one of
// the first volume. errBroken: what it begins with is not known.
func (a *Archive) turnDamaged(cause error) error {
	if a.First.Magic != dump.MagicUFS2 && a.First.Flags&dump.FlagCompressed != 0 {
		if err := a.s.compressed(&a.First, a.order); err != nil {
			return err
		}
	}
	if err := a.hurt(0, "%v", cause); err != nil {
		return err
	}
	return errBroken
}
