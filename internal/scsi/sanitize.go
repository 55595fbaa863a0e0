package scsi

import (
	"time"

	"varve/internal/fail"
)

// SANITIZE (SBC-3 5.32): everything that the volume ever held is made unreadable,
// its history too. It goes on when the nexus ends; while it runs, and where it
// failed, the unit does nothing else. That it began is durable before the first
// block is touched, so that a restart cannot pass off a half of it as done.

// Service actions of SANITIZE.
const (
	sanitizeOverwrite = 0x01
	sanitizeErase     = 0x02
	sanitizeExit      = 0x1f
)

// sanitize is the state of it. A value; unit.mu.
type sanitize struct {
	running      bool
	failed       bool
	unrestricted bool // AUSE
	progress     uint16
}

// sanitizing is what other commands get meanwhile.
func (u *unit) sanitizing() sense {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.sanitize.failed {
		return senseSanitizeFail
	}
	s := senseSanitizing
	s.progress, s.hasProgress = u.sanitize.progress, true
	return s
}

func beginSanitize(c *Command) sense {
	n := int(be.Uint16(c.CDB[7:]))
	if c.op.action != sanitizeOverwrite {
		if n != 0 {
			return senseCDB.atByte(7)
		}
		return sense{}
	}
	if n < 5 || n > 4+BlockSize {
		return senseCDB.atByte(7)
	}
	return c.dataOut(n)
}

// erasure is one SANITIZE at work.
type erasure struct {
	u      *unit
	a      *attachment
	passes [][]byte // what each block is written with, in turn; none: only erased
	failed chan error

	began time.Time
	paced time.Duration // what the writes so far take at the rate
}

func runSanitize(c *Command, _, out []byte, _ bool) bool {
	c.Total = c.Length
	if c.op.action == sanitizeExit {
		return c.exitFailure()
	}
	x := &erasure{u: c.a.u, a: c.a, failed: make(chan error, 1)}
	if c.op.action == sanitizeOverwrite {
		var s sense
		if x.passes, s = overwrites(out); s.is() {
			return c.fail(s)
		}
	}
	if s := x.begin(c, c.CDB[1]&0x20 != 0); s.is() {
		return c.fail(s)
	}
	c.pause()
	for _, a := range x.u.others(nil) {
		a.drain()
	}
	x.u.s.background.Go(x.run)
	var err error
	if c.CDB[1]&0x80 == 0 { // not IMMED
		err = c.await(x.failed)
	}
	c.resume()
	if err != nil {
		return c.fail(senseSanitizeFail)
	}
	return true
}

// await waits for the end of an erasure. It goes on without a command that is
// aborted.
func (c *Command) await(end chan error) error {
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case err := <-end:
			return err
		case <-look.C:
			if c.stopped() {
				return fail.New(fail.Canceled, "aborted")
			}
		}
	}
}

// overwrites reads the parameter list: the contents of a block for each pass.
//
//	invert and count | 0 | length 2 | pattern
func overwrites(p []byte) ([][]byte, sense) {
	if len(p) < 5 {
		return nil, senseListLength
	}
	count, n := int(p[0]&0x1f), int(be.Uint16(p[2:]))
	switch {
	case count == 0:
		return nil, senseParameter.inList(0)
	case n == 0 || n > BlockSize || n > len(p)-4:
		return nil, senseParameter.inList(2)
	}
	plain, inverted := make([]byte, BlockSize), make([]byte, BlockSize)
	for i := range plain {
		plain[i] = p[4+i%n]
		inverted[i] = ^plain[i]
	}
	passes := make([][]byte, count)
	for i := range passes {
		passes[i] = plain
		if p[0]&0x80 != 0 && (count-1-i)%2 == 1 { // the last pass is not inverted
			passes[i] = inverted
		}
	}
	return passes, sense{}
}

// begin bars the unit, durably.
func (x *erasure) begin(c *Command, unrestricted bool) sense {
	u := x.u
	if err := x.a.d.MayErase(); err != nil {
		u.s.log.Warn("SANITIZE is refused", "err", err)
		return senseProtected
	}
	if !c.lockSaving() {
		return sense{key: keyAbortedCommand}
	}
	defer u.saving.Unlock()
	u.mu.Lock()
	pr, old := u.pr, u.sanitize
	u.mu.Unlock()
	switch {
	case old.running:
		return senseSanitizing
	case old.failed && !old.unrestricted && unrestricted:
		return senseCDB.atByte(1)
	}
	now := sanitize{running: true, unrestricted: unrestricted}
	if s := u.keep(x.a.d, &pr, &now); s.is() {
		return s
	}
	x.a.users.Add(1)
	u.mu.Lock()
	u.sanitize = now
	u.setGate(gateSanitize, true)
	u.mu.Unlock()
	return sense{}
}

// run erases, and sets the unit free; or lets it stay failed.
func (x *erasure) run() {
	defer x.a.done()
	err := x.erase()
	u := x.u
	u.saving.Lock()
	defer u.saving.Unlock()
	u.mu.Lock()
	pr, now := u.pr, sanitize{}
	u.mu.Unlock()
	if err == nil {
		if s := u.keep(x.a.d, &pr, &now); s.is() {
			err = fail.New(fail.IO, "it is not noted that the erasure is over")
		}
	}
	u.mu.Lock()
	if err != nil {
		u.s.log.Error("SANITIZE failed", "disk", x.a.d.Name(), "err", err)
		now = sanitize{failed: true, unrestricted: u.sanitize.unrestricted}
	}
	u.sanitize = now
	u.setGate(gateSanitize, now.failed)
	u.mu.Unlock()
	x.failed <- err
}

// eraseStep is how much is erased between looks at whether to stop: bytes.
const eraseStep = 1 << 30

// erase makes holes of everything and forgets what was there; then come the
// passes, each of which forgets the one before.
func (x *erasure) erase() error {
	d := x.a.d
	x.began = time.Now()
	size, rounds := d.Size(), uint64(len(x.passes)+1)
	for off := uint64(0); off < size; off += eraseStep {
		if err := x.advance(off/rounds, size); err != nil {
			return err
		}
		if err := d.Zero(off, min(eraseStep, size-off), false); err != nil {
			return err
		}
	}
	if err := d.Erased(); err != nil {
		return err
	}
	buf := stepPool.Get().(*[step]byte)
	defer stepPool.Put(buf)
	for i, block := range x.passes {
		for at := 0; at < step; at += BlockSize {
			copy(buf[at:], block)
		}
		for off := uint64(0); off < size; off += step {
			if err := x.advance((size*uint64(i+1)+off)/rounds, size); err != nil {
				return err
			}
			n := min(step, size-off)
			if err := d.WriteAt(buf[:n], off); err != nil {
				return err
			}
			x.pace(n)
		}
		if err := d.Erased(); err != nil {
			return err
		}
	}
	return nil
}

// pace keeps the passes to the rate of the server's options, so that who else uses
// the pool hardly notices.
func (x *erasure) pace(n uint64) {
	x.paced += time.Duration(n) * time.Second / time.Duration(x.u.s.eraseRate)
	if ahead := x.paced - time.Since(x.began); ahead > 10*time.Millisecond {
		time.Sleep(min(ahead, time.Second))
	}
}

// advance notes the progress: done of size bytes. It fails when the server ends.
func (x *erasure) advance(done, size uint64) error {
	if x.u.s.closing.Load() {
		return fail.New(fail.Canceled, "the server ends")
	}
	x.u.mu.Lock()
	x.u.sanitize.progress = uint16(min(done/(size>>16+1), 0xffff))
	x.u.mu.Unlock()
	return nil
}

// exitFailure ends the state of failure, where the SANITIZE that failed allowed it.
func (c *Command) exitFailure() bool {
	u := c.a.u
	if !c.lockSaving() {
		return c.fail(sense{key: keyAbortedCommand})
	}
	defer u.saving.Unlock()
	u.mu.Lock()
	pr, old := u.pr, u.sanitize
	u.mu.Unlock()
	switch {
	case old.running:
		return c.fail(senseSanitizing)
	case !old.failed:
		return true
	case !old.unrestricted:
		return c.fail(senseCDB.atByte(1))
	}
	if s := u.keep(c.a.d, &pr, &sanitize{}); s.is() {
		return c.fail(s)
	}
	u.mu.Lock()
	u.sanitize = sanitize{}
	u.setGate(gateSanitize, false)
	u.mu.Unlock()
	return true
}
