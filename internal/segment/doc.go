// Package segment is the log of varve: one chain of frames over numbered
// segments of a store. Log appends to it, with group commit; FindSuperRoot,
// Scan and Read get it back; Inspect shows what is there.
//
// # Writing
//
//	Append --copy--> open frame --seal--> queue --write--> store --sync--> durable
//	                 (one buffer)         (in sequence order)
//
// Append fills the open frame in memory, or makes memory that it had lent the
// open frame (Memory). Sealing gives it a header, and with that its place in
// the chain. Sealed frames are claimed and written in order, by the writer
// goroutines or by whoever commits; several may be in flight. A round of group commit has one leader, who holds the sync token
// (Log.syncing), and makes a whole prefix of the queue durable; all others
// wait for that round or the next. A frame leaves the queue when it is durable
// together with all before it.
//
// What is durable is always a prefix of the chain, and a waiter is released
// only for frames inside that prefix.
//
// # Locks
//
// Log.mu guards all state of a Log. Nothing else is locked under it and no
// call of the store is made under it. The sync token is taken under mu and
// held over calls of the store.
//
// Whoever waits on a condition of mu finds the log changed afterwards and
// checks everything again: a frame is never sealed, or a segment left, on
// what was seen before a wait.
package segment
