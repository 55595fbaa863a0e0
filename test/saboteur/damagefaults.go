package main

// damageFaults are wrong ways with what the disk gave back otherwise than it was
// written, or not at all.
var damageFaults = []fault{
	{
		name: "durable-through-ignored", what: "damage to acknowledged frames is taken for a torn tail",
		edits: []edit{{"internal/segment/scan.go", "if through >= missing && !o.AcceptLoss {", "if false {"}},
		tests: logTests,
	},
	{
		name: "older-root-not-tried", what: "a damaged checkpoint keeps the pool shut though the one before is whole",
		edits: []edit{{"internal/engine/olderroots.go", "for range olderRoots + 1 {", "for range 1 {"}},
		tests: poolDamage,
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
		name: "discarded-counts-as-damage", what: "a check of a pool at rest takes what a crash left behind the log for a part of it",
		edits: []edit{{"internal/engine/check.go", "c.upTo.Seq = tail.Seq", "_ = tail"}},
		tests: poolCrashes,
	},
	{
		name: "damage-holds-up-all", what: "a damaged node of a head that a rollback left keeps the pool from being opened",
		edits: []edit{{"internal/engine/checkpoint.go", "	}, e.keepBelow(d))", "	}, nil)"}},
		tests: suite{pkg: "./internal/engine", run: "^TestDamagedHeadIsLeft$"},
	},
	{
		name: "dying-list-held-up", what: "what lies behind a damaged node of a dying list is not given back either",
		edits: []edit{{"internal/engine/dying.go", "Blocking().Past(lost).", "Blocking()."}},
		tests: suite{pkg: "./internal/engine", run: "^(TestDyingListPassesDamage|TestDrainAcrossDamage)$"},
	},
	{
		name: "drained-further-in-replay", what: "a replay empties more of a dying list than was emptied",
		edits: []edit{{"internal/engine/dying.go", "	return k, err\n", "	return tree.MaxKey, err\n"}},
		tests: suite{pkg: "./internal/engine", run: "^TestDrainAcrossDamage$"},
	},
	{
		name: "refused-read-gives-up", what: "what the disk did not give once is never given back",
		edits: []edit{{"internal/engine/dying.go", "fail.Is(err, fail.Corrupt) && keep(err)", "keep(err)"}},
		tests: suite{pkg: "./internal/engine", run: "^TestDrainAwaitsDisk$"},
	},
	{
		name: "cloned-from-loss", what: "what begins with a moment that was given up begins with what is left instead",
		edits: []edit{{"internal/engine/replay.go", "if d.givenUp != 0 && lsn >= d.givenUp {", "if false {"}},
		tests: suite{pkg: "./internal/engine", run: "^TestGivenUp"},
	},
	{
		name: "one-root-after-loss", what: "writes after an accepted loss go with it, if the newest checkpoint is damaged",
		edits: []edit{{"internal/engine/recover.go", "i < olderRoots && err == nil; i++", "i < 0; i++"}},
		tests: suite{pkg: "./internal/engine", run: "^TestRootsAfterLoss$"},
	},
	{
		name: "given-up-in-part", what: "a dataset that cannot be replayed to the end loses an operation in the middle, and not the end",
		edits: []edit{{"internal/engine/giveup.go", "	if d == nil || d.givenUp == 0 {", "	if true {"}},
		tests: suite{pkg: "./internal/engine", run: "^TestWriteOverDamage$"},
	},
	{
		name: "replayed-across-loss", what: "moments after the given-up end of a dataset are replayed across it",
		edits: []edit{{"internal/engine/giveup.go", "			e.keep(d, d.addRoot(d.freeze(lsn, pos)))\n", ""}},
		tests: suite{pkg: "./internal/engine", run: "^TestWriteOverDamage$"},
	},
	{
		name: "slot-end-unread", what: "a slot with a damaged front is refused though its end is whole",
		edits: []edit{{"internal/segstore/compact/slot.go", "readTable(base, h, h.copyAt(segBlocks)); !fail", "readTable(base, h, 1); !fail"}},
		tests: slotTests,
	},
	{
		name: "damaged-frame-moved", what: "a segment is moved without what lies in frames of which the header is damaged",
		edits: []edit{{"internal/engine/compaction.go", "if err == nil && len(sums) != want {", "if false {"}},
		tests: unmoved,
	},
	{
		name: "finish-unverified", what: "the last whole copy goes though that in the slot is damaged",
		edits: []edit{{"internal/segstore/compact/finish.go", "if err := t.check(r.at+i, buf); err != nil {", "if err := t.check(r.at+i, buf); err != nil && t == nil {"}},
		tests: slotTests,
	},
	{
		name: "loss-occupies", what: "what given-up writes occupy never comes back",
		edits: []edit{{"internal/engine/giveup.go", "		if len(x.CRC) > 0 {", "		if false {"}},
		tests: suite{pkg: "./internal/engine", run: "^TestGivenUp"},
	},
	{
		name: "lost-data-of-no-moment", what: "what was written before a loss is freed although a clone of such a moment has it",
		edits: []edit{{"internal/engine/giveup.go", "d.head.led.drop(x, lsn)", "d.head.led.drop(x, x.birth)"}},
		tests: suite{pkg: "./internal/engine", run: "^Test.*(Of|To)Loss$"},
	},
	{
		name: "no-gap-at-loss", what: "a rollback to before a loss leaves what the lost writes had replaced to nobody",
		edits: []edit{{"internal/engine/giveup.go", "			d.now().gaps = append(d.now().gaps, stretch{d.givenUp, lsn})\n", ""}},
		tests: suite{pkg: "./internal/engine", run: "^Test.*(Of|To)Loss$"},
	},
	{
		name: "lost-operations-told", what: "who reads the log takes what was given up for done: an undo repeats it",
		edits: []edit{{"internal/engine/giveup.go", "return !staysWithLoss(op.Kind) && ", "return false && "}},
		tests: suite{pkg: "./internal/engine", run: "^Test.*(Of|Over)Loss$"},
	},
	{
		name: "loss-forgotten", what: "what was given up counts as done once the pool is opened again",
		edits: []edit{{"internal/engine/giveup.go", "	d.losses = append(d.losses, x)\n", "	_ = x\n"}},
		tests: suite{pkg: "./internal/engine", run: "^TestRequestsOfLoss$"},
	},
	{
		name: "published-draft-untold", what: "a dataset that a replay had made is lost without a word",
		edits: []edit{{"internal/engine/giveup.go", "if op.Kind == oplog.Undestroy {", "if false {"}},
		tests: suite{pkg: "./internal/engine", run: "^Test.*(Of|To)Loss$"},
	},
	{
		name: "unmade-clone-occupies", what: "what was written to a clone that is given up never comes back",
		edits: []edit{{"internal/engine/recover.go", "!lost {\n\t\t\t\tleft.op", "lost || !lost {\n\t\t\t\tleft.op"}},
		tests: suite{pkg: "./internal/engine", run: "^TestGivenUp"},
	},
}
