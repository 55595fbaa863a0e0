package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/segment"
	"varve/internal/segstore/dir"
	"varve/internal/vfs"
	"varve/internal/vol"
)

// patient is a pool on a disk that is not damaged yet, and the model of it.
type patient struct {
	*sim
	disk  *vfs.Mem
	pool  [16]byte
	spots []spot
	last  segment.Addr // the header of the last frame: a marker
	first segment.Addr // where the records begin that anybody needs

	given  map[string]uint64 // by name: what opening gave up the end of, and from where
	unmade map[uint64]bool   // clones that it gave up
}

// spot is one bit of the log, and what it belongs to.
type spot struct {
	seg  uint64
	off  int64
	bit  uint8
	zone string // "header", "summary", "padding", or the kind of payload
	from segment.Addr
	lsn  uint64 // the last operation before the frame
	used bool   // the frame has payload that counts
}

func (p spot) String() string {
	return fmt.Sprintf("bit %d of segment %d byte %d (block %d), %s of frame %v", p.bit, p.seg, p.off, p.off/block, p.zone, p.from)
}

func (p spot) block() segment.Addr { return segment.MakeAddr(p.seg, uint32(p.off/block)) }

// newPatient makes a pool by a short script, ended by Close or by kill -9 after
// the log's marker.
func newPatient(t *testing.T, seed uint64, killed bool) *patient {
	p := &patient{disk: vfs.NewMem(seed)}
	conf := config{segment: 512 << 10, checkpoint: 9, baseOps: 12, alone: true, volumes: true}
	if killed {
		conf.marker = time.Millisecond
	}
	p.sim = newDirSim(t, conf, p.disk, seed)
	p.create()
	p.play(60)
	p.must("flush", p.e.Flush())
	if killed {
		for end := time.Now().Add(20 * time.Second); !p.endsWithMarker(t); {
			if time.Now().After(end) {
				t.Fatal("the log writes no marker")
			}
			time.Sleep(time.Millisecond)
		}
		p.disk = p.disk.Kill()
		p.e.Abort()
	} else {
		p.must("close", p.e.Close(context.Background()))
		p.disk = p.disk.Kill()
	}
	p.survey(t)
	return p
}

func (p *patient) endsWithMarker(t *testing.T) bool {
	marker := false
	p.frames(t, p.disk.Kill(), func(f *segment.Frame) { marker = f.Kind == segment.FrameMarker })
	return marker
}

// frames visits every frame of the log.
func (p *patient) frames(t *testing.T, disk *vfs.Mem, visit func(*segment.Frame)) {
	t.Helper()
	store := openDir(t, disk)
	defer store.Close()
	super, err := store.Superblock()
	p.must("superblock", err)
	p.pool = [16]byte(super[48:])
	segs, err := store.List()
	p.must("list", err)
	for _, seg := range segs {
		p.must("inspect", segment.Inspect(store, p.pool, seg.Number, func(f segment.Found) error {
			if f.Err != nil {
				t.Fatalf("damage before any was done: %v", f.Err)
			}
			visit(f.Frame)
			return nil
		}))
	}
}

// survey chooses the bits to flip: of every frame, all kinds of bytes.
func (p *patient) survey(t *testing.T) {
	rng := rand.New(rand.NewPCG(p.rng.Uint64(), 4))
	store := openDir(t, p.disk.Kill())
	free, first, err := engine.FreeBlocks(store)
	p.must("free blocks", err)
	store.Close()
	p.first = first
	p.frames(t, p.disk.Kill(), func(f *segment.Frame) {
		a := f.Position.Addr
		add := func(zone string, from, to int64) {
			p.spots = append(p.spots, spot{
				seg: a.Segment(), off: int64(a.Block())*block + from + rng.Int64N(to-from), bit: uint8(rng.IntN(8)),
				zone: zone, from: a, lsn: f.FirstLSN - 1, used: f.Kind != segment.FrameSuper && f.Blocks > 0,
			})
		}
		for i := range int64(4) { // the last 100 bytes are zeros and the checksum
			add("header", i*40, (i+1)*40)
		}
		add("header", 160, 256)
		if n := leastSummary(f); f.Length == 1+f.Blocks && n > 0 {
			add("summary", 256, 256+n)
			add("summary", 256, 256+n)
		}
		add("header block", 256, block)
		for r := range f.Runs() {
			for _, i := range []int{r.First, r.First + rng.IntN(r.N)} {
				if a := f.PayloadAddr(i); free(a) || p.e.IsFree(a) {
					continue // nobody reads it
				}
				add(r.Kind.String(), int64(1+i)*block, int64(2+i)*block)
			}
		}
		if end := int64(1+f.Blocks) * block; f.Length > 1+f.Blocks {
			add("long summary", end, end+leastSummary(f))
		}
		p.last = a
	})
}

// leastSummary returns a number of bytes that the frame's summary surely has.
func leastSummary(f *segment.Frame) int64 {
	n := 4 * f.Blocks
	for _, rec := range f.Records() {
		n += len(rec)
	}
	return int64(n)
}

func (p *patient) path(seg uint64) string { return fmt.Sprintf("pool/log/%020d.seg", seg) }

// flipped returns a copy of the disk with one bit of a file flipped.
func flipped(t *testing.T, disk *vfs.Mem, name string, off int64, bit uint8) *vfs.Mem {
	t.Helper()
	c := disk.Kill()
	f, err := c.Open(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << bit
	if _, err := f.WriteAt(b[:], off); err != nil {
		t.Fatal(err)
	}
	return c
}

// open opens a damaged copy.
func (p *patient) openCopy(t *testing.T, disk *vfs.Mem, acceptLoss bool) (*engine.Engine, error) {
	t.Helper()
	store, err := dir.Open(disk, "pool", dir.Options{})
	if err != nil {
		return nil, err
	}
	o := p.conf.options(store, newClock())
	o.AcceptLoss = acceptLoss
	return engine.Open(o)
}

// outcome says what a flip came to.
type outcome struct {
	refused    bool // by opening
	err        error
	unreadable int // blocks of heads
	lostViews  int
}

// examine opens a damaged copy and compares all that can be read with the
// model as of lsn upTo or later.
func (p *patient) examine(t *testing.T, disk *vfs.Mem, what string, upTo uint64, acceptLoss bool) (o outcome) {
	t.Helper()
	e, err := p.openCopy(t, disk, acceptLoss)
	if err != nil {
		if !fail.Is(err, fail.Corrupt) {
			t.Errorf("%s: opening: %v (kind %v)", what, err, fail.KindOf(err))
		}
		return outcome{refused: true, err: err}
	}
	defer e.Abort()
	lsn := e.Status().LastLSN
	if lsn < upTo || lsn > p.m.last() {
		t.Errorf("%s: opened at lsn %d, of %d to %d", what, lsn, upTo, p.m.last())
		return o
	}
	said := e.Status().Recovery.Discarded
	for _, m := range givenUp.FindAllStringSubmatch(said, -1) {
		p.given[m[2]], _ = strconv.ParseUint(m[1], 10, 64)
	}
	for _, m := range unmade.FindAllStringSubmatch(said, -1) {
		for id, f := range p.m.origin {
			p.unmade[id] = p.unmade[id] || p.m.worlds[f.made][id].name == m[1]
		}
	}
	for id, d := range p.m.worlds[lsn] {
		if d.destroyed {
			continue
		}
		if p.unmade[id] {
			if _, err := vol.Open(e, d.name, nil, tester, nil); !fail.Is(err, fail.NotFound) {
				t.Errorf("%s: %s, which was given up: %v", what, d.name, err)
			}
			continue
		}
		if at, ok := p.given[d.name]; ok {
			was := *p.m.at(id, at)
			was.name, d = d.name, &was
		}
		v, err := vol.Open(e, d.name, nil, tester, func() {})
		if err != nil {
			t.Errorf("%s: %s: %v", what, d.name, err)
			continue
		}
		o.unreadable += p.readable(t, what, v, d)
		v.Close()
		for at := 1 + lsn/3; at <= lsn; at += 1 + lsn/2 {
			o.lostViews += p.examineView(t, e, what, id, d.name, at)
		}
	}
	return o
}

func (p *patient) examineView(t *testing.T, e *engine.Engine, what string, id uint64, name string, at uint64) int {
	want := p.m.at(id, at)
	if want == nil {
		return 0
	}
	spec := atLSN(at)
	v, err := vol.Open(e, name, &spec, tester, nil)
	if err != nil {
		if !fail.Is(err, fail.Corrupt) {
			t.Errorf("%s: %s at lsn %d: %v", what, name, at, err)
		}
		return 1
	}
	defer v.Close()
	return p.readable(t, what, v, want)
}

// readable compares a volume with the model's and returns how many blocks
// cannot be read. Whatever can be is right.
func (p *patient) readable(t *testing.T, what string, v *vol.Volume, want *disk) (lost int) {
	t.Helper()
	if v.Size() != want.size {
		t.Errorf("%s: %s has %d bytes, want %d", what, v.Name(), v.Size(), want.size)
	}
	if same(v, want) == nil {
		return 0
	}
	var buf, zero [block]byte
	wrong := 0
	for b := range want.size / block {
		err := v.ReadAt(buf[:], b*block, nil)
		data := want.blocks[b]
		if data == nil {
			data = &zero
		}
		switch {
		case fail.Is(err, fail.Corrupt):
			lost++
			p.named(t, what, err)
		case err != nil:
			t.Errorf("%s: reading block %d: %v", what, b, err)
		case !bytes.Equal(buf[:], data[:]):
			wrong++
		}
	}
	if wrong > 0 || lost == 0 {
		t.Errorf("%s: %s: %d blocks read wrong, %d not at all", what, v.Name(), wrong, lost)
	}
	return lost
}

// What opening says of a dataset that it gave up from an operation on, or as a whole.
var (
	givenUp = regexp.MustCompile(`what follows lsn (\d+) of (\S+) was given up`)
	unmade  = regexp.MustCompile(`the clone (\S+) was given up`)
)

var place = regexp.MustCompile(`segment \d+|super root \d|tree node at `)

// named checks that an error says where the damage is.
func (p *patient) named(t *testing.T, what string, err error) {
	t.Helper()
	if !place.MatchString(err.Error()) {
		t.Errorf("%s: the error names no place: %v", what, err)
	}
}

// A flipped bit anywhere in the log is found when it matters: the pool is
// refused, or what is there equals the model. check reports it.
func TestFlippedBit(t *testing.T) {
	for _, killed := range []bool{false, true} {
		t.Run(fmt.Sprintf("killed %v", killed), func(t *testing.T) {
			t.Parallel()
			defer recoverStop(t)
			seen, flips := map[string]int{}, 0
			for seed := range uint64(1) {
				p := newPatient(t, 11+seed, killed)
				flips += len(p.spots)
				for _, at := range p.spots {
					p.flip(t, at, seen)
				}
			}
			for _, k := range []string{
				"header: refused", "summary: refused", "header: prefix saved",
				"data: unreadable", "data: view lost", "data: harmless", "node: harmless",
				"deaths: harmless", "super: harmless", "header block: harmless", "header: behind the records",
			} {
				if seen[k] == 0 {
					t.Errorf("no flip was %q: %v", k, seen)
				}
			}
			t.Logf("%d flips: %v", flips, seen)
		})
	}
}

func (p *patient) flip(t *testing.T, at spot, seen map[string]int) {
	t.Helper()
	what := at.String()
	upTo := p.m.last()
	o := p.examine(t, flipped(t, p.disk, p.path(at.seg), at.off, at.bit), what, upTo, false)
	rep := p.check(t, flipped(t, p.disk, p.path(at.seg), at.off, at.bit), what)
	switch {
	case o.refused:
		p.named(t, what, o.err)
		seen[at.zone+": refused"]++
		if p.acceptLoss(t, flipped(t, p.disk, p.path(at.seg), at.off, at.bit), what+", accepting loss", at) {
			seen[at.zone+": prefix saved"]++
		}
	case o.unreadable > 0:
		seen[at.zone+": unreadable"]++
		if at.zone == "data" && o.unreadable > 3*len(p.m.now()) {
			t.Errorf("%s: %d blocks are unreadable", what, o.unreadable)
		}
	case o.lostViews > 0:
		seen[at.zone+": view lost"]++
	case p.forgotten(at):
		seen[at.zone+": behind the records"]++
	default:
		seen[at.zone+": harmless"]++
	}
	harmful := o.refused || o.unreadable+o.lostViews > 0
	verified := at.zone != "header block" && at.from != p.last && (!p.forgotten(at) || at.used)
	if p.forgotten(at) && harmful {
		t.Errorf("%s: nobody needs that, and it matters: %v, %d unreadable, %d views lost", what, o.err, o.unreadable, o.lostViews)
	}
	if (harmful || verified) && len(rep.Damage) == 0 {
		t.Errorf("%s: check reports nothing (refused %v, unreadable %d, views lost %d)", what, o.refused, o.unreadable, o.lostViews)
	}
	for i, d := range rep.Damage {
		if i > 0 && d.Where == "below what cannot be read" {
			continue // which the lines before it name
		}
		if !place.MatchString(d.Where + " " + d.What) {
			t.Errorf("%s: damage without a place: %+v", what, d)
		}
	}
}

// forgotten reports whether a bit is of a frame's own, header or records, that
// no replay needs any more.
func (p *patient) forgotten(at spot) bool {
	return at.from < p.first && (at.zone == "header" || at.zone == "summary" || at.zone == "long summary" || at.zone == "header block")
}

// acceptLoss opens what was refused, and once more after that. What is there is
// a prefix of history, and whole where no node or payload was damaged.
func (p *patient) acceptLoss(t *testing.T, disk *vfs.Mem, what string, at spot) bool {
	t.Helper()
	p.given, p.unmade = map[string]uint64{}, map[uint64]bool{}
	defer func() { p.given, p.unmade = nil, nil }()
	for i := range 2 {
		o := p.examine(t, disk, what, 0, i == 0)
		if o.refused && i == 0 {
			return false
		}
		log := at.zone == "header" || at.zone == "summary" || at.zone == "long summary"
		if o.refused || log && o.unreadable > 0 {
			t.Errorf("%s: opening %d: %d blocks are unreadable: %v", what, i+1, o.unreadable, o.err)
		}
		disk = disk.Kill()
	}
	return true
}

func (p *patient) check(t *testing.T, disk *vfs.Mem, what string) engine.CheckReport {
	t.Helper()
	store, err := dir.Open(disk, "pool", dir.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	rep, err := engine.CheckStore(context.Background(), store, true, nil)
	if err != nil {
		t.Errorf("%s: check: %v", what, err)
	}
	return rep
}

// Without damage there is nothing to report, on a pool that was closed and on
// one that was killed.
func TestCheckStoreClean(t *testing.T) {
	defer recoverStop(t)
	for _, killed := range []bool{false, true} {
		p := newPatient(t, 12, killed)
		for _, d := range p.check(t, p.disk.Kill(), "undamaged").Damage {
			t.Errorf("killed %v: %s: %s", killed, d.Where, d.What)
		}
	}
}

// A flipped bit in the superblock is refused, one in the hint does not matter.
func TestFlippedSuperblock(t *testing.T) {
	defer recoverStop(t)
	p := newPatient(t, 13, false)
	for off := range int64(128) {
		bit := uint8(off % 8)
		what := fmt.Sprintf("superblock byte %d bit %d", off, bit)
		o := p.examine(t, flipped(t, p.disk, "pool/pool", off, bit), what, p.m.last(), false)
		if !o.refused || !strings.Contains(o.err.Error(), "superblock") {
			t.Errorf("%s: %v", what, o.err)
		}
		rep := p.check(t, flipped(t, p.disk, "pool/pool", off, bit), what)
		if len(rep.Damage) == 0 {
			t.Errorf("%s: check reports nothing", what)
		}
	}
	info, err := p.disk.Stat("pool/hint")
	p.must("stat", err)
	for off := range info.Size {
		what := fmt.Sprintf("hint byte %d", off)
		o := p.examine(t, flipped(t, p.disk, "pool/hint", off, uint8(off%8)), what, p.m.last(), false)
		if o.refused || o.unreadable+o.lostViews > 0 {
			t.Errorf("%s: %+v", what, o)
		}
	}
}

// scatter overwrites many blocks that lie apart, between two checkpoints: so many
// deaths at once fill pages.
func (s *sim) scatter() {
	name := liveNames(s.m.now())[0]
	for range 2 {
		s.must("checkpoint", s.e.Checkpoint())
		for b := range uint64(60) {
			id, d := s.m.now().named(name)
			p := s.payload(block)
			v := s.open(name)
			w := s.m.now().with(id, d.written(p, 2*b*block))
			s.intend("write", w, nil)
			s.must("write", v.WriteAt(p, 2*b*block))
			s.did("write", w, false)
			v.Close()
		}
	}
}

// Damage while the pool is served: reads of the rest go on, check and status
// tell, nothing wrong is served, and writes of other blocks go on.
func TestDamageWhileServed(t *testing.T) {
	defer recoverStop(t)
	disk := vfs.NewMem(3)
	faulty := vfs.NewFaulty(disk)
	s := newDirSim(t, config{segment: 1 << 20, cache: 1 << 17, checkpoint: 30, volumes: true}, faulty, 3)
	s.create()
	s.play(80)
	s.scatter()
	s.must("checkpoint", s.e.Checkpoint())
	p := &patient{sim: s, disk: disk.Kill()}
	p.survey(t)
	kinds := map[string]int{}
	for _, at := range p.spots {
		if at.zone != "data" && at.zone != "node" && at.zone != "deaths" || kinds[at.zone] > 12 {
			continue
		}
		rot := faulty.Add(vfs.Rule{Op: vfs.OpRead, Path: fmt.Sprintf("%020d.seg", at.seg), Rot: &vfs.Rot{Offset: at.off, Bit: at.bit}})
		rep, err := s.e.Check(context.Background(), true, nil)
		s.must("check", err)
		if s.e.IsFree(at.block()) { // meanwhile: check takes a checkpoint first
			faulty.End(rot)
			continue
		}
		kinds[at.zone]++
		if len(rep.Damage) == 0 {
			t.Errorf("%v: check reports nothing", at)
		}
		for id, d := range s.m.now() {
			if d.destroyed {
				continue
			}
			v := s.open(d.name)
			p.readable(t, at.String(), v, d)
			v.Close()
			for lsn := uint64(1); lsn < s.m.last(); lsn += 17 {
				p.examineView(t, s.e, at.String(), id, d.name, lsn)
			}
		}
		faulty.End(rot)
	}
	for _, k := range []string{"data", "node", "deaths"} {
		if kinds[k] == 0 {
			t.Errorf("no flip in %s: %v", k, maps.Clone(kinds))
		}
	}
	s.compareAll("when the bits are right again", 10)
	s.play(20)
	s.compareAll("later", 10)
	s.must("close", s.e.Close(context.Background()))
}
