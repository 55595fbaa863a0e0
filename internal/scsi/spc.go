package scsi

// spcOperations are the commands of SPC-4.
var spcOperations = []*operation{
	{opcode: 0x00, action: none, usage: []byte{0x00, 0, 0, 0, 0, 0}, traits: medium, begin: beginNothing, run: runNothing}, // TEST UNIT READY
}

func beginNothing(*Command) sense { return sense{} }

func runNothing(*Command, []byte, []byte, bool) bool { return true }
