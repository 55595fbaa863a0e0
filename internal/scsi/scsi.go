// Package scsi is a SCSI device server: what a disk answers to each command
// (SPC-4, SBC-3), whatever transport brings it. It knows nothing of iSCSI, and
// of the engine only what Disk says.
//
//	Server      all logical units of a pool; copies between them
//	Target      a target device as initiators see it: name, ports, port groups
//	Nexus       one initiator port at one target port, over the units that it
//	            may use; a session of the transport
//	Command     one command on its way: Begin, Execute, perhaps Flush
//
// A command's life, as the transport drives it:
//
//	Begin       at arrival, in the order of arrival: parses the CDB and tells
//	            direction and length, before any data is asked for
//	Execute     when all data-out is here. With wait=false it never waits for
//	            the disk; false then means: call again from a worker, wait=true
//	Flush       only where Command.NeedsFlush is set: one Flush may serve many
//	            commands of one LUN; Committed gives each its result
//
// Each nexus has a task set of its own (control mode page, TST=001b). So the task
// attributes are an order within one session, and the transport keeps it: an
// ORDERED command is executed when every earlier one of the same nexus and LUN
// is done, and before any later one is begun; HEAD OF QUEUE at once; SIMPLE in
// any order. Nothing here waits for another nexus's data.
//
// Fencing. Every command carries the epoch of its attachment (nexus and LUN). An
// abort raises the epoch, and waits until no older command is in Execute: what
// was begun before and comes to Execute later is told Aborted, and touches
// nothing. So no write of an aborted task or a closed nexus lands afterwards.
//
// Locks, in the order in which they are taken:
//
//	Server.mu        units, nexuses
//	Target.mu        access states, nexuses of the target
//	  unit.mu        reservations, mode pages, access states, attachments
//	    attachment.mu  epoch, running commands, unit attentions; leaf
//
// None is held across a call of a Disk, but for unit.saving: one change of
// persistent reservations at a time, held while it becomes durable.
package scsi

import "sync/atomic"

// Status is the status byte of a command (SAM-5 5.3.1).
type Status = byte

// The statuses in use.
const (
	Good                Status = 0x00
	CheckCondition      Status = 0x02
	Busy                Status = 0x08
	ReservationConflict Status = 0x18
	TaskSetFull         Status = 0x28
	TaskAborted         Status = 0x40
)

// Direction is which way a command's data goes.
type Direction uint8

// The directions.
const (
	NoData  Direction = iota
	DataIn            // to the initiator
	DataOut           // from the initiator
)

// BlockSize is the logical block, in bytes. The physical block is 4096.
const BlockSize = 512

// MaxTransfer bounds the data of one command, in bytes. Block limits (VPD B0)
// tell the initiator; a command with more is refused by Begin.
const MaxTransfer = 4 << 20

// MaxCDB is the longest CDB that is understood: a longer one is refused.
const MaxCDB = 32

// MaxSense bounds Command.Sense.
const MaxSense = 32

// Command is one command on its way. The transport keeps it in its own memory
// and may reuse it; nothing in it is allocated. It must not be copied between
// Begin and its end.
type Command struct {
	// The transport's, before Begin.
	LUN uint64 // the 8 bytes of the LUN field, big-endian
	CDB []byte // as it came, at least 6 bytes; unchanged until the command is done

	// Expected is the length of data-out that the initiator announced, in bytes; 0
	// for a command without. Commands that need all of it compare it with Length.
	Expected int64

	// Begin's.
	Dir    Direction
	Length int64 // bytes that the CDB asks to transfer; 0 where it will be refused

	// Execute's, once it returned true.
	Status     Status
	Sense      []byte // of CheckCondition; valid until the next Begin
	N          int    // bytes of in that are valid
	Total      int64  // bytes that would have been transferred had the transport's buffers had room: what residuals are counted from
	NeedsFlush bool   // Good comes after a Flush only: call Flush, then Committed
	Aborted    bool   // it was aborted before: it touched nothing, and gets no response

	n       *Nexus
	a       *attachment // nil: no such LUN
	epoch   uint64
	phase   int         // attachment.mu
	inside  bool        // attachment.mu: it is in Execute
	cancel  atomic.Bool // ABORT TASK came; set under attachment.mu
	op      *operation  // nil: there is no such command
	args    args
	refused sense // by Begin
	buf     [MaxSense]byte
}
