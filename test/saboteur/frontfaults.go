package main

// frontFaults are wrong ways of what stands on the engine: protocols, shares,
// archives, replay.
var frontFaults = []fault{
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
		name: "reinstatement-does-not-wait", what: "a new iSCSI session begins while writes of the one before are under way",
		edits: []edit{{"internal/iscsi/sessions.go", "if err := old.waitEnded(ctx); err != nil {", "if err := ctx.Err(); err != nil {"}},
		tests: sessions,
	},
	{
		name: "logout-answered-early", what: "a logout is answered while the session still holds its reservation",
		edits: []edit{{"internal/iscsi/conn.go", "	c.session.end() // what it", "	defer c.session.end() // what it"}},
		tests: sessions,
	},
	{
		name: "logout-with-replies", what: "a logout is answered with replies that fill a buffer, before a write of the session has ended",
		edits: []edit{{"internal/iscsi/control.go", "		c.flushReplies() // the response", "		// the response"}},
		tests: sessions,
	},
	{
		name: "fua-read-without-data", what: "a READ with FUA of what is in memory is answered without its data",
		edits: []edit{{"internal/scsi/io.go", "if c.args.fua && !wait {", "if c.args.fua && !wait && c.a == nil {"}},
		tests: transfers,
	},
	{
		name: "wrong-way-done", what: "a WRITE that comes without its data is answered GOOD",
		edits: []edit{{"internal/iscsi/command.go", "t.cmd.Dir == scsi.DataOut && !t.write ||", "t.cmd.Dir == scsi.NoData && !t.write ||"}},
		tests: transfers,
	},
	{
		name: "reader-writes-and-waits", what: "the reader of an iSCSI connection waits until the log takes a write",
		edits: []edit{{"internal/scsi/io.go", "if !c.a.d.TryWriteAt(out, c.offset()) {", "if c.a.d.WriteAt(out, c.offset()) != nil {"}},
		tests: sessions,
	},
	{
		name: "one-byte-wakes-nobody", what: "a read that waited for many bytes sleeps on when fewer come",
		edits: []edit{{"internal/outbox/stream.go", "case a.low > 1:", "case a.low > 1 && a.p == nil:"}},
		tests: gathers,
	},
	{
		name: "linger-hears-nothing", what: "what comes at the end of a connection stays unread, and closing resets it",
		edits: []edit{{"internal/outbox/drain.go", "s.in.lowAt(int(fd), 1)", "_ = fd"}},
		tests: gathers,
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
		name: "removed-name-forgotten", what: "who follows names takes a file for gone with one of its names",
		edits: []edit{{"internal/ask/follower.go", "		f.changed.set(ino, place{unsure: true, made: p.made})", "		f.changed.delete(ino)"}},
		tests: askTests,
	},
	{
		name: "name-made-by-moving", what: "who follows names takes what got another name for what was made",
		edits: []edit{{"internal/ask/follower.go", "name: strings.Clone(name), made: p.made}", "name: strings.Clone(name), made: p.made || name != \"\"}"}},
		tests: askTests,
	},
	{
		name: "import-replaces-strangers", what: "what a move of a file of operations replaces keeps its number of the other pool",
		edits: []edit{{"internal/redo/from.go", "&p.op.Dir2, &p.op.Ino2} {", "&p.op.Dir2} {"}},
		tests: redoTests,
	},
	{
		name: "opfile-checksum-ignored", what: "a block of a file of operations counts whatever its checksum",
		edits: []edit{{"internal/opfile/read.go", "case crc != le.Uint32(head[4:]):", "case crc == 0 && le.Uint32(head[4:]) == 1:"}},
		tests: opfileTests,
	},
	{
		name: "fua-ignored", what: "a request with FUA is answered without a flush",
		edits: []edit{{"internal/nbd/write.go", "if err == nil && r.flags&flagFUA != 0 {", "if false {"}},
		tests: wireTests,
	},
	{
		name: "flush-overtakes-writes", what: "an NBD FLUSH or TRIM does not wait for a write before it that waits for room",
		edits: []edit{{"internal/nbd/write.go", "	if c.queue.waiting.Load() == 0 {\n		return false, nil", "	if c.queue.waiting.Load() >= 0 {\n		return false, nil"}},
		tests: wireTests,
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
		name: "shared-commit-too-early", what: "NFS calls that share a commit are answered when the first of them is durable",
		edits: []edit{{"internal/nfs3/commit.go", "t.sync > last.sync || t.sync == last.sync && t.lsn > last.lsn {", "t.sync > last.sync {"}},
		tests: nfsCommits,
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
			{"internal/redo/line.go", "step.Data = payload[in : in+int(op.Len)]", "step.Data = payload"},
			{"internal/redo/line.go", "return s.e.Payload(op, payload)", "step.Op.Off, step.Op.Len = op.Off-uint64(in), uint64(n)\n			return s.e.Payload(op, payload)"},
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
		edits: []edit{
			{"internal/redo/follow.go", "if last > r.Last() {", "if last > r.Last()+1<<40 {"},
			{"internal/redo/follow.go", "r.Last() >= last {", "r.Last()+1<<40 >= last {"},
		},
		tests: redoTests,
	},
	{
		name: "undo-in-one-turn", what: "at its end an undo lets clients wait until all that they were ahead is repeated",
		edits: []edit{{"internal/redo/follow.go", "begun.Add(wait)", "time.Time{}"}},
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
	{
		name: "restore-half-made", what: "a file that was being made when the work ended stays",
		edits: []edit{{"internal/restore/extract.go", "		r.discard(o.Ino, d, at[0].dir, name)\n", ""}},
		tests: hostile,
	},
	{
		name: "restore-doubt-stays", what: "data that came before it was known that some are missing stay",
		edits: []edit{{"internal/restore/data.go", "if err := w.fn(off, zeros[:n]); err != nil {", "if err := w.a.s.end; err != nil && n == 0 {"}},
		tests: hostile,
	},
	{
		name: "dump-hole-at-end", what: "a file in an archive may end in a hole, which FreeBSD's restore loses",
		edits: []edit{{"internal/dump/pack.go", "if last && h.Addr[n-1] == 0 {", "if last && n < 0 {"}},
		tests: dumpBytes,
	},
}
