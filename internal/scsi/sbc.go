package scsi

// Bits of byte 1 that SBC commands look at.
const (
	dpoFua   = 0x18
	dpoCheck = 0x16 // DPO, BYTCHK
	immed    = 0x02
)

// sbcOperations are the commands of SBC-3, and WRITE ATOMIC of SBC-4.
var sbcOperations = []*operation{
	// READ (6), (10), (12), (16)
	{opcode: 0x08, action: none, usage: rw6(0x08), class: readClass, traits: medium, begin: beginRead, run: runRead},
	{opcode: 0x28, action: none, usage: rw10(0x28, dpoFua), class: readClass, traits: medium, begin: beginRead, run: runRead},
	{opcode: 0xa8, action: none, usage: rw12(0xa8, dpoFua), class: readClass, traits: medium, begin: beginRead, run: runRead},
	{opcode: 0x88, action: none, usage: rw16(0x88, dpoFua), class: readClass, traits: medium, begin: beginRead, run: runRead},
	// WRITE (6), (10), (12), (16)
	{opcode: 0x0a, action: none, usage: rw6(0x0a), class: writeClass, traits: medium | modifies, begin: beginWrite, run: runWrite},
	{opcode: 0x2a, action: none, usage: rw10(0x2a, dpoFua), class: writeClass, traits: medium | modifies, begin: beginWrite, run: runWrite},
	{opcode: 0xaa, action: none, usage: rw12(0xaa, dpoFua), class: writeClass, traits: medium | modifies, begin: beginWrite, run: runWrite},
	{opcode: 0x8a, action: none, usage: rw16(0x8a, dpoFua), class: writeClass, traits: medium | modifies, begin: beginWrite, run: runWrite},
	// VERIFY (10), (12), (16)
	{opcode: 0x2f, action: none, usage: rw10(0x2f, dpoCheck), class: readClass, traits: medium | slow, begin: beginVerify, run: runVerify},
	{opcode: 0xaf, action: none, usage: rw12(0xaf, dpoCheck), class: readClass, traits: medium | slow, begin: beginVerify, run: runVerify},
	{opcode: 0x8f, action: none, usage: rw16(0x8f, dpoCheck), class: readClass, traits: medium | slow, begin: beginVerify, run: runVerify},
	// WRITE AND VERIFY (10), (12), (16)
	{opcode: 0x2e, action: none, usage: rw10(0x2e, dpoCheck), class: writeClass, traits: medium | modifies | slow, begin: beginWriteVerify, run: runWriteVerify},
	{opcode: 0xae, action: none, usage: rw12(0xae, dpoCheck), class: writeClass, traits: medium | modifies | slow, begin: beginWriteVerify, run: runWriteVerify},
	{opcode: 0x8e, action: none, usage: rw16(0x8e, dpoCheck), class: writeClass, traits: medium | modifies | slow, begin: beginWriteVerify, run: runWriteVerify},
	// SYNCHRONIZE CACHE (10), (16)
	{opcode: 0x35, action: none, usage: rw10(0x35, immed), class: writeClass, traits: medium, begin: beginSync, run: runSync},
	{opcode: 0x91, action: none, usage: rw16(0x91, immed), class: writeClass, traits: medium, begin: beginSync, run: runSync},
	// PRE-FETCH (10), (16)
	{opcode: 0x34, action: none, usage: rw10(0x34, immed), class: readClass, traits: medium | slow, begin: beginSync, run: runPrefetch},
	{opcode: 0x90, action: none, usage: rw16(0x90, immed), class: readClass, traits: medium | slow, begin: beginSync, run: runPrefetch},
	// READ CAPACITY (10), (16), GET LBA STATUS
	{opcode: 0x25, action: none, usage: cdb(0x25, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0x01), class: free, traits: medium, begin: beginCapacity10, run: runCapacity10},
	{opcode: 0x9e, action: 0x10, usage: cdb(0x9e, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01), class: free, traits: medium, begin: beginAlloc10, run: runCapacity16},
	{opcode: 0x9e, action: 0x12, usage: cdb(0x9e, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0), class: readClass, traits: medium | slow, begin: beginLBAStatus, run: runLBAStatus},
	// START STOP UNIT
	{opcode: 0x1b, action: none, usage: cdb(0x1b, 0x01, 0, 0x0f, 0xf7), class: refined, begin: beginStartStop, run: runStartStop},
	// UNMAP
	{opcode: 0x42, action: none, usage: cdb(0x42, 0, 0, 0, 0, 0, 0x1f, 0xff, 0xff), class: writeClass, traits: medium | modifies | slow, begin: beginUnmap, run: runUnmap},
	// WRITE SAME (10), (16)
	{opcode: 0x41, action: none, usage: rw10(0x41, wsUnmap|wsAnchor), class: writeClass, traits: medium | modifies | slow, begin: beginWriteSame, run: runWriteSame},
	{opcode: 0x93, action: none, usage: rw16(0x93, wsUnmap|wsAnchor|wsNoData), class: writeClass, traits: medium | modifies | slow, begin: beginWriteSame, run: runWriteSame},
	// COMPARE AND WRITE
	{opcode: 0x89, action: none, usage: cdb(0x89, dpoFua, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0xff, 0x1f), class: writeClass, traits: medium | modifies | slow, begin: beginCompareWrite, run: runCompareWrite},
	// ORWRITE (16)
	{opcode: 0x8b, action: none, usage: rw16(0x8b, dpoFua), class: writeClass, traits: medium | modifies | slow, begin: beginWrite, run: runOrWrite},
	// WRITE ATOMIC (16)
	{opcode: 0x9c, action: none, usage: rw16(0x9c, dpoFua), class: writeClass, traits: medium | modifies | slow, begin: beginWriteAtomic, run: runWriteAtomic},
	// READ DEFECT DATA (10), (12)
	{opcode: 0x37, action: none, usage: cdb(0x37, 0, 0x1f, 0, 0, 0, 0, 0xff, 0xff), class: free, traits: medium, begin: beginDefects10, run: runDefects10},
	{opcode: 0xb7, action: none, usage: cdb(0xb7, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0), class: free, traits: medium, begin: beginAlloc6, run: runDefects12},
	// SANITIZE: overwrite, block erase, exit failure mode
	{opcode: 0x48, action: sanitizeOverwrite, usage: cdbSanitize, class: writeClass, traits: medium | modifies | sanitized | slow, begin: beginSanitize, run: runSanitize},
	{opcode: 0x48, action: sanitizeErase, usage: cdbSanitize, class: writeClass, traits: medium | modifies | sanitized | slow, begin: beginSanitize, run: runSanitize},
	{opcode: 0x48, action: sanitizeExit, usage: cdbSanitize, class: writeClass, traits: medium | modifies | sanitized | slow, begin: beginSanitize, run: runSanitize},
}

var cdbSanitize = cdb(0x48, 0xbf, 0, 0, 0, 0, 0, 0xff, 0xff)

// rw6 to rw16 are CDB usage data of commands with a block address and a number
// of blocks: flags are those of byte 1.
//
//	6   op | lba 3 | blocks | control
//	10  op | flags | lba 4 | group | blocks 2 | control
//	12  op | flags | lba 4 | blocks 4 | group | control
//	16  op | flags | lba 8 | blocks 4 | group | control
func rw6(op byte) []byte { return cdb(op, 0x1f, 0xff, 0xff, 0xff) }

func rw10(op, flags byte) []byte {
	return cdb(op, flags, 0xff, 0xff, 0xff, 0xff, 0x1f, 0xff, 0xff)
}

func rw12(op, flags byte) []byte {
	return cdb(op, flags, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f)
}

func rw16(op, flags byte) []byte {
	return cdb(op, flags, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f)
}
