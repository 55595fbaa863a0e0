package scsi

// spcOperations are the commands of SPC-4, and RESERVE and RELEASE of SPC-2.
var spcOperations = []*operation{
	// TEST UNIT READY
	{opcode: 0x00, action: none, usage: cdb(0x00, 0, 0, 0, 0), class: free, traits: medium, begin: beginNothing, run: runNothing},
	// REQUEST SENSE
	{opcode: 0x03, action: none, usage: cdb(0x03, 1, 0, 0, 0xff), traits: despite | sanitized | anyPort, begin: beginRequestSense, run: runRequestSense},
	// INQUIRY
	{opcode: 0x12, action: none, usage: cdb(0x12, 1, 0xff, 0xff, 0xff), traits: despite | sanitized | anyPort, begin: beginInquiry, run: runInquiry},
	// MODE SELECT (6), (10)
	{opcode: 0x15, action: none, usage: cdb(0x15, 0x11, 0, 0, 0xff), class: writeClass, begin: beginModeSelect, run: runModeSelect},
	{opcode: 0x55, action: none, usage: cdb(0x55, 0x11, 0, 0, 0, 0, 0, 0xff, 0xff), class: writeClass, begin: beginModeSelect, run: runModeSelect},
	// RESERVE (6), RELEASE (6)
	{opcode: 0x16, action: none, usage: cdb(0x16, 0, 0, 0, 0), class: writeClass, traits: slow, begin: beginNothing, run: runReserve},
	{opcode: 0x17, action: none, usage: cdb(0x17, 0, 0, 0, 0), class: always, begin: beginNothing, run: runRelease},
	// MODE SENSE (6), (10)
	{opcode: 0x1a, action: none, usage: cdb(0x1a, 0x08, 0xff, 0xff, 0xff), class: readClass, traits: sanitized, begin: beginModeSense, run: runModeSense},
	{opcode: 0x5a, action: none, usage: cdb(0x5a, 0x18, 0xff, 0xff, 0, 0, 0, 0xff, 0xff), class: readClass, traits: sanitized, begin: beginModeSense, run: runModeSense},
	// PREVENT ALLOW MEDIUM REMOVAL
	{opcode: 0x1e, action: none, usage: cdb(0x1e, 0, 0, 0, 0x03), class: refined, begin: beginNothing, run: runPrevent},
	// PERSISTENT RESERVE IN
	{opcode: 0x5e, action: prReadKeys, usage: cdbPRIn, class: free, traits: sanitized, begin: beginPRIn, run: runPRIn},
	{opcode: 0x5e, action: prReadReserved, usage: cdbPRIn, class: free, traits: sanitized, begin: beginPRIn, run: runPRIn},
	{opcode: 0x5e, action: prCapabilities, usage: cdbPRIn, class: free, traits: sanitized, begin: beginPRIn, run: runPRIn},
	{opcode: 0x5e, action: prFullStatus, usage: cdbPRIn, class: free, traits: sanitized, begin: beginPRIn, run: runPRIn},
	// PERSISTENT RESERVE OUT
	{opcode: 0x5f, action: prRegister, usage: cdbPROut, class: free, traits: slow, begin: beginPROut, run: runPROut},
	{opcode: 0x5f, action: prReserve, usage: cdbPROut, class: free, traits: slow, begin: beginPROut, run: runPROut},
	{opcode: 0x5f, action: prRelease, usage: cdbPROut, class: free, traits: slow, begin: beginPROut, run: runPROut},
	{opcode: 0x5f, action: prClear, usage: cdbPROut, class: free, traits: slow, begin: beginPROut, run: runPROut},
	{opcode: 0x5f, action: prPreempt, usage: cdbPROut, class: free, traits: slow, begin: beginPROut, run: runPROut},
	{opcode: 0x5f, action: prPreemptAbort, usage: cdbPROut, class: free, traits: slow, begin: beginPROut, run: runPROut},
	{opcode: 0x5f, action: prRegisterIgnore, usage: cdbPROut, class: free, traits: slow, begin: beginPROut, run: runPROut},
	// EXTENDED COPY (LID1), RECEIVE COPY RESULTS
	{opcode: 0x83, action: 0x00, usage: cdb(0x83, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0), class: writeClass, traits: medium | slow, begin: beginCopy, run: runCopy},
	{opcode: 0x84, action: 0x00, usage: cdb(0x84, 0x1f, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0), class: readClass, begin: beginAlloc10, run: runCopyStatus},
	{opcode: 0x84, action: 0x03, usage: cdb(0x84, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0), class: readClass, begin: beginAlloc10, run: runCopyParameters},
	// REPORT LUNS
	{opcode: 0xa0, action: none, usage: cdb(0xa0, 0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0), traits: despite | sanitized | anyPort, begin: beginReportLUNs, run: runReportLUNs},
	// MAINTENANCE IN: target port groups, operation codes, task management functions
	{opcode: 0xa3, action: 0x0a, usage: cdb(0xa3, 0x3f, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0), class: free, traits: sanitized | anyPort, begin: beginPortGroups, run: runPortGroups},
	{opcode: 0xa3, action: 0x0c, usage: cdb(0xa3, 0x1f, 0x87, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0), class: readClass, traits: sanitized | anyPort, begin: beginOpcodes, run: runOpcodes},
	{opcode: 0xa3, action: 0x0d, usage: cdb(0xa3, 0x1f, 0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0), class: readClass, traits: sanitized | anyPort, begin: beginTaskFunctions, run: runTaskFunctions},
	// MAINTENANCE OUT: SET TARGET PORT GROUPS
	{opcode: 0xa4, action: 0x0a, usage: cdb(0xa4, 0x1f, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0), class: writeClass, traits: anyPort, begin: beginSetGroups, run: runSetGroups},
}

var (
	cdbPRIn  = cdb(0x5e, 0x1f, 0, 0, 0, 0, 0, 0xff, 0xff)
	cdbPROut = cdb(0x5f, 0x1f, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff)
)

// cdb is the CDB usage data with a control byte at its end, of which nothing is
// looked at.
func cdb(p ...byte) []byte { return append(p, 0) }

func beginNothing(*Command) sense { return sense{} }

func runNothing(*Command, []byte, []byte, bool) bool { return true }
