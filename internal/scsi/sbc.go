package scsi

// Bits of CDBs that SBC commands look at.
const (
	dpoFua = 0x18
)

// sbcOperations are the commands of SBC-3.
var sbcOperations = []*operation{
	{opcode: 0x08, action: none, usage: rw6(0x08), class: readClass, traits: medium, begin: beginRead, run: runRead},
	{opcode: 0x28, action: none, usage: rw10(0x28, dpoFua), class: readClass, traits: medium, begin: beginRead, run: runRead},
	{opcode: 0xa8, action: none, usage: rw12(0xa8, dpoFua), class: readClass, traits: medium, begin: beginRead, run: runRead},
	{opcode: 0x88, action: none, usage: rw16(0x88, dpoFua), class: readClass, traits: medium, begin: beginRead, run: runRead},
	{opcode: 0x0a, action: none, usage: rw6(0x0a), class: writeClass, traits: medium | modifies, begin: beginWrite, run: runWrite},
	{opcode: 0x2a, action: none, usage: rw10(0x2a, dpoFua), class: writeClass, traits: medium | modifies, begin: beginWrite, run: runWrite},
	{opcode: 0xaa, action: none, usage: rw12(0xaa, dpoFua), class: writeClass, traits: medium | modifies, begin: beginWrite, run: runWrite},
	{opcode: 0x8a, action: none, usage: rw16(0x8a, dpoFua), class: writeClass, traits: medium | modifies, begin: beginWrite, run: runWrite},
}

// rw6 to rw16 are CDB usage data of commands with a block address and a number
// of blocks: flags are those of byte 1.
//
//	6   op | lba 3 | blocks | control
//	10  op | flags | lba 4 | group | blocks 2 | control
//	12  op | flags | lba 4 | blocks 4 | group | control
//	16  op | flags | lba 8 | blocks 4 | group | control
func rw6(op byte) []byte {
	return []byte{op, 0x1f, 0xff, 0xff, 0xff, 0}
}

func rw10(op, flags byte) []byte {
	return []byte{op, flags, 0xff, 0xff, 0xff, 0xff, 0x1f, 0xff, 0xff, 0}
}

func rw12(op, flags byte) []byte {
	return []byte{op, flags, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f, 0}
}

func rw16(op, flags byte) []byte {
	return []byte{op, flags, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f, 0}
}
