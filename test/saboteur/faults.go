package main

// The suites, each of seconds.
var (
	logEnds      = suite{pkg: "./internal/segment", run: "^Test(DiscardedFrameStaysDiscarded|RetireAwaitsWipe)$"}
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
	nfsCommits   = suite{pkg: "./internal/nfs3", run: "^TestSharedCommit$"}
	shareKills   = suite{pkg: "./test/power", run: "^TestKillSharesUnderLoad$"}
	nfsClients   = suite{pkg: "./test/interop", run: "^TestNFS(Repeat|Rollback|Permissions)$"}
	wireTests    = suite{pkg: "./internal/nbd", run: "^Test(FUA|WritesDoNotHoldUpReads)$"}
	dumpChains   = suite{pkg: "./test/interop", run: "^TestDump(ShareLevels|BaseMissing)$"}
	dumpBytes    = suite{pkg: "./internal/dump", run: "^Test(Golden|Passes|WriteFails|FreeBSDRestores)$"}
	sessions     = suite{pkg: "./internal/iscsi", run: "^Test(ReinstatementDrains|ReaderDoesNotWait|CommandOrder|CHAP|Logout.*)$"}
	gathers      = suite{pkg: "./internal/outbox", run: "^Test(ReadMany|LingerAfterMany)$"}
	transfers    = suite{pkg: "./internal/iscsi", run: "^Test(Transfers|WrongWay)$"}
	hostile      = suite{pkg: "./internal/restore", run: "^Test(Hostile|Planted|MissingRecords|ChainRefused|HalfMade|RunsDamaged)$"}
	scsiTests    = suite{pkg: "./internal/scsi", run: "^Test(CloseFences|PreemptWaits|ReservationsPersist)$"}
	updates      = suite{pkg: "./internal/engine", run: "^TestUpdatesAreWhole$"}
	slotTests    = suite{pkg: "./internal/segstore/compact", run: "^Test(HigherSlotWins|RotIsNotSpread|SpoiltSlot|DamagedSlot|Pending|HalfMadeSlotHoldsRemoval|ReadMeetsMove)$"}
	extCorners   = suite{pkg: "./internal/extfs", run: "^TestExtents$"}
	extJournals  = suite{pkg: "./internal/extfs", run: "^(TestTornJournal|TestDirtyJournal)$/^(|v1|none)$"}
	extDamage    = suite{pkg: "./internal/extfs", run: "^TestFlippedBits$"}
	ufsHoles     = suite{pkg: "./internal/ufs", run: "^TestHoles$"}
	redoTests    = suite{pkg: "./internal/redo", run: "^Test(ReplayIsTheLine|Undo|Conflicts|Draft|HistoryStays|ExportImport|TooMuch|Abort)"}
	spareTests   = suite{pkg: "./internal/segstore/dir", run: "^Test(Spare|Reuse|ReaderKeepsItsBytes)$"}
	askTests     = suite{pkg: "./internal/ask", run: "^Test(AskFindsWhatWasDone|NameThatWasMovedAway|SegmentsThatCannotMatchAreLeftOut|DigestsOfWritingHaveAll)$"}
	opfileTests  = suite{pkg: "./internal/opfile", run: "^TestRoundTrip$"}
	unmoved      = suite{pkg: "./internal/engine", run: "^TestDamagedFrameIsNotMoved$"}
	erasing      = suite{pkg: "./internal/vol", run: "^TestErasedIsNowhere$"}
	capacities   = suite{pkg: "./internal/engine", run: "^Test(GrowWhile|ShrinkToTheLeast)"}
	slotCrashes  = suite{pkg: "./internal/segstore/compact", run: "^TestCrash"}
)

// poolFaults are wrong ways of the log, the trees and what is kept of them.
var poolFaults = []fault{
	{
		name: "erased-in-spares", what: "what was erased stays in the files that are kept for new segments",
		edits: []edit{{"internal/engine/room.go", "err = e.store.GiveBack()", "err = nil"}},
		tests: erasing,
	},
	{
		name: "update-unguarded", what: "COMPARE AND WRITE does not see a write that comes between",
		edits: []edit{{"internal/engine/update.go", "h.Write(off, n, u.bufs[:], u.expect)", "h.Write(off, n, u.bufs[:], u.expect[:0])"}},
		tests: updates,
	},
	{
		name: "commit-without-sync", what: "a commit writes and does not sync",
		edits: []edit{{"internal/segment/commit.go", "if err = l.store.Sync(n); err != nil {", "if _ = n; err != nil {"}},
		tests: logCrashes,
	},
	{
		name: "left-out-untold", what: "who follows names is not told that some were left out",
		edits: []edit{{"internal/engine/logscan.go", "		s.q.Left()\n", ""}},
		tests: askTests,
	},
	{
		name: "digest-misses-some", what: "what writing finds in a segment leaves out some operations",
		edits: []edit{{"internal/engine/engine.go", "	r.e.digests.open.Add(r.op)\n", "	if r.op.Kind != oplog.WriteFile {\n		r.e.digests.open.Add(r.op)\n	}\n"}},
		tests: askTests,
	},
	{
		name: "stale-segment-believed", what: "a segment is left out up to its last frame though the log does not go on behind that",
		edits: []edit{{"internal/segment/scan.go", "	if err != nil { // a crash", "	if err = nil; false { // a crash"}},
		tests: logTests,
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
		tests: logEnds,
	},
	{
		name: "reused-under-wipe", what: "a segment is used again while zeros are on their way to its file",
		edits: []edit{{"internal/segment/room.go", "for (r.making || r.zeros.meet(seg, 0, l.segBlocks)) && !l.stopped {", "for r.making && !l.stopped {"}},
		tests: logEnds,
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
		name: "begun-with-again", what: "nodes of a snapshot of the past with which a second line began count as dead",
		edits: []edit{{"internal/engine/absorb.go", "	if p.aside == nil {\n\t\treturn nil", "	if true {\n\t\treturn nil"}},
		tests: suite{pkg: "./internal/engine", run: "^TestPast"},
	},
	{
		name: "given-back-twice", what: "a buried line gives back nodes of a snapshot of the past that are dead already",
		edits: []edit{{"internal/engine/absorb.go", "c.aside != nil && y.birth == c.fork", "false"}},
		tests: suite{pkg: "./internal/engine", run: "^TestPast"},
	},
	{
		name: "draft-dates-back", what: "what a draft gave up counts as dead in its dataset before it took the place",
		edits: []edit{{"internal/engine/absorb.go", "y.death = max(y.death, p.end())", "_ = y"}},
		tests: suite{pkg: "./internal/engine", run: "^TestDraftLeavesMomentsWhole$"},
	},
	{
		name: "other-branch-taken-over", what: "what did not live on a branch that was left counts as alive there",
		edits: []edit{{"internal/engine/burial.go", "		if l.inGap(c.fork, c.forkFrom) {\n			return nil", "		if false {\n			return nil"}},
		tests: suite{pkg: "./internal/engine", run: "^TestBackToAnotherBranch$"},
	},
	{
		name: "origins-pins-taken", what: "moments of an origin that is taken over count as the clone's",
		edits: []edit{{"internal/engine/absorb.go", "	if p.line.d != f.l.d {\n\t\tif err := theirs.onlyFork", "	if false {\n\t\tif err := theirs.onlyFork"}},
		tests: suite{pkg: "./internal/engine", run: "^TestRootOfOriginGoes$"},
	},
	{
		name: "spare-given-away", what: "with the file system full, what is removed goes to whoever comes first",
		edits: []edit{{"internal/segstore/dir/change.go", "	if idle && s.spareFrom(seg) {", "	if false {"}},
		tests: spareTests,
	},
	{
		name: "reused-under-reader", what: "the file of a segment is used again while somebody still reads it",
		edits: []edit{{"internal/segstore/dir/change.go", "	if idle && s.spareFrom(seg) {", "	if s.spareFrom(seg) {"}},
		tests: spareTests,
	},
	{
		name: "spare-with-old-bytes", what: "a slot is made of a segment that was removed, with what that had in it",
		edits: []edit{{"internal/segstore/dir/spare.go", "	if c == segstore.Zeros {\n", "	if c > segstore.Written {\n"}},
		tests: spareTests,
	},
	{
		name: "forgetting-waits", what: "nothing is forgotten while the cleaner works",
		edits: []edit{{"internal/engine/retention.go", "		e.warnOfLimits()\n", "		e.warnOfLimits()\n		e.cleaning.Lock()\n		e.cleaning.Unlock()\n"}},
		tests: suite{pkg: "./internal/engine", run: "^TestForgettingDoesNotWaitForCleaning$"},
	},
	{
		name: "handed-over-early", what: "the store gets what is free while one of the last two super roots leads there",
		edits: []edit{{"internal/engine/reclaim.go", "	e.checks.hand(&e.space, e.freed)\n", "	e.checks.hand(&e.space, c.freed)\n"}},
		tests: suite{pkg: "./internal/engine", run: "^TestHandOver$"},
	},
	{
		name: "shrunk-below-what-stays", what: "a pool becomes smaller than what may not be forgotten",
		edits: []edit{{"internal/engine/capacity.go", "	return capacity-reserve >= needed(stays, segment)\n", "	return capacity-reserve >= needed(0*stays, segment)\n"}},
		tests: capacities,
	},
	{
		name: "reserve-stays", what: "a pool that was given more keeps the reserve of the smaller one",
		edits: []edit{{"internal/engine/capacity.go", "	e.log.SetReserve(o.Reserve, o.LastReserve)\n", "	_ = o\n"}},
		tests: capacities,
	},
	{
		name: "freed-under-check", what: "what dies while the pool is checked is given back before the check has ended",
		edits: []edit{{"internal/engine/checking.go", "	if len(k.running) == 0 {\n		m.hand(segs)", "	if true {\n		m.hand(segs)"}},
		tests: suite{pkg: "./internal/engine", run: "^TestCheckWhileCleaning$"},
	},
	{
		name: "lock-needs-room", what: "a pool does not open where the disk has no room for a note",
		edits: []edit{{"internal/vfs/oslock.go", "	if fail.Is(err, fail.NoSpace) {", "	if false {"}},
		tests: suite{pkg: "./internal/segstore/dir", run: "^TestOpenOnFullDisk$"},
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
		edits: []edit{{"internal/segstore/compact/compact.go", "case !x.sealed && !l.lostHeader(x.t):", "case !x.sealed:"}},
		tests: slotTests,
	},
	{
		name: "moved-while-read", what: "a read counts though its block was moved away, and punched, meanwhile",
		edits: []edit{{"internal/segstore/compact/read.go", "		if s.lookup(n) == h {\n", "		if s.lookup(n) != nil {\n"}},
		tests: slotTests,
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
}
