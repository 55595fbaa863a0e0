package segment

import "time"

// directLimit is the longest frame, in bytes, that a commit writes durably in
// one step when nothing else waits for a sync. Beside the write of a longer one
// others complete, which then share its sync.
const directLimit = 192 << 10

// Commit returns when the frame that holds lsn and all frames before it are
// durable. All who wait at the same time share one sync. Where no sync is
// running the caller does it itself, so that nobody has to be woken. An lsn
// that was not given yet means everything appended so far.
//
// Errors: FailStopped, if lsn was not durable before; Canceled after Abort.
func (l *Log) Commit(lsn uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lsn <= l.durLSN {
		return nil
	}
	target := l.openSeq
	if f := l.queue.holding(lsn); f != nil {
		target = f.seq
	}
	return l.commit(target)
}

// CommitAll makes everything appended so far durable, with or without a
// record. Errors are those of Commit.
func (l *Log) CommitAll() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.commit(l.openSeq)
}

// commit returns when the frames up to target are durable; the open frame
// counts as far as it holds anything. mu is held, and let go while waiting.
func (l *Log) commit(target uint64) error {
	start := time.Now()
	if target == l.openSeq && l.empty() {
		target--
	}
	l.wanted = max(l.wanted, target)
	for l.durable < target && l.err == nil {
		if l.syncing {
			l.awaitRound(target)
			continue
		}
		l.takeToken()
		if l.wanted == l.openSeq {
			l.seal(FrameOps, [16]byte{})
		}
		l.goal = l.wanted
		l.makeDurable(l.goal)
		l.passToken()
	}
	// Whoever was woken to lead the next round and need not passes that on.
	if !l.syncing {
		l.rounds[(l.round+1)%2].Signal()
	}
	l.stats.Commits++
	took := time.Since(start)
	l.stats.CommitTime += took
	l.opts.ObserveCommit(took)
	if l.durable >= target {
		return nil
	}
	return l.err
}

// awaitRound waits for the round that will make target durable: the running
// one or the next. mu is held, and let go while waiting.
func (l *Log) awaitRound(target uint64) {
	r := l.round
	if target > l.goal {
		r++
	}
	l.rounds[r%2].Wait()
}

// takeToken begins a round. mu is held, and the token is free.
func (l *Log) takeToken() {
	l.syncing = true
	l.round++
	l.goal = l.durable
}

// passToken ends a round: all who waited for it look again, and one of those
// who wait for the next may lead it. mu is held.
func (l *Log) passToken() {
	l.syncing = false
	l.rounds[l.round%2].Broadcast()
	l.rounds[(l.round+1)%2].Signal()
	l.wakeSyncer()
}

// makeDurable makes all frames up to goal durable, or stops the log. mu and
// the token are held; mu is let go during calls of the store.
func (l *Log) makeDurable(goal uint64) {
	if goal <= l.durable {
		return
	}
	start := time.Now()
	if f := l.queue.at(goal); goal == l.durable+1 && f.state == unclaimed && f.bytes() <= directLimit {
		l.claim(goal)
		if l.write(goal, true); l.err == nil {
			l.stats.DirectSyncs++
			l.room.prefill.synced()
			if l.wantPrefill() {
				l.room.wanted.Signal()
			}
			l.settle(goal, start)
		}
		return
	}
	for l.written < goal && l.err == nil {
		if seq := l.claim(goal); seq != 0 {
			l.write(seq, false)
		} else {
			l.wrote.Wait()
		}
	}
	if l.err != nil {
		return
	}
	goal = l.written
	l.syncSegs = l.syncSegs[:0]
	for seq := l.durable + 1; seq <= goal; seq++ {
		n := l.queue.at(seq).addr.Segment()
		if k := len(l.syncSegs); k == 0 || l.syncSegs[k-1] != n {
			l.syncSegs = append(l.syncSegs, n)
		}
	}
	l.inflight++
	l.mu.Unlock()
	var err error
	for _, n := range l.syncSegs {
		if err = l.store.Sync(n); err != nil {
			break
		}
	}
	l.mu.Lock()
	l.landed()
	if err != nil {
		l.fail(err)
	} else if l.err == nil {
		l.settle(goal, start)
	}
}

// settle records that all frames up to goal are durable. mu is held.
func (l *Log) settle(goal uint64, start time.Time) {
	for l.durable < goal {
		f := l.queue.at(l.durable + 1)
		l.unsynced -= f.bytes()
		l.durLSN = f.lastLSN
		l.durable++
		l.queue.pop()
	}
	l.next = max(l.next, l.durable+1) // a super root frame is written without a claim
	l.stats.Syncs++
	took := time.Since(start)
	l.stats.SyncTime += took
	l.opts.ObserveSync(took)
	if l.room.waiters > 0 {
		l.room.admit.Broadcast()
	}
	l.armMarker()
}

// claim returns the first frame up to limit that nobody writes yet, and makes
// it the caller's to write; 0 if there is none. mu is held.
func (l *Log) claim(limit uint64) uint64 {
	for l.next <= limit && l.next < l.openSeq {
		seq := l.next
		l.next++
		if f := l.queue.at(seq); f.state == unclaimed {
			f.state = writing
			return seq
		}
	}
	return 0
}

// write writes a claimed frame, or stops the log. mu is held, and let go
// meanwhile.
func (l *Log) write(seq uint64, durably bool) {
	f := l.queue.at(seq)
	a, buf := f.addr, f.buf
	l.inflight++
	l.awaitZeros(a, len(buf)/BlockSize)
	l.mu.Unlock()
	var err error
	if durably {
		err = l.store.WriteDurableAt(a.Segment(), buf, a.offset())
	} else {
		err = l.store.WriteAt(a.Segment(), buf, a.offset())
	}
	l.mu.Lock()
	if err != nil {
		l.landed()
		l.fail(err) // the frame stays in memory for readers
		return
	}
	f = l.queue.at(seq)
	f.state = stored
	l.buffers.put(f.buf)
	f.buf = nil
	l.unwritten -= f.bytes()
	for l.written+1 < l.openSeq && l.queue.at(l.written+1).state == stored {
		l.written++
	}
	l.raiseMemLow()
	l.landed()
	l.wakeSyncer()
	if l.room.waiters > 0 {
		l.room.admit.Broadcast()
	}
}

// landed ends a call of the store and wakes who waits for frames to be
// written. mu is held.
func (l *Log) landed() {
	l.inflight--
	l.wrote.Broadcast()
}

// Written waits until all frames up to seq are written to the store, where
// Read and Scan find them; it does not make them durable. A frame that is
// still open is sealed, one that does not exist yet is not waited for.
func (l *Log) Written(seq uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq >= l.openSeq {
		l.sealOps()
	}
	seq = min(seq, l.last.Seq)
	for l.written < seq && l.err == nil {
		if s := l.claim(seq); s != 0 {
			l.write(s, false)
		} else {
			l.wrote.Wait()
		}
	}
	if l.written >= seq {
		return nil
	}
	return l.err
}

// writer writes sealed frames in the background, and the open one too when
// admissions wait for it.
func (l *Log) writer() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.stopped {
		if l.err == nil {
			if seq := l.claim(l.last.Seq); seq != 0 {
				l.write(seq, false)
				continue
			}
			if l.room.waiters > 0 && !l.empty() {
				l.seal(FrameOps, [16]byte{})
				continue
			}
		}
		l.work.Wait()
	}
}

// syncer makes written frames durable in the background when many are not, so
// that a later commit finds little to do.
func (l *Log) syncer() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.stopped {
		if l.syncDue() {
			l.takeToken()
			l.goal = l.written
			l.makeDurable(l.written)
			l.passToken()
			continue
		}
		l.syncWork.Wait()
	}
}

// syncDue reports whether the syncer should start a round. mu is held.
func (l *Log) syncDue() bool {
	return (l.unsynced > l.opts.MaxUnsynced/2 || l.room.waiters > 0) &&
		l.written > l.durable && !l.syncing && l.err == nil
}

// wakeSyncer is called when that may have become true. mu is held.
func (l *Log) wakeSyncer() {
	if l.syncDue() {
		l.syncWork.Signal()
	}
}
