package main

// The suites, each of seconds.
var (
	logCrashes  = suite{pkg: "./internal/segment", run: "^(TestCrashes|TestAcknowledgedMeansDurable)$"}
	logTests    = suite{pkg: "./internal/segment", run: "^Test"}
	poolCrashes = suite{pkg: "./internal/engine", run: "^TestCrash$", env: "VARVE_CRASHES=400 VARVE_SEED=1"}
	poolMoments = suite{pkg: "./internal/engine", run: "^(TestMetamorphic|TestEveryMoment)$", env: "VARVE_SEEDS=1"}
	poolDeaths  = suite{pkg: "./internal/engine", run: "^TestDeaths"}
	poolDamage  = suite{pkg: "./internal/engine", run: "^(TestLostLastSegment|TestDamagedCheckpoint)$"}
	volEdges    = suite{pkg: "./internal/vol", run: "^TestEdgesMeet$"}
	treeDamage  = suite{pkg: "./internal/tree", run: "^TestDamagedNodes$"}
	diskDamage  = suite{pkg: "./test/interop", run: "^TestFlippedBits$"}
	wireTests   = suite{pkg: "./internal/nbd", run: "^TestFUA$"}
)

// faults is what the tests must notice.
var faults = []fault{
	{
		name: "commit-without-sync", what: "a commit writes and does not sync",
		edits: []edit{{"internal/segment/commit.go", "if err = l.store.Sync(n); err != nil {", "if _ = n; err != nil {"}},
		tests: logCrashes,
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
		edits: []edit{{"internal/engine/apply.go", "	d.head = *pre.im\n	d.changed = op.LSN\n", "	d.head = *pre.im\n"}},
		tests: poolMoments,
	},
	{
		name: "clone-of-the-wrong-moment", what: "a clone forks one operation late",
		edits: []edit{{"internal/engine/fork.go", "im, err := e.imageAt(src, m.LSN)", "im, err := e.imageAt(src, m.LSN+1)"}},
		tests: poolMoments,
	},
	{
		name: "snapshot-of-the-wrong-moment", what: "a snapshot names a later moment than the one it was taken at",
		edits: []edit{{"internal/engine/snapshot.go", "name: op.Name, lsn: op.LSN, time: op.Time})", "name: op.Name, lsn: op.LSN + 1, time: op.Time})"}},
		tests: poolMoments,
	},
	{
		name: "death-dropped", what: "what an overwrite replaces is not recorded as dead",
		edits: []edit{{"internal/engine/image.go", "if im.led != nil {", "if im.led != nil && from > x.block {"}},
		tests: poolDeaths,
	},
	{
		name: "rollback-frees-nothing", what: "what a rollback leaves is not recorded as dead",
		edits: []edit{{"internal/engine/apply.go", "	e.addDying(d, &dying{id: op.LSN, root: old, end: noBlock, born: op.At})\n", ""}},
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
		edits: []edit{{"internal/vol/vol.go", "		expect = append(expect, engine.Expect{Block: off / blockSize, Addr: addr})\n		copy(e.tail[:], p)", "		_ = addr\n		copy(e.tail[:], p)"}},
		tests: volEdges,
	},
	{
		name: "first-edge-not-guarded", what: "a write that begins inside a block loses what another put there",
		edits: []edit{{"internal/vol/vol.go", "		expect = append(expect, engine.Expect{Block: off / blockSize, Addr: addr})\n		n := copy(", "		_ = addr\n		n := copy("}},
		tests: volEdges,
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
}
