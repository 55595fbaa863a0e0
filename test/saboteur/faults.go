package main

// The suites, each of seconds.
var (
	logCrashes   = suite{pkg: "./internal/segment", run: "^(TestCrashes|TestAcknowledgedMeansDurable)$"}
	logTests     = suite{pkg: "./internal/segment", run: "^Test"}
	lentMemory   = suite{pkg: "./internal/segment", run: "^TestAppendIn$"}
	poolCrashes  = suite{pkg: "./internal/engine", run: "^TestCrash$", env: "VARVE_CRASHES=400 VARVE_SEED=1"}
	poolMoments  = suite{pkg: "./internal/engine", run: "^(TestMetamorphic|TestEveryMoment)$", env: "VARVE_SEEDS=1"}
	poolDeaths   = suite{pkg: "./internal/engine", run: "^TestDeaths"}
	poolDamage   = suite{pkg: "./internal/engine", run: "^(TestLostLastSegment|TestDamagedCheckpoint)$"}
	shareMoments = suite{pkg: "./internal/engine", run: "^TestMetamorphic$/^(plain|reopened_often|drained)$", env: "VARVE_SEEDS=2"}
	forgetting   = suite{pkg: "./internal/engine", run: "^TestForgetting$", env: "VARVE_SEEDS=30"}
	shareDeaths  = suite{pkg: "./internal/engine", run: "^TestDeathsSingleLine$"}
	properties   = suite{pkg: "./internal/engine", run: "^TestPropertiesStay$"}
	restarts     = suite{pkg: "./internal/engine", run: "^(TestRecent|TestVerifier)$"}
	edges        = suite{pkg: "./internal/engine", run: "^TestEdgesGuarded$"}
	treeDamage   = suite{pkg: "./internal/tree", run: "^TestDamagedNodes$"}
	diskDamage   = suite{pkg: "./test/interop", run: "^TestFlippedBits$"}
	nfsTests     = suite{pkg: "./internal/nfs3", run: "^(TestCommits|TestRepeatedOverRestart|TestPast|TestSquash|TestDuplicates)$"}
	shareKills   = suite{pkg: "./test/power", run: "^TestKillSharesUnderLoad$"}
	nfsClients   = suite{pkg: "./test/interop", run: "^TestNFS(Repeat|Rollback|Permissions)$"}
	wireTests    = suite{pkg: "./internal/nbd", run: "^TestFUA$"}
	dumpChains   = suite{pkg: "./test/interop", run: "^TestDump(ShareLevels|BaseMissing)$"}
	dumpBytes    = suite{pkg: "./internal/dump", run: "^Test(Golden|Passes|WriteFails)$"}
	sessions     = suite{pkg: "./internal/iscsi", run: "^Test(ReinstatementDrains|CommandOrder|CHAP)$"}
	hostile      = suite{pkg: "./internal/restore", run: "^Test(Hostile|Planted|MissingRecords|ChainRefused)$"}
	scsiTests    = suite{pkg: "./internal/scsi", run: "^Test(CloseFences|PreemptWaits|ReservationsPersist)$"}
	updates      = suite{pkg: "./internal/engine", run: "^TestUpdatesAreWhole$"}
	slotTests    = suite{pkg: "./internal/segstore/compact", run: "^Test(HigherSlotWins|RotIsNotSpread|DamagedSlot|Pending|HalfMadeSlotHoldsRemoval|ReadMeetsMove)$"}
	extCorners   = suite{pkg: "./internal/extfs", run: "^TestExtents$"}
	extJournals  = suite{pkg: "./internal/extfs", run: "^(TestTornJournal|TestDirtyJournal)$/^(|v1|none)$"}
	extDamage    = suite{pkg: "./internal/extfs", run: "^TestFlippedBits$"}
	ufsHoles     = suite{pkg: "./internal/ufs", run: "^TestHoles$"}
	redoTests    = suite{pkg: "./internal/redo", run: "^Test(ReplayIsTheLine|Undo|Conflicts|Draft|HistoryStays)"}
	askTests     = suite{pkg: "./internal/ask", run: "^Test(AskFindsWhatWasDone|SegmentsThatCannotMatchAreLeftOut)$"}
	opfileTests  = suite{pkg: "./internal/opfile", run: "^TestRoundTrip$"}
	slotCrashes  = suite{pkg: "./internal/segstore/compact", run: "^TestCrash"}
)

// faults is what the tests must notice.
var faults = []fault{
	{
		name: "scsi-fence-open", what: "a SCSI command that had begun before its nexus ended is executed after",
		edits: []edit{{"internal/scsi/attachment.go", "if a.closed || c.cancel.Load() || c.epoch != a.epoch.Load() {", "if c.cancel.Load() {"}},
		tests: scsiTests,
	},
	{
		name: "preemption-does-not-wait", what: "a preemption is answered while writes that it shuts out are under way",
		edits: []edit{{"internal/scsi/prout.go", "a.drain()", "_ = a"}},
		tests: scsiTests,
	},
	{
		name: "reservation-not-kept", what: "the first reservation with APTPL is not made durable",
		edits: []edit{{"internal/scsi/prout.go", "if x.now.aptpl || x.old.aptpl {", "if x.now.aptpl && x.old.aptpl {"}},
		tests: scsiTests,
	},
	{
		name: "update-unguarded", what: "COMPARE AND WRITE does not see a write that comes between",
		edits: []edit{{"internal/engine/update.go", "h.Write(off, n, u.bufs[:], u.expect)", "h.Write(off, n, u.bufs[:], u.expect[:0])"}},
		tests: updates,
	},
	{
		name: "reinstatement-does-not-wait", what: "a new iSCSI session begins while writes of the one before are under way",
		edits: []edit{{"internal/iscsi/sessions.go", "if err := old.waitEnded(ctx); err != nil {", "if err := ctx.Err(); err != nil {"}},
		tests: sessions,
	},
	{
		name: "commands-out-of-order", what: "iSCSI commands are executed as they come, not in the order of CmdSN",
		edits: []edit{{"internal/iscsi/control.go", "case sn != next:", "case sn != next && h == nil:"}},
		tests: sessions,
	},
	{
		name: "chap-believes", what: "the name of a user is proof enough",
		edits: []edit{{"internal/iscsi/chap.go", "if right&subtle", "if 1&subtle"}, {"internal/iscsi/chap.go", "right := subtle.ConstantTimeCompare(response, good)", "_ = subtle.ConstantTimeCompare(response, good)"}},
		tests: sessions,
	},
	{
		name: "commit-without-sync", what: "a commit writes and does not sync",
		edits: []edit{{"internal/segment/commit.go", "if err = l.store.Sync(n); err != nil {", "if _ = n; err != nil {"}},
		tests: logCrashes,
	},
	{
		name: "removed-name-forgotten", what: "who follows names takes a file for gone with one of its names",
		edits: []edit{{"internal/ask/follower.go", "		f.changed[ino] = place{unsure: true}", "		delete(f.changed, ino)"}},
		tests: askTests,
	},
	{
		name: "left-out-untold", what: "who follows names is not told that some were left out",
		edits: []edit{{"internal/engine/logscan.go", "		s.q.Left()\n", ""}},
		tests: askTests,
	},
	{
		name: "opfile-checksum-ignored", what: "a block of a file of operations counts whatever its checksum",
		edits: []edit{{"internal/opfile/read.go", "case crc != le.Uint32(head[4:]):", "case crc == 0 && le.Uint32(head[4:]) == 1:"}},
		tests: opfileTests,
	},
	{
		name: "lent-memory-kept", what: "memory that the log has taken over is given to the next who asks",
		edits: []edit{{"internal/segment/memory.go", "l.openBuf, m.buf = m.buf, nil", "l.openBuf = m.buf"}},
		tests: lentMemory,
	},
	{
		name: "lent-memory-unlike-pieces", what: "payload is taken to lie in lent memory as it would in a frame, unseen",
		edits: []edit{{"internal/segment/memory.go", " || &m.buf[at] != &p[0]", ""}},
		tests: lentMemory,
	},
	{
		name: "direct-write-not-durable", what: "the short way of a commit, one durable write, is an ordinary write",
		edits: []edit{{"internal/segment/commit.go", "err = l.store.WriteDurableAt(a.Segment(), buf, a.offset())", "err = l.store.WriteAt(a.Segment(), buf, a.offset())"}},
		tests: logCrashes,
	},
	{
		name: "acknowledge-before-sync", what: "a commit returns at once and syncs afterwards",
		edits: []edit{{"internal/segment/commit.go", "	return l.commit(target)\n", "	go func() {\n		l.mu.Lock()\n		defer l.mu.Unlock()\n		_ = l.commit(target)\n	}()\n	return nil\n"}},
		tests: logCrashes,
	},
	{
		name: "flush-is-a-lie", what: "the engine answers a flush without asking the log",
		edits: []edit{{"internal/engine/engine.go", "func (e *Engine) Flush() error { return e.log.CommitAll() }", "func (e *Engine) Flush() error { return e.log.Err() }"}},
		tests: poolCrashes,
	},
	{
		name: "create-not-durable", what: "catalog changes are answered before they are durable",
		edits: []edit{{"internal/engine/engine.go", "if err := e.log.Commit(op.LSN); err != nil {", "if err := e.log.Err(); err != nil {"}},
		tests: poolCrashes,
	},
	{
		name: "summary-crc-ignored", what: "a frame counts though its summary fails its checksum",
		edits: []edit{{"internal/segment/chain.go", "if Checksum(sum) != h.summaryCRC {", "if false {"}},
		tests: logTests,
	},
	{
		name: "payload-crc-ignored", what: "a torn frame at the end counts though its payload fails its checksums",
		edits: []edit{{"internal/segment/frame.go", "if Checksum(p[i*BlockSize:][:BlockSize]) != f.CRC(first+i) {", "if false {"}},
		tests: logCrashes,
	},
	{
		name: "stale-frame-accepted", what: "a frame of another incarnation continues the chain",
		edits: []edit{
			{"internal/segment/header.go", "case h.prevCRC != p.crc:", "case false:"},
			{"internal/segment/header.go", "case h.incarnation != p.incarnation && (h.kind != FrameOpen || h.prevIncarnation != p.incarnation):", "case false:"},
		},
		tests: logTests,
	},
	{
		name: "chain-crc-dropped", what: "a frame continues the chain though it follows another frame of that number",
		edits: []edit{{"internal/segment/header.go", "case h.prevCRC != p.crc:", "case false:"}},
		tests: logTests,
	},
	{
		name: "durable-through-ignored", what: "damage to acknowledged frames is taken for a torn tail",
		edits: []edit{{"internal/segment/scan.go", "if through >= missing && !o.AcceptLoss {", "if false {"}},
		tests: logTests,
	},
	{
		name: "hint-no-witness", what: "the hint does not attest what is gone with the newest segment",
		edits: []edit{{"internal/segment/scan.go", "if h, ok := readHint(c.store, c.pool); ok {", "if h, ok := readHint(c.store, c.pool); ok && h.incarnation == c.cur.incarnation {"}},
		tests: poolDamage,
	},
	{
		name: "roll-forward-from-super-root", what: "recovery replays from the super root on, not from its cut",
		edits: []edit{{"internal/engine/recover.go", "			if lsn <= s.cut {\n", "			if lsn <= s.cut || f.Position.Seq < attested {\n"}},
		tests: poolCrashes,
	},
	{
		name: "older-root-not-tried", what: "a damaged checkpoint keeps the pool shut though the one before is whole",
		edits: []edit{{"internal/engine/recover.go", "for range olderRoots + 1 {", "for range 1 {"}},
		tests: poolDamage,
	},
	{
		name: "io-error-ends-the-log", what: "a read error while scanning is taken for the end of the log",
		edits: []edit{{"internal/segment/chain.go", "if err := c.store.ReadAt(seg, c.window[:n*BlockSize], a.offset()); err != nil {\n			return nil, err", "if err := c.store.ReadAt(seg, c.window[:n*BlockSize], a.offset()); err != nil {\n			return nil, notFrame(err.Error())"}},
		tests: logTests,
	},
	{
		name: "tail-not-synced", what: "recovery goes on behind a tail that it did not make durable",
		edits: []edit{{"internal/segment/log.go", "for _, n := range t.unsynced {", "for _, n := range t.unsynced[:0] {"}},
		tests: logCrashes,
	},
	{
		name: "discarded-tail-left", what: "recovery leaves the header of a discarded frame, which may count the next time",
		edits: []edit{{"internal/segment/log.go", "for _, a := range t.void {", "for _, a := range t.void[:0] {"}},
		tests: logCrashes,
	},
	{
		name: "super-root-not-durable", what: "a super root is acknowledged without being durable",
		edits: []edit{{"internal/segment/superroot.go", "if l.write(p.Seq, true); l.err != nil {", "if l.write(p.Seq, false); l.err != nil {"}},
		tests: logCrashes,
	},
	{
		name: "sync-retried", what: "after a failed sync the next one is believed",
		edits: []edit{{"internal/segment/commit.go", "	if err != nil {\n		l.fail(err)\n	} else if l.err == nil {", "	if err != nil && l.store.Sync(l.syncSegs[0]) != nil {\n		l.fail(err)\n	} else if l.err == nil {"}},
		tests: suite{pkg: "./internal/engine", run: "^TestFailStop"},
	},
	{
		name: "fail-stop-forgotten", what: "a log whose disk has failed takes further operations",
		edits: []edit{{"internal/segment/log.go", "		return errClosed\n	}\n	return l.err\n", "		return errClosed\n	}\n	return nil\n"}},
		tests: suite{pkg: "./internal/segment", run: "^TestFailStop$"},
	},
	{
		name: "op-skipped-in-recovery", what: "roll-forward leaves out the first operation after the cut",
		edits: []edit{{"internal/engine/recover.go", "if lsn <= s.cut {", "if lsn <= s.cut+1 {"}},
		tests: poolCrashes,
	},
	{
		name: "op-skipped-in-view", what: "a view leaves out the last operation before its moment",
		edits: []edit{{"internal/engine/replay.go", "if lsn <= from || lsn > to || op.Dataset != d.id {", "if lsn <= from || lsn >= to || op.Dataset != d.id {"}},
		tests: poolMoments,
	},
	{
		name: "rollback-forgets-the-moment", what: "moments before a rollback are served from the head after it",
		edits: []edit{{"internal/engine/apply.go", "	d.head.floor = op.Time\n	d.changed = op.LSN\n", "	d.head.floor = op.Time\n"}},
		tests: poolMoments,
	},
	{
		name: "clone-of-the-wrong-moment", what: "a clone forks one operation late",
		edits: []edit{{"internal/engine/fork.go", "im, err := e.imageAt(src, m.LSN)", "im, err := e.imageAt(src, m.LSN+1)"}},
		tests: poolMoments,
	},
	{
		name: "snapshot-of-the-wrong-moment", what: "a snapshot names a later moment than the one it was taken at",
		edits: []edit{{"internal/engine/snapshot.go", "name: op.Name, lsn: op.LSN, time: op.Time, at: op.Time, guard", "name: op.Name, lsn: op.LSN + 1, time: op.Time, at: op.Time, guard"}},
		tests: poolMoments,
	},
	{
		name: "death-dropped", what: "what an overwrite replaces is not recorded as dead",
		edits: []edit{{"internal/engine/image.go", "if im.led != nil {", "if im.led != nil && from > x.block {"}},
		tests: poolDeaths,
	},
	{
		name: "rollback-frees-nothing", what: "what a rollback leaves is not recorded as dead",
		edits: []edit{{"internal/engine/apply.go", "	e.addDying(d, &dying{id: op.LSN, root: old, end: tree.MaxKey, born: born})\n", "	_ = born\n"}},
		tests: poolDeaths,
	},
	{
		name: "overwritten-tail-lost", what: "a write into an extent drops what lies behind it in that extent",
		edits: []edit{{"internal/engine/image.go", "if to < x.end() {", "if false {"}},
		tests: poolMoments,
	},
	{
		name: "merge-not-guarded", what: "two unaligned writes into one block lose one of them",
		edits: []edit{{"internal/engine/write.go", "if addr != x.Addr {", "if addr != x.Addr && false {"}},
		tests: suite{pkg: "./test/power", run: "^TestNeighbours$"},
	},
	{
		name: "last-edge-not-guarded", what: "a write that ends inside a block loses what another put there",
		edits: []edit{{"internal/engine/merge.go", "		expect = append(expect, Expect{Block: off / BlockSize, Addr: addr})\n		copy(e.tail[:], p)", "		_ = addr\n		copy(e.tail[:], p)"}},
		tests: edges,
	},
	{
		name: "first-edge-not-guarded", what: "a write that begins inside a block loses what another put there",
		edits: []edit{{"internal/engine/merge.go", "		expect = append(expect, Expect{Block: off / BlockSize, Addr: addr})\n		n := copy(", "		_ = addr\n		n := copy("}},
		tests: edges,
	},
	{
		name: "data-crc-ignored", what: "damaged payload is served",
		edits: []edit{{"internal/engine/read.go", "if segment.Checksum(p[i*BlockSize:(i+1)*BlockSize]) != crc[i] {", "if false {"}},
		tests: diskDamage,
	},
	{
		name: "node-crc-ignored", what: "a damaged tree node is used",
		edits: []edit{{"internal/tree/load.go", "if p.checksum() != m.crc {", "if false {"}},
		tests: treeDamage,
	},
	{
		name: "fua-ignored", what: "a request with FUA is answered without a flush",
		edits: []edit{{"internal/nbd/transmission.go", "if err == nil && r.flags&flagFUA != 0 {", "if false {"}},
		tests: wireTests,
	},
	// Shares.
	{
		name: "removed-name-stays", what: "a name that is removed, renamed or replaced stays in its directory",
		edits: []edit{{"internal/inode/names.go", "	e.gone = append(e.gone, entryKey(dir, s.entry.Cookie))\n", ""}},
		tests: shareMoments,
	},
	{
		name: "lost-link-counts", what: "a file whose name goes keeps its number of links",
		edits: []edit{{"internal/inode/names.go", "		o.Nlink--\n", ""}},
		tests: shareMoments,
	},
	{
		name: "blocks-not-counted", what: "a write does not count the blocks that it adds to its file",
		edits: []edit{{"internal/engine/image.go", "!gone && (effect.Cut || im.mapped != mapped) {", "!gone && effect.Cut {"}},
		tests: shareMoments,
	},
	{
		name: "tail-comes-back", what: "an unaligned truncation leaves the bytes beyond in the last block",
		edits: []edit{{"internal/engine/merge.go", "	clear(e.head[in:])\n", ""}},
		tests: shareMoments,
	},
	{
		name: "blocks-come-back", what: "a truncation leaves the blocks beyond the new end",
		edits: []edit{{"internal/inode/ops.go", "		e.cut(o, from, blocksOf(old.Size))\n", ""}},
		tests: shareMoments,
	},
	{
		name: "large-file-lives-on", what: "what a large file had is not recorded as dead when it goes",
		edits: []edit{{"internal/engine/apply.go", "	if !dead.empty() {\n", "	if !dead.empty() && dead.ino == 0 {\n"}},
		tests: shareDeaths,
	},
	{
		name: "inode-number-again", what: "a rollback turns the counter of inode numbers back",
		edits: []edit{{"internal/engine/apply.go", "	d.head.floor = op.Time\n", "	d.head.floor, d.nextIno = op.Time, inode.Root+uint64(d.head.inodes)\n"}},
		tests: shareMoments,
	},
	{
		name: "clone-counts-anew", what: "a clone numbers its inodes from the start",
		edits: []edit{{"internal/engine/apply.go", "d.kind, d.nextIno = d.origin.kind, d.origin.nextIno", "d.kind, d.nextIno = d.origin.kind, inode.Root+1"}},
		tests: shareMoments,
	},
	{
		name: "clone-hashes-anew", what: "a clone does not inherit the seed of the names it inherits",
		edits: []edit{{"internal/engine/apply.go", "	if err := e.applyCreate(op, pos, pre.im); err != nil {\n", "	pre.im.seed++\n	if err := e.applyCreate(op, pos, pre.im); err != nil {\n"}},
		tests: shareMoments,
	},
	{
		name: "floor-not-raised", what: "a rollback leaves the times of files as they were: clients keep what they cached",
		edits: []edit{{"internal/engine/apply.go", "	d.head.floor = op.Time\n", ""}},
		tests: shareMoments,
	},
	{
		name: "floor-not-kept", what: "the least time to show is not written to disk",
		edits: []edit{{"internal/engine/record.go", "uint64(f.inodes), uint64(f.floor))", "uint64(f.inodes), 0)"}},
		tests: shareMoments,
	},
	{
		name: "inodes-not-kept", what: "the number of inodes is not written to disk",
		edits: []edit{{"internal/engine/record.go", "uint64(f.inodes), uint64(f.floor))", "0, uint64(f.floor))"}},
		tests: shareMoments,
	},
	{
		name: "mapped-not-kept", what: "the number of mapped blocks is not written to disk",
		edits: []edit{{"internal/engine/record.go", "putUvarints(b, f.size, uint64(f.mapped), ", "putUvarints(b, f.size, 0, "}},
		tests: shareMoments,
	},
	{
		name: "property-lost", what: "properties are forgotten when the pool is opened",
		edits: []edit{{"internal/engine/recover.go", "		return d.readProperty(number, v)\n", "		return nil\n"}},
		tests: properties,
	},
	{
		name: "file-write-not-replayed", what: "a view leaves out the writes to files",
		edits: []edit{{"internal/engine/replay.go", "if !changesData(op.Kind) {", "if !changesData(op.Kind) || op.Kind == oplog.WriteFile {"}},
		tests: shareMoments,
	},
	{
		name: "truncation-not-replayed", what: "a view leaves a file as long as it was",
		edits: []edit{{"internal/engine/replay.go", "		if err := im.prepare(op); err != nil {\n", "		op.Attr.Mask &^= oplog.SetSize\n		if err := im.prepare(op); err != nil {\n"}},
		tests: shareMoments,
	},
	{
		name: "xattr-pieces-stay", what: "of an extended attribute that goes only the first piece goes",
		edits: []edit{{"internal/inode/ops.go", "for i := range x.pieces {", "for i := range min(x.pieces, 1) {"}},
		tests: shareMoments,
	},
	{
		name: "set-id-kept", what: "a write by somebody else leaves the set-user-id bit",
		edits: []edit{{"internal/inode/ops.go", "		o.Mode &^= setUID\n", ""}},
		tests: shareMoments,
	},
	{
		name: "file-edges-not-guarded", what: "a write to a file loses what another put into the same block",
		edits: []edit{{"internal/engine/write.go", "if addr != x.Addr {", "if addr != x.Addr && r.op.Ino == 0 {"}},
		tests: edges,
	},
	{
		name: "truncation-not-guarded", what: "a truncation loses what another put into the last block",
		edits: []edit{{"internal/engine/merge.go", "	expect := append(e.expect[:0], Expect{Block: size / BlockSize, Addr: addr})\n", "	expect := e.expect[:0]\n"}},
		tests: edges,
	},
	{
		name: "file-commit-is-a-lie", what: "an operation on files is answered before it is durable",
		edits: []edit{{"internal/engine/files.go", "func (h *Head) Commit(lsn uint64) error { return h.e.log.Commit(lsn) }", "func (h *Head) Commit(uint64) error { return h.e.log.Err() }"}},
		tests: poolCrashes,
	},
	{
		name: "verifier-survives", what: "the write verifier is the same after a crash",
		edits: []edit{{"internal/engine/verifier.go", "if r := &e.recovery; !e.verifier.clean || r.Ops > 0 || ", "if r := &e.recovery; e.verifier.value == 0 || r.Ops > 1<<40 || "}},
		tests: restarts,
	},
	{
		name: "verifier-stays-clean", what: "a pool that was opened counts as closed cleanly until it logs something",
		edits: []edit{{"internal/engine/verifier.go", "	e.keepVerifier(false)\n", ""}},
		tests: restarts,
	},
	{
		name: "requests-forgotten", what: "requests from before the last checkpoint are forgotten",
		edits: []edit{{"internal/engine/recent.go", "for i > 0 && cs[i].time > from", "for i >= len(cs) && cs[i].time > from"}},
		tests: restarts,
	},
	{
		name: "requests-never-old", what: "requests come back however old they are",
		edits: []edit{{"internal/engine/recent.go", "op.Request != nil && op.Time >= from", "op.Request != nil"}},
		tests: restarts,
	},
	{
		name: "reply-before-durable", what: "operations on files are answered before they are durable",
		edits: []edit{{"internal/nfs3/task.go", "err = files.Commit(t.lsn, t.lsnOf)", "err = nil"}},
		tests: shareKills,
	},
	{
		name: "commit-does-nothing", what: "COMMIT answers without making anything durable",
		edits: []edit{{"internal/nfs3/task.go", "err = files.Flush(t.h)", "err = nil"}},
		tests: nfsTests,
	},
	{
		name: "requests-not-recalled", what: "the duplicate request cache is empty after a restart",
		edits: []edit{{"internal/nfs3/duplicates.go", "return e.Recent(duplicateAge, func(op *oplog.Op) { d.recall(op, now) })", "return nil"}},
		tests: nfsTests,
	},
	{
		name: "no-floor", what: "files look unchanged after a rollback",
		edits: []edit{{"internal/fs/attr.go", "Ctime: max(i.Ctime, p.Floor())", "Ctime: i.Ctime"}},
		tests: nfsClients,
	},
	{
		name: "groups-ignored", what: "the further groups of a user give no access",
		edits: []edit{{"internal/fs/perm.go", "return c.GID == gid || slices.Contains(c.Groups, gid)", "_ = slices.Contains[[]uint32]; return c.GID == gid"}},
		tests: nfsClients,
	},
	// Retention.
	{
		name: "later-pin-ignored", what: "destroying a pin frees what a later pin keeps",
		edits: []edit{{"internal/engine/bucket.go", "if at == len(now) || to.first > to.last {", "if true {"}},
		tests: forgetting,
	},
	{
		name: "foreign-filed-as-own", what: "a line frees what is its ancestor's",
		edits: []edit{{"internal/engine/estate.go", "case x.birth <= f.x.fork:", "case false:"}},
		tests: forgetting,
	},
	{
		name: "pins-not-asked", what: "what falls behind the horizon is freed whatever pins keep it",
		edits: []edit{{"internal/engine/estate.go", "	kept := bs.place(x)\n", "	kept := bs.list == nodeBucket && bs.place(x)\n"}},
		tests: forgetting,
	},
	{
		name: "buried-with-deaths", what: "what a buried line gave up of the line it went on from is forgotten",
		edits: []edit{{"internal/engine/burial.go", "case l.unused() && l.goesOn:", "case false:"}},
		tests: forgetting,
	},
	{
		name: "start-of-history-lost", what: "the root that history starts from goes with what else kept it",
		edits: []edit{{"internal/engine/apply.go", "if first != nil && !first.base && !d.gone {", "if false {"}},
		tests: forgetting,
	},
	{
		name: "orphans-left", what: "blocks of a checkpoint that a crash cut short are never freed",
		edits: []edit{{"internal/engine/recover.go", "		err = left.free(&e.space)\n", "		err = (&orphans{}).free(&e.space)\n"}},
		tests: suite{pkg: "./internal/engine", run: "^TestDeathsAfterCrashes$"},
	},
	{
		name: "fork-not-pinned", what: "what a line forked from is not kept for it",
		edits: []edit{{"internal/engine/line.go", "	l.dataPins.add(c.fork)\n", "	l.dataPins.add(^uint64(0))\n"}},
		tests: forgetting,
	},
	{
		name: "records-not-kept", what: "a segment goes though a replay begins in it",
		edits: []edit{{"internal/engine/burial.go", "			lower(e.replayFrom(r.pos))\n", ""}},
		tests: forgetting,
	},
	{
		name: "records-of-idle-gone", what: "a dataset that changes again is replayed from records that may have gone",
		edits: []edit{{"internal/engine/burial.go", "for n+1 < len(e.checkpoints) &&", "for n+2 < len(e.checkpoints) &&"}},
		tests: suite{pkg: "./internal/engine", run: "^TestRecordsOfIdle$"},
	},
	{
		name: "past-keeps-nothing", what: "a line that began with a snapshot of the past gives nothing up of the root beside it",
		edits: []edit{{"internal/engine/aside.go", "		led.dropNode(tree.Drop{Addr: n.Ref.Addr, Birth: n.Ref.Birth, Death: l.id})\n", ""}},
		tests: suite{pkg: "./internal/engine", run: "^TestPast"},
	},
	{
		name: "other-branch-taken-over", what: "what did not live on a branch that was left counts as alive there",
		edits: []edit{{"internal/engine/burial.go", "		if l.inGap(c.fork, c.forkFrom) {\n			return nil", "		if false {\n			return nil"}},
		tests: suite{pkg: "./internal/engine", run: "^TestBackToAnotherBranch$"},
	},
	{
		name: "spare-given-away", what: "with the file system full, what is removed goes to whoever comes first",
		edits: []edit{{"internal/segstore/dir/change.go", "	if s.spareFrom(s.path(n)) {", "	if false {"}},
		tests: suite{pkg: "./internal/segstore/dir", run: "^TestSpare$"},
	},
	{
		name: "handed-over-early", what: "the store gets what is free while one of the last two super roots leads there",
		edits: []edit{{"internal/engine/reclaim.go", "	e.space.hand(e.freed)\n", "	e.space.hand(c.freed)\n"}},
		tests: suite{pkg: "./internal/engine", run: "^TestHandOver$"},
	},
	// Slots.
	{
		name: "moved-unverified", what: "compaction copies a block without asking whether it is whole",
		edits: []edit{{"internal/segstore/compact/copier.go", "if err := s.c.verify(s.segment, block, b); err != nil {", "if err := error(nil); err != nil {"}},
		tests: slotTests,
	},
	{
		name: "slot-crc-ignored", what: "compaction copies a block out of a slot though it fails the checksum there",
		edits: []edit{{"internal/segstore/compact/slot.go", "if checksum(data) != t.crcs[at-t.first()] {", "if false {"}},
		tests: slotTests,
	},
	{
		name: "slot-not-sealed", what: "the sources go before the header of the slot is durable",
		edits: []edit{{"internal/segstore/compact/move.go", "return t, damaged, s.base.WriteDurableAt(slot, head, 0)", "return t, damaged, s.base.WriteAt(slot, head, 0)"}},
		tests: slotCrashes,
	},
	{
		name: "slot-not-synced", what: "the sources go before what was copied is durable",
		edits: []edit{{"internal/segstore/compact/move.go", "if err := s.base.Sync(slot); err != nil {", "if err := error(nil); err != nil {"}},
		tests: slotCrashes,
	},
	{
		name: "source-goes-first", what: "the sources go before the slot has been written",
		edits: []edit{{"internal/segstore/compact/move.go", "	head, rest := t.encode()\n", "	head, rest := t.encode()\n	for _, e := range t.entries {\n		if h := s.lookup(e.segment); h == nil || h.file {\n			_ = s.base.Remove(e.segment)\n		}\n	}\n"}},
		tests: slotCrashes,
	},
	{
		name: "lower-slot-wins", what: "a segment that two slots name is read from the older one",
		edits: []edit{{"internal/segstore/compact/compact.go", "			s.discard(old.slot, old.runs)\n", "			s.discard(sl, e.runs)\n			continue\n"}},
		tests: slotTests,
	},
	{
		name: "lost-slot-removed", what: "a slot that lost its header is taken for one that a crash left",
		edits: []edit{{"internal/segstore/compact/compact.go", "		if l.lostHeader(t) {\n", "		if false {\n"}},
		tests: slotTests,
	},
	{
		name: "finish-unverified", what: "the last whole copy goes though that in the slot is damaged",
		edits: []edit{{"internal/segstore/compact/finish.go", "if err := t.check(r.at+i, buf); err != nil {", "if err := t.check(r.at+i, buf); err != nil && t == nil {"}},
		tests: slotTests,
	},
	{
		name: "moved-while-read", what: "a read counts though its block was moved away, and punched, meanwhile",
		edits: []edit{{"internal/segstore/compact/read.go", "		if s.lookup(n) == h {\n", "		if s.lookup(n) != nil {\n"}},
		tests: slotTests,
	},
	{
		name: "dump-ends-in-hole", what: "the last record of a file in an archive may be a hole",
		edits: []edit{{"internal/dump/pack.go", "if last && h.Addr[n-1] == 0 {", "if false && last {"}},
		tests: dumpBytes,
	},
	{
		name: "dump-damage-as-zeros", what: "a file that cannot be read is in the archive all the same",
		edits: []edit{{"internal/dump/write.go", "	if b.err != nil {\n		return b.err\n	}\n", ""}},
		tests: dumpBytes,
	},
	{
		name: "dump-forgets-deletions", what: "what was removed since the base stays in the map of inodes in use",
		edits: []edit{{"internal/chain/level.go", "			s.used.Clear(num)\n", ""}},
		tests: dumpChains,
	},
	{
		name: "dump-trusts-newest-name", what: "a changed file is only looked for where its newest name was",
		edits: []edit{{"internal/chain/level.go", "if len(links) > 0 || found.Count() < files.Count() {", "if false && found == nil {"}},
		tests: dumpChains,
	},
	{
		name: "dump-base-unfinished", what: "a dump that was never finished serves as a base",
		edits: []edit{{"internal/chain/record.go", "if !r.Open && r.Level < level &&", "if r.Level < level &&"}},
		tests: dumpChains,
	},
	{
		name: "ext-unwritten-shown", what: "what was deleted shows through the unwritten extents of an ext4 image",
		edits: []edit{{"internal/extfs/extents.go", "	if unwritten {\n		return nil", "	if false && unwritten {\n		return nil"}},
		tests: extCorners,
	},
	{
		name: "ext-revokes-ignored", what: "replay of a journal in memory brings blocks back that were freed and used anew",
		edits: []edit{{"internal/extfs/journal.go", "; ok && !later(t.from.sequence, sequence) {", "; false && ok && !later(t.from.sequence, sequence) {"}},
		tests: extJournals,
	},
	{
		name: "ext-torn-commit-counts", what: "a transaction counts whose commit has a wrong checksum",
		edits: []edit{{"internal/extfs/journalscan.go", "case !t.suspect && j.commitSum(p, t):", "case !t.suspect:"}},
		tests: extJournals,
	},
	{
		name: "ext-inode-unchecked", what: "a wrong bit in an inode of an ext4 image passes",
		edits: []edit{{"internal/extfs/inode.go", "	if sum != want {\n", "	if false && sum != want {\n"}},
		tests: extDamage,
	},
	{
		name: "map-in-circles", what: "a file is as long as its map of blocks leads in circles",
		edits: []edit{{"internal/blockmap/blockmap.go", "b.seen > limit+limit/64+64 {", "b.seen > limit<<20 {"}},
		tests: ufsHoles,
	},
	{
		name: "replay-loses-an-op", what: "one operation in a hundred is not repeated",
		edits: []edit{{"internal/redo/line.go", "			out, err := pick.out(op)\n", "			out, err := pick.out(op)\n			out = out || op.LSN%100 == 7\n"}},
		tests: redoTests,
	},
	{
		name: "replay-takes-whole-blocks", what: "of an unaligned write the merged blocks are repeated, with what is undone in them",
		edits: []edit{
			{"internal/redo/line.go", "step.Data = b.data[in : in+int(op.Len)]", "step.Data, _ = b.data[start:start+n], in"},
			{"internal/redo/line.go", "own.Extents = nil", "if own.Extents = nil; step.Data != nil {\n				own.Off, own.Len = op.Off/engine.BlockSize*engine.BlockSize, uint64(n)\n			}"},
		},
		tests: redoTests,
	},
	{
		name: "overlap-missed", what: "bytes written over what is left out are no conflict",
		edits: []edit{{"internal/redo/leftout.go", "if lsn = l.bytes[op.Ino].over(op.Off, op.Off+op.Len); lsn != 0 {", "if lsn = 0; lsn != 0 {"}},
		tests: redoTests,
	},
	{
		name: "emptiness-missed", what: "a directory is removed though it is not empty where operations are left out",
		edits: []edit{{"internal/redo/clash.go", "		if i.IsDir() && i.Entries > 0 {", "		if false {"}},
		tests: redoTests,
	},
	{
		name: "repeated-now", what: "what is repeated shows the time of the replay",
		edits: []edit{{"internal/redo/player.go", "p.op.As = op.Shows()", "p.op.As = 0"}},
		tests: redoTests,
	},
	{
		name: "undo-without-the-rest", what: "what happened while an undo ran is lost",
		edits: []edit{{"internal/redo/line.go", "if last > r.Last() {", "if last > r.Last()+1<<40 {"}},
		tests: redoTests,
	},
	{
		name: "draft-stays", what: "what a crash left half made is not dropped",
		edits: []edit{{"internal/engine/recover.go", "	e.dropDrafts()\n", ""}},
		tests: redoTests,
	},
	{
		name: "repeated-history-goes", what: "history is forgotten while its operations are repeated",
		edits: []edit{{"internal/engine/retention.go", " || p.d.isRepeated(p.horizon.lsn)", ""}},
		tests: redoTests,
	},
	{
		name: "undone-line-stays", what: "a line that an undo made never takes over that of its draft",
		edits: []edit{{"internal/engine/burial.go", "if c.parent == l && !d.gone && l", "if c.parent == l && c == d.lines[0] && !d.gone && l"}},
		tests: redoTests,
	},
	{
		name: "restore-follows-links", what: "a directory of the target is opened through a symbolic link",
		edits: []edit{{"internal/restore/osdir.go", "unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC", "unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC"}},
		tests: hostile,
	},
	{
		name: "restore-any-name", what: "names of an archive may have slashes in them",
		edits: []edit{{"internal/restore/dirent.go", `!strings.ContainsAny(name, "/\x00")`, `!strings.ContainsAny(name, "\x00")`}},
		tests: hostile,
	},
	{
		name: "restore-data-unproven", what: "data are taken as they come, whatever is behind them",
		edits: []edit{{"internal/restore/data.go", "return n, n < rest || a.follows(b, n), nil", "return n, n < rest || a.follows(b, n) || true, nil"}},
		tests: hostile,
	},
	{
		name: "restore-any-base", what: "an archive is restored on whatever was restored before",
		edits: []edit{{"internal/restore/update.go", "if r.old.date != h.DDate {", "if r.old.date > h.DDate && h.Level < 0 {"}},
		tests: hostile,
	},
}
