package iscsi

import (
	"encoding/binary"
	"hash/crc32"
)

// A PDU (RFC 7143, 11.1); what is in angle brackets only when negotiated:
//
//	basic header 48 | additional headers | <header digest 4> | data | pad to 4 | <data digest 4, if there is data>
//
//	 0  I opcode 6 | 1  F flags 7 | 2 .. 3  by opcode
//	 4  AHS length, in words      | 5  data length 3
//	 8  LUN 8
//	16  initiator task tag 4      | 20 by opcode 4
//	24  CmdSN or StatSN           | 28 ExpStatSN or ExpCmdSN
//	32  by opcode; MaxCmdSN       | 36 by opcode .. 48
const (
	headerSize = 48
	digestSize = 4
)

// Opcodes, of initiators and of targets.
const (
	opNopOut   = 0x00
	opCommand  = 0x01
	opTask     = 0x02
	opLogin    = 0x03
	opText     = 0x04
	opDataOut  = 0x05
	opLogout   = 0x06
	opSNACK    = 0x10
	opNopIn    = 0x20
	opResponse = 0x21
	opTaskRsp  = 0x22
	opLoginRsp = 0x23
	opTextRsp  = 0x24
	opDataIn   = 0x25
	opLogoutR  = 0x26
	opR2T      = 0x31
	opAsync    = 0x32
	opReject   = 0x3f

	immediateBit = 0x40
	finalBit     = 0x80
	continueBit  = 0x40 // of text and login

	noTag = 0xffffffff
)

// Flags of a command, a response and a Data-In.
const (
	readBit      = 0x40
	writeBit     = 0x20
	overflowBit  = 0x04
	underflowBit = 0x02
	statusBit    = 0x01
)

// Reasons of a reject.
const (
	rejectDigest      = 0x02
	rejectProtocol    = 0x04
	rejectUnsupported = 0x05
	rejectImmediate   = 0x06
	rejectInvalid     = 0x09
	rejectLongSession = 0x0a
)

var be = binary.BigEndian

// header is the basic header of a PDU.
type header []byte

func (h header) opcode() byte         { return h[0] & 0x3f }
func (h header) immediate() bool      { return h[0]&immediateBit != 0 }
func (h header) final() bool          { return h[1]&finalBit != 0 }
func (h header) ahs() int             { return int(h[4]) * 4 }
func (h header) dataLen() int         { return int(be.Uint32(h[4:]) & 0xffffff) }
func (h header) setDataLen(n int)     { be.PutUint32(h[4:], uint32(n)&0xffffff) }
func (h header) lun() uint64          { return be.Uint64(h[8:]) }
func (h header) tag() uint32          { return be.Uint32(h[16:]) }
func (h header) word20() uint32       { return be.Uint32(h[20:]) }
func (h header) cmdSN() uint32        { return be.Uint32(h[24:]) }
func (h header) expStatSN() uint32    { return be.Uint32(h[28:]) }
func (h header) cdb() []byte          { return h[32:48] }
func (h header) put(at int, v uint32) { be.PutUint32(h[at:], v) }

// padded is n rounded up to words.
func padded(n int) int { return (n + 3) &^ 3 }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// digest is the CRC32C of p as it stands in a PDU: least byte first.
func putDigest(dst, p []byte) { binary.LittleEndian.PutUint32(dst, crc32.Checksum(p, castagnoli)) }

func digestOf(p []byte) uint32 { return binary.LittleEndian.Uint32(p) }
func checksum(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }
func before(a, b uint32) bool  { return int32(a-b) < 0 } // serial numbers: RFC 1982

// What a header of ours has in place of its StatSN until it departs, when the
// numbers are put in: see conn.Depart.
const (
	snNone   = iota // a Data-In without status: no StatSN
	snShow          // shows the next, and does not use it up
	snUse           // uses one
	snFinish        // uses one, and is the end of a command that counts in the window
)

// digests says which digests PDUs have after login.
type digests struct{ header, data bool }

// head returns where data begins in a PDU of ours.
func (d digests) head() int {
	if d.header {
		return headerSize + digestSize
	}
	return headerSize
}

// size is the length of a PDU of ours with n bytes of data.
func (d digests) size(n int) int {
	s := d.head() + padded(n)
	if d.data && n > 0 {
		s += digestSize
	}
	return s
}

// finish sets the length of the data that p has, of n bytes, pads it, and puts
// its digest. The header's digest is put when it departs.
func (d digests) finish(p []byte, n int) int {
	header(p).setDataLen(n)
	end := d.head() + n
	for ; end%4 != 0; end++ {
		p[end] = 0
	}
	if d.data && n > 0 {
		putDigest(p[end:], p[d.head():end])
		end += digestSize
	}
	return end
}

func crcUpdate(sum uint32, p []byte) uint32 { return crc32.Update(sum, castagnoli, p) }
