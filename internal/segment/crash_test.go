package segment

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"varve/internal/segstore/dir"
	"varve/internal/vfs"
)

// world is a pool on a disk that keeps losing power, and what must be true of
// it: a model of the log as a list of operations.
type world struct {
	t    *testing.T
	rng  *rand.Rand
	disk *vfs.Mem
	seen *crashCounts

	mu      sync.Mutex
	ops     []madeOp   // by LSN - 1
	acked   uint64     // the last LSN whose commit returned
	roots   []Position // where the durable super roots begin
	retired uint64     // segments up to it may be gone
	serial  int
}

type madeOp struct {
	text   string
	pieces []Piece
}

// crashCounts counts how the crashes of a run hit.
type crashCounts struct {
	crashes, kills, closes       int
	lost, discarded, void        int // operations lost; tails discarded; headers wiped at the start of a segment
	leftover, retired, inResume  int
	incarnations, roots, rescued int // rescued: operations that survived without a commit
	midRoot, verified, prefilled int
}

const crashSegment = 64 * BlockSize

func (w *world) options(s *dir.Store) Options {
	return Options{
		Store: s, PoolID: testPool, Rand: randBytes{w.rng}, MarkerDelay: -1,
		MaxFrame: 8 + w.rng.IntN(24), MaxUnwritten: 200 << 10, MaxUnsynced: 400 << 10, Reserve: -1,
	}
}

func (w *world) open() *dir.Store {
	w.t.Helper()
	s, err := dir.Open(w.disk, "pool", dir.Options{Spare: 2})
	must(w.t, err)
	return s
}

func newWorld(t *testing.T, seed uint64, seen *crashCounts) *world {
	w := &world{t: t, rng: newRand(seed), disk: vfs.NewMem(seed), seen: seen}
	must(t, dir.Make(w.disk, "pool", crashSegment, 0))
	s := w.open()
	l, err := Create(w.options(s))
	must(t, err)
	must(t, w.superRoot(l, w.rng))
	must(t, l.Close())
	must(t, s.Close())
	return w
}

// superRoot writes a super root from which a scan sees all operations after
// this moment, and retires what the last two do not need.
func (w *world) superRoot(l *Log, rng *rand.Rand) error {
	cut := l.Cut()
	if _, err := l.SuperRoot(append(cut.Append(nil), make([]byte, rng.IntN(3*BlockSize))...)); err != nil {
		return err
	}
	w.mu.Lock()
	w.roots = append(w.roots, cut)
	w.seen.roots++
	w.mu.Unlock()
	list, err := l.store.List()
	if err != nil {
		return err
	}
	w.mu.Lock()
	keep := uint64(0)
	if n := len(w.roots); n >= 2 {
		keep = w.roots[n-2].Addr.Segment()
	}
	w.mu.Unlock()
	for _, seg := range list {
		if seg.Number >= keep {
			break
		}
		w.mu.Lock()
		w.retired = max(w.retired, seg.Number)
		w.mu.Unlock()
		if err := l.Retire(seg.Number); err != nil {
			return err
		}
		w.mu.Lock()
		w.seen.retired++
		w.mu.Unlock()
	}
	return nil
}

// step does one thing to the log, and says why no more can be done.
func (w *world) step(l *Log, rng *rand.Rand, roots bool) error {
	var pieces []Piece
	blocks := 0
	for range rng.IntN(3) {
		p := piece(rng, Kind(1+rng.IntN(3)), 1+rng.IntN(l.MaxPiece()))
		pieces, blocks = append(pieces, p), blocks+len(p.CRC)
	}
	w.mu.Lock()
	w.serial++
	text := fmt.Sprintf("op %d %s", w.serial, strings.Repeat("x", rng.IntN(300)))
	w.mu.Unlock()
	if err := l.Admit(blocks, false); err != nil {
		return err
	}
	mine := pieces
	var m *Memory
	if rng.IntN(2) == 0 {
		m, mine = lent(l, pieces)
		defer m.Return()
	}
	n := note{pieces: mine, text: []byte(text)}
	w.mu.Lock() // so that the model grows in the order of LSNs
	lsn, err := l.AppendIn(m, mine, &n)
	for i := range mine {
		pieces[i].Addr = mine[i].Addr
	}
	if err == nil {
		if lsn != uint64(len(w.ops)+1) {
			w.t.Errorf("lsn %d after %d operations", lsn, len(w.ops))
		}
		w.ops = append(w.ops, madeOp{text, pieces})
	}
	w.mu.Unlock()
	if err != nil {
		return err
	}
	switch r := rng.IntN(20); {
	case r < 7:
		err = l.Commit(lsn)
	case r == 7:
		l.Cut()
	case (r == 8 || r >= 18) && roots:
		return w.superRoot(l, rng)
	case r == 9:
		return l.Written(l.Cut().Seq)
	}
	if err == nil && l.DurableLSN() >= lsn {
		w.mu.Lock()
		w.acked = max(w.acked, lsn)
		w.mu.Unlock()
	}
	return err
}

// life is one incarnation: recovery, work, and the end of it.
func (w *world) life() {
	t, seen := w.t, w.seen
	seen.incarnations++
	s := w.open()
	tail, root := w.recover(s)
	if w.rng.IntN(4) == 0 {
		w.disk.CrashAfter(1 + w.rng.IntN(6))
	} else {
		w.disk.CrashAfter(1 + w.rng.IntN(150))
	}
	l, err := Resume(w.options(s), tail)
	if err != nil {
		if !errors.Is(err, vfs.ErrCrashed) {
			t.Fatalf("resume: %v", err)
		}
		seen.inResume++
		w.disk = w.disk.Crash(w.rng)
		return
	}
	w.acked = tail.LastLSN // now durable, acknowledged or not
	if root.Seq > w.roots[len(w.roots)-1].Seq {
		w.roots = append(w.roots, root)
		seen.midRoot++
	}
	if w.rng.IntN(2) == 0 { // as if there had been many small syncs
		l.mu.Lock()
		l.room.prefill.credit = maxCredit
		l.room.wanted.Signal()
		l.mu.Unlock()
	}
	var wg sync.WaitGroup
	workers := 1 + w.rng.IntN(3)
	steps := w.rng.IntN(60)
	seeds := []uint64{w.rng.Uint64(), w.rng.Uint64(), w.rng.Uint64()}
	for i := range workers {
		wg.Go(func() {
			rng := newRand(seeds[i])
			for range steps {
				if err := w.step(l, rng, i == 0); err != nil {
					if !errors.Is(err, vfs.ErrCrashed) {
						t.Errorf("working: %v", err)
					}
					return
				}
			}
		})
	}
	wg.Wait()
	if d := l.DurableLSN(); d < w.acked {
		t.Fatalf("durable lsn %d, but %d was acknowledged", d, w.acked)
	} else {
		w.acked = d
	}
	if l.Stats().Prefilled > 0 {
		seen.prefilled++
	}
	switch w.rng.IntN(5) {
	case 0:
		if l.Close() == nil {
			seen.closes++
			w.acked = uint64(len(w.ops))
		}
		w.disk = w.disk.Crash(w.rng)
	case 1:
		l.Abort()
		seen.kills++
		w.disk = w.disk.Kill()
	default:
		seen.crashes++
		old := w.disk
		w.disk = old.Crash(w.rng)
		old.Freeze()
		l.Abort()
	}
}

// recover finds the log, compares it with the model and takes the rest of the
// model back.
func (w *world) recover(s *dir.Store) (Tail, Position) {
	t := w.t
	t.Helper()
	root, err := FindSuperRoot(s, testPool)
	if err != nil {
		t.Fatalf("find super root: %v", err)
	}
	from := ParsePosition(root.Payload)
	if last := w.roots[len(w.roots)-1]; from.Seq < last.Seq {
		t.Fatalf("super root from frame %d; one from frame %d was acknowledged", from.Seq, last.Seq)
	}
	ops, tail, err := readLog(t, s, from, ScanOptions{Attested: root.Seq})
	if err != nil {
		t.Fatalf("scan: %v", err)
	}
	again, tail2, err := readLog(t, s, from, ScanOptions{Attested: root.Seq})
	if err != nil || len(again) != len(ops) || tail2.Position != tail.Position {
		t.Fatalf("a second scan found %d operations, not %d: %v", len(again), len(ops), err)
	}
	if tail.LastLSN < w.acked || tail.LastLSN > uint64(len(w.ops)) {
		t.Fatalf("the log ends at lsn %d; %d was acknowledged, %d appended (%s)", tail.LastLSN, w.acked, len(w.ops), tail.Discarded)
	}
	if tail.LastSuper != root.Addr {
		t.Fatalf("the last super root is at %v, the tail says %v", root.Addr, tail.LastSuper)
	}
	for _, op := range ops {
		if want := w.ops[op.lsn-1].text; op.text != want {
			t.Fatalf("lsn %d is %q, want %q", op.lsn, op.text, want)
		}
	}
	verifyPayload(t, ops, storeRead(s))
	w.verifyOld(s, tail.LastLSN)
	w.seen.lost += len(w.ops) - int(tail.LastLSN)
	w.seen.rescued += int(tail.LastLSN - w.acked)
	if tail.Discarded != "" {
		w.seen.discarded++
	}
	if len(tail.void) > 1 {
		w.seen.void++
	}
	if len(tail.Leftover) > 0 {
		w.seen.leftover++
	}
	w.ops = w.ops[:tail.LastLSN]
	return tail, from
}

// verifyOld reads the payload of some older operations again.
func (w *world) verifyOld(s *dir.Store, last uint64) {
	for range min(20, last) {
		op := w.ops[w.rng.Uint64N(last)]
		for _, p := range op.pieces {
			if p.Addr.Segment() > w.retired {
				verifyPayload(w.t, []parsed{{text: op.text, pieces: []Piece{p}}}, storeRead(s))
				w.seen.verified++
			}
		}
	}
}

// wholeRun is how many seeds it takes to see everything happen that may.
const wholeRun = 200

// seeds is how many seeds one run of TestCrashes has: a tenth of VARVE_CRASHES,
// and 50 at least, or all.
func seeds() int {
	if v, err := strconv.Atoi(os.Getenv("VARVE_CRASHES")); err == nil {
		return max(50, v/10)
	}
	return wholeRun
}

// TestCrashes lets the power go over and over. What a crash may leave is up to
// vfs.Mem; what a recovery must find is a prefix of all that was appended,
// with everything acknowledged, and never again what an earlier recovery did
// not find.
func TestCrashes(t *testing.T) {
	seeds := seeds()
	var seen crashCounts
	first := rand.Uint64N(1 << 40)
	t.Logf("seeds from %d", first)
	enough := func(n uint64) bool { // what happens in few lives is waited for, but not for ever
		return n >= uint64(seeds) && (seeds < wholeRun || n >= 10*uint64(seeds) || len(seen.missing()) == 0)
	}
	for n := uint64(0); !enough(n) && !t.Failed(); n++ {
		surviveCrashes(t, first+n, &seen)
	}
	t.Logf("%+v", seen)
	if seeds < wholeRun || t.Failed() {
		return
	}
	for _, name := range seen.missing() {
		t.Errorf("no %s in the whole run", name)
	}
}

// missing names what has not happened.
func (c *crashCounts) missing() (names []string) {
	for name, n := range map[string]int{
		"crashes": c.crashes, "kills": c.kills, "closes": c.closes, "lost operations": c.lost,
		"discarded tails": c.discarded, "wiped headers": c.void, "leftover segments": c.leftover,
		"retired segments": c.retired, "crashes in Resume": c.inResume, "super roots": c.roots,
		"operations rescued": c.rescued, "super roots nobody was told of": c.midRoot, "old payloads": c.verified,
		"lives with zeros written ahead": c.prefilled,
	} {
		if n == 0 {
			names = append(names, name)
		}
	}
	return names
}

func surviveCrashes(t *testing.T, seed uint64, seen *crashCounts) {
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	w := newWorld(t, seed, seen)
	for range 5 {
		if w.life(); t.Failed() {
			return
		}
	}
	w.recover(w.open())
}

// TestAcknowledgedMeansDurable is the same claim in its smallest form: whatever
// call the power goes in, a Commit that returned holds.
func TestAcknowledgedMeansDurable(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t, uint64(n), new(crashCounts))
		s := w.open()
		tail, _ := w.recover(s)
		w.disk.CrashAfter(n)
		l, err := Resume(w.options(s), tail)
		for i := 0; err == nil && i < 12; i++ {
			var lsn uint64
			if err = l.Admit(3, false); err != nil {
				break
			}
			p := []Piece{piece(w.rng, Data, 1+i%3)}
			text := fmt.Sprint("op ", i)
			if lsn, err = l.Append(p, &note{p, []byte(text)}); err == nil {
				w.ops = append(w.ops, madeOp{text, p})
				if err = l.Commit(lsn); err == nil {
					w.acked = lsn
				}
			}
		}
		if l != nil {
			l.Abort()
		}
		w.disk = w.disk.Crash(w.rng)
		w.recover(w.open())
		if err == nil {
			return // the fuse is longer than the script
		}
		if !errors.Is(err, vfs.ErrCrashed) {
			t.Fatalf("crash in call %d: %v", n, err)
		}
	}
}
