package nbd

import "encoding/binary"

// All numbers on the wire are big-endian.
//
//	greeting      "NBDMAGIC" 8 | "IHAVEOPT" 8 | handshake flags 2     <- client flags 4
//	option        "IHAVEOPT" 8 | option 4 | length 4 | data
//	option reply  magic 8 | option 4 | type 4 | length 4 | data
//	request       magic 4 | command flags 2 | command 2 | cookie 8 | offset 8 | length 4 | payload of a WRITE
//	simple reply  magic 4 | error 4 | cookie 8 | payload of a READ
//	chunk         magic 4 | chunk flags 2 | type 2 | cookie 8 | length 4 | payload
const (
	greetingMagic    = 0x4e42444d41474943
	optionMagic      = 0x49484156454f5054
	optionReplyMagic = 0x3e889045565a9
	requestMagic     = 0x25609513
	simpleMagic      = 0x67446698
	chunkMagic       = 0x668e33ef

	optionSize      = 16
	optionReplySize = 20
	requestSize     = 28
	simpleSize      = 16
	chunkSize       = 20
)

// Handshake flags, of the server and of the client.
const (
	flagFixedNewstyle = 1 << 0
	flagNoZeroes      = 1 << 1
)

// Options.
const (
	optExportName      = 1
	optAbort           = 2
	optList            = 3
	optInfo            = 6
	optGo              = 7
	optStructuredReply = 8
	optListMetaContext = 9
	optSetMetaContext  = 10
)

// Replies to options.
const (
	repAck         = 1
	repServer      = 2
	repInfo        = 3
	repMetaContext = 4

	repErrUnsup    = 1<<31 + 1
	repErrPolicy   = 1<<31 + 2
	repErrInvalid  = 1<<31 + 3
	repErrUnknown  = 1<<31 + 6
	repErrShutdown = 1<<31 + 7
	repErrTooBig   = 1<<31 + 9
)

// Kinds of information in the answer to INFO and GO.
const (
	infoExport      = 0 // size 8, transmission flags 2
	infoName        = 1 // the canonical name
	infoDescription = 2
	infoBlockSize   = 3 // minimum 4, preferred 4, maximum payload 4
)

// Transmission flags: what an export can do.
const (
	canFlags       = 1 << 0
	isReadOnly     = 1 << 1
	canFlush       = 1 << 2
	canFUA         = 1 << 3
	canTrim        = 1 << 5
	canWriteZeroes = 1 << 6
	canDF          = 1 << 7
	canMultiConn   = 1 << 8
	canCache       = 1 << 10
	canFastZero    = 1 << 11
)

// Commands.
const (
	cmdRead        = 0
	cmdWrite       = 1
	cmdDisc        = 2
	cmdFlush       = 3
	cmdTrim        = 4
	cmdCache       = 5
	cmdWriteZeroes = 6
	cmdBlockStatus = 7
)

var cmdNames = [...]string{"read", "write", "disc", "flush", "trim", "cache", "zero", "status"}

// Command flags.
const (
	flagFUA      = 1 << 0
	flagNoHole   = 1 << 1
	flagDF       = 1 << 2
	flagReqOne   = 1 << 3
	flagFastZero = 1 << 4
)

// Chunks of a structured reply.
const (
	chunkDone = 1 << 0 // flag: the last chunk of its request

	chunkData   = 1         // offset 8, data
	chunkHole   = 2         // offset 8, length 4
	chunkStatus = 5         // context 4, then pieces: length 4, flags 4
	chunkError  = 1<<15 + 1 // error 4, message length 2, message
)

// The flags of base:allocation.
const (
	stateHole = 1 << 0
	stateZero = 1 << 1
)

// Errors in replies.
const (
	nbdOK        = 0
	nbdEPERM     = 1
	nbdEIO       = 5
	nbdEINVAL    = 22
	nbdENOSPC    = 28
	nbdEOVERFLOW = 75
	nbdENOTSUP   = 95
	nbdESHUTDOWN = 108
)

// Sizes of blocks that we announce, in bytes.
const (
	minBlock   = 1
	idealBlock = 4096
	maxPayload = 32 << 20 // of one READ or WRITE
)

var be = binary.BigEndian

// request is the head of a request.
type request struct {
	flags, cmd uint16
	cookie     uint64
	off        uint64
	n          uint32
}

// parseRequest decodes a head; ok is false where its magic is wrong.
func parseRequest(p []byte) (r request, ok bool) {
	_ = p[requestSize-1]
	r = request{
		flags:  be.Uint16(p[4:]),
		cmd:    be.Uint16(p[6:]),
		cookie: be.Uint64(p[8:]),
		off:    be.Uint64(p[16:]),
		n:      be.Uint32(p[24:]),
	}
	return r, be.Uint32(p) == requestMagic
}

// putSimple encodes a simple reply into p.
func putSimple(p []byte, cookie uint64, code uint32) {
	_ = p[simpleSize-1]
	be.PutUint32(p, simpleMagic)
	be.PutUint32(p[4:], code)
	be.PutUint64(p[8:], cookie)
}

// putChunk encodes the head of a chunk into p.
func putChunk(p []byte, flags, kind uint16, cookie uint64, n uint32) {
	_ = p[chunkSize-1]
	be.PutUint32(p, chunkMagic)
	be.PutUint16(p[4:], flags)
	be.PutUint16(p[6:], kind)
	be.PutUint64(p[8:], cookie)
	be.PutUint32(p[16:], n)
}
