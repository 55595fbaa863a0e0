package scsi

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// unhex reads hexadecimal digits; spaces and what follows # are left out.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, "#")
		b.WriteString(strings.Join(strings.Fields(line), ""))
	}
	p, err := hex.DecodeString(b.String())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func check(key, asc, ascq byte) sense { return sense{key: key, asc: asc, ascq: ascq} }

// A disk of 8 MiB, 0x4000 blocks: what each command says, byte by byte. A want of
// "" is no data; where sense is given the command is refused.
func TestBytes(t *testing.T) {
	n := newRig(t).login(portA, 1)
	block := strings.Repeat("61", BlockSize)
	zero := strings.Repeat("00", BlockSize)
	for _, x := range []struct {
		name, cdb, out, want string
		sense                sense
	}{
		{"TEST UNIT READY", "00 00 00 00 00 00", "", "", sense{}},
		{"no such command", "ff 00 00 00 00 00", "", "", check(5, 0x20, 0)},
		{"a control byte", "00 00 00 00 00 04", "", "", check(5, 0x24, 0)},
		{"REQUEST SENSE", "03 00 00 00 ff 00", "", "70 00 00 00 00 00 00 0a 00 00 00 00 00 00 00 00 00 00", sense{}},
		{"REQUEST SENSE, descriptors", "03 01 00 00 ff 00", "", "72 00 00 00 00 00 00 00", sense{}},
		{"INQUIRY", "12 00 00 00 24 00", "", "00 00 06 12 5b 38 10 02 56 41 52 56 45 20 20 20 56 4f 4c 55 4d 45 20 20 20 20 20 20 20 20 20 20 30 30 30 31", sense{}},
		{"INQUIRY, a page without EVPD", "12 00 83 00 ff 00", "", "", check(5, 0x24, 0)},
		{"INQUIRY, no such page", "12 01 c0 00 ff 00", "", "", check(5, 0x24, 0)},
		{"VPD 00", "12 01 00 00 ff 00", "", "00 00 00 08 00 80 83 86 8f b0 b1 b2", sense{}},
		{"VPD B0", "12 01 b0 00 ff 00", "", `00 b0 00 3c 00 ff 00 08 00 00 20 00 00 00 08 00 00 02 00 00 ff ff ff ff 00 00 01 00
			00 00 00 08 80 00 00 00 00 00 00 00 00 00 ff f8 00 00 04 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00`, sense{}},
		{"VPD B1", "12 01 b1 00 0a 00", "", "00 b1 00 3c 00 01 00 40 02 00", sense{}},
		{"VPD B2", "12 01 b2 00 ff 00", "", "00 b2 00 04 15 e4 02 00", sense{}},
		{"READ CAPACITY (10)", "25 00 00 00 00 00 00 00 00 00", "", "00 00 3f ff 00 00 02 00", sense{}},
		{"READ CAPACITY (10), a block without PMI", "25 00 00 00 00 01 00 00 00 00", "", "", check(5, 0x24, 0)},
		{"READ CAPACITY (16)", "9e 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00", "", "00 00 00 00 00 00 3f ff 00 00 02 00 00 03 c0 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00", sense{}},
		{"READ CAPACITY (16), cut", "9e 10 00 00 00 00 00 00 00 00 00 00 00 08 00 00", "", "00 00 00 00 00 00 3f ff", sense{}},
		{"no such service action", "9e 1f 00 00 00 00 00 00 00 00 00 00 00 20 00 00", "", "", check(5, 0x24, 0)},
		{"REPORT LUNS", "a0 00 00 00 00 00 00 00 00 ff 00 00", "", "00 00 00 10 00 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 00 00 00", sense{}},
		{"REPORT LUNS, too short", "a0 00 00 00 00 00 00 00 00 0f 00 00", "", "", check(5, 0x24, 0)},
		{"MODE SENSE (6), caching", "1a 00 08 00 ff 00", "", "1f 00 10 08 00 00 40 00 00 00 02 00 08 12 04 00 ff ff 00 00 00 00 00 00 00 00 00 00 00 00 00 00", sense{}},
		{"MODE SENSE (6), control, changeable, DBD", "1a 08 4a 00 ff 00", "", "0f 00 10 00 0a 0a 04 00 08 00 00 00 00 00 00 00", sense{}},
		{"MODE SENSE (10), exceptions, long LBA", "5a 10 1c 00 00 00 00 00 ff 00", "", "00 22 00 10 01 00 00 10 00 00 00 00 00 00 40 00 00 00 00 00 00 00 02 00 1c 0a 00 06 00 00 00 00 00 00 00 00", sense{}},
		{"MODE SENSE (6), saved", "1a 00 c8 00 ff 00", "", "", check(5, 0x39, 0)},
		{"MODE SENSE (6), no such page", "1a 00 05 00 ff 00", "", "", check(5, 0x24, 0)},
		{"MODE SELECT (6), what cannot change", "15 10 00 00 10 00", "00 00 00 00 0a 0a 00 10 00 00 00 00 ff ff 00 00", "", check(5, 0x26, 0)},
		{"MODE SELECT (6), cut", "15 10 00 00 08 00", "00 00 00 00 0a 0a 24 10", "", check(5, 0x1a, 0)},
		{"MODE SELECT (6), its own blocks", "15 10 00 00 18 00", "00 00 00 08 00 00 40 00 00 00 02 00 0a 0a 20 10 00 00 00 00 ff ff 00 00", "", sense{}},
		{"MODE SELECT (6), fewer blocks", "15 10 00 00 0c 00", "00 00 00 08 00 00 20 00 00 00 02 00", "", check(5, 0x26, 0)},
		{"MODE SELECT (6), longer blocks", "15 10 00 00 0c 00", "00 00 00 08 00 00 00 00 00 00 10 00", "", check(5, 0x26, 0)},
		{"MODE SELECT (10), long LBA, longer blocks", "55 10 00 00 00 00 00 00 18 00", "00 00 00 00 01 00 00 10 00 00 00 00 00 00 40 00 00 00 00 00 00 00 10 00", "", check(5, 0x26, 0)},
		{"READ (6)", "08 00 00 00 01 00", "", zero, sense{}},
		{"READ (10), the last and one more", "28 00 00 00 3f ff 00 00 02 00", "", "", check(5, 0x21, 0)},
		{"READ (10), RDPROTECT", "28 20 00 00 00 00 00 00 01 00", "", "", check(5, 0x24, 0)},
		{"READ (16), more than 4 MiB", "88 00 00 00 00 00 00 00 00 00 00 00 20 01 00 00", "", "", check(5, 0x24, 0)},
		{"READ (16), nothing at the end", "88 00 00 00 00 00 00 00 40 00 00 00 00 00 00 00", "", "", sense{}},
		{"READ (16), nothing beyond", "88 00 00 00 00 00 00 00 40 01 00 00 00 00 00 00", "", "", check(5, 0x21, 0)},
		{"READ (16), far away", "88 00 ff ff ff ff ff ff ff ff 00 00 00 01 00 00", "", "", check(5, 0x21, 0)},
		{"WRITE (10)", "2a 08 00 00 00 10 00 00 01 00", block, "", sense{}},
		{"READ (10) of it", "28 00 00 00 00 10 00 00 01 00", "", block, sense{}},
		{"VERIFY (10)", "2f 00 00 00 00 10 00 00 01 00", "", "", sense{}},
		{"VERIFY (10), the same", "2f 02 00 00 00 10 00 00 01 00", block, "", sense{}},
		{"VERIFY (16), not the same", "8f 02 00 00 00 00 00 00 00 10 00 00 00 01 00 00", zero, "", check(0xe, 0x1d, 0)},
		{"VERIFY (12), all the same block", "af 06 00 00 00 11 00 00 00 04 00 00", zero, "", sense{}},
		{"VERIFY (12), BYTCHK 2", "af 04 00 00 00 11 00 00 00 04 00 00", "", "", check(5, 0x24, 0)},
		{"WRITE AND VERIFY (10)", "2e 02 00 00 00 11 00 00 01 00", block, "", sense{}},
		{"COMPARE AND WRITE", "89 00 00 00 00 00 00 00 00 11 00 00 00 01 00 00", block + zero, "", sense{}},
		{"COMPARE AND WRITE, another", "89 00 00 00 00 00 00 00 00 11 00 00 00 01 00 00", block + zero, "", check(0xe, 0x1d, 0)},
		{"COMPARE AND WRITE, half of it", "89 00 00 00 00 00 00 00 00 11 00 00 00 01 00 00", block, "", check(5, 0x24, 0)},
		{"ORWRITE (16)", "8b 00 00 00 00 00 00 00 00 10 00 00 00 01 00 00", strings.Repeat("06", BlockSize), "", sense{}},
		{"READ (12) of it", "a8 00 00 00 00 10 00 00 00 01 00 00", "", strings.Repeat("67", BlockSize), sense{}},
		{"WRITE ATOMIC (16)", "9c 00 00 00 00 00 00 00 00 20 00 00 00 01 00 00", block, "", sense{}},
		{"WRITE ATOMIC (16), a boundary", "9c 00 00 00 00 00 00 00 00 20 00 08 00 01 00 00", "", "", check(5, 0x24, 0)},
		{"WRITE ATOMIC (16), too long", "9c 00 00 00 00 00 00 00 00 20 00 00 04 01 00 00", "", "", check(5, 0x24, 0)},
		{"PRE-FETCH (10)", "34 00 00 00 00 00 00 00 08 00", "", "", sense{}},
		{"PRE-FETCH (16), beyond", "90 00 00 00 00 00 00 00 40 00 00 00 00 01 00 00", "", "", check(5, 0x21, 0)},
		{"SYNCHRONIZE CACHE (10)", "35 02 00 00 00 00 00 00 00 00", "", "", sense{}},
		{"GET LBA STATUS", "9e 12 00 00 00 00 00 00 00 00 00 00 00 48 00 00", "", `00 00 00 44 00 00 00 00
			00 00 00 00 00 00 00 00 00 00 00 10 01 00 00 00
			00 00 00 00 00 00 00 10 00 00 00 08 00 00 00 00
			00 00 00 00 00 00 00 18 00 00 00 08 01 00 00 00
			00 00 00 00 00 00 00 20 00 00 00 08 00 00 00 00`, sense{}},
		{"GET LBA STATUS, beyond", "9e 12 00 00 00 00 00 00 40 00 00 00 00 58 00 00", "", "", check(5, 0x21, 0)},
		{"UNMAP", "42 00 00 00 00 00 00 00 18 00", "00 16 00 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00 00 08 00 00 00 00", "", sense{}},
		{"GET LBA STATUS of it", "9e 12 00 00 00 00 00 00 00 20 00 00 00 18 00 00", "", "00 00 00 14 00 00 00 00 00 00 00 00 00 00 00 20 00 00 3f e0 01 00 00 00", sense{}},
		{"UNMAP, nothing", "42 00 00 00 00 00 00 00 00 00", "", "", sense{}},
		{"UNMAP, no head", "42 00 00 00 00 00 00 00 04 00", "00 00 00 00", "", check(5, 0x1a, 0)},
		{"UNMAP, beyond", "42 00 00 00 00 00 00 00 18 00", "00 16 00 10 00 00 00 00 00 00 00 00 00 00 3f ff 00 00 00 02 00 00 00 00", "", check(5, 0x21, 0)},
		{"WRITE SAME (10)", "41 00 00 00 00 30 00 00 10 00", block, "", sense{}},
		{"READ (6) of it", "08 00 00 3f 01 00", "", block, sense{}},
		{"WRITE SAME (16), NDOB", "93 01 00 00 00 00 00 00 00 30 00 00 00 10 00 00", "", "", sense{}},
		{"READ (6) of that", "08 00 00 3f 01 00", "", zero, sense{}},
		{"WRITE SAME (16), anchor", "93 18 00 00 00 00 00 00 00 30 00 00 00 10 00 00", "", "", check(5, 0x24, 0)},
		{"WRITE SAME (16), two blocks", "93 00 00 00 00 00 00 00 00 30 00 00 00 10 00 00", block + block, "", check(5, 0x24, 0)},
		{"READ DEFECT DATA (10)", "37 00 1d 00 00 00 00 00 ff 00", "", "00 1d 00 00", sense{}},
		{"READ DEFECT DATA (12)", "b7 1d 00 00 00 00 00 00 00 ff 00 00", "", "00 1d 00 00 00 00 00 00", sense{}},
		{"PREVENT", "1e 00 00 00 01 00", "", "", sense{}},
		{"START STOP UNIT, eject", "1b 00 00 00 02 00", "", "", check(5, 0x24, 0)},
		{"START STOP UNIT, stop", "1b 00 00 00 00 00", "", "", sense{}},
		{"stopped", "28 00 00 00 00 00 00 00 01 00", "", "", check(2, 0x04, 2)},
		{"START STOP UNIT, start", "1b 00 00 00 01 00", "", "", sense{}},
		{"REPORT TARGET PORT GROUPS", "a3 0a 00 00 00 00 00 00 00 ff 00 00", "", "00 00 00 18 00 0f 00 01 00 00 00 01 00 00 00 01 00 0f 00 02 00 00 00 01 00 00 00 02", sense{}},
		{"REPORT SUPPORTED OPERATION CODES, WRITE (6)", "a3 0c 01 0a 00 00 00 00 00 ff 00 00", "", "00 03 00 06 0a 1f ff ff ff 00", sense{}},
		{"... by service action", "a3 0c 82 9e 00 10 00 00 00 ff 00 00", "", "00 83 00 10 9e 10 ff ff ff ff ff ff ff ff ff ff ff ff 01 00 00 0a 00 00 00 00 00 00 00 00 00 00", sense{}},
		{"... one that is not there", "a3 0c 03 ff 00 00 00 00 00 ff 00 00", "", "00 01 00 00", sense{}},
		{"... with a service action it has not", "a3 0c 02 0a 00 00 00 00 00 ff 00 00", "", "", check(5, 0x24, 0)},
		{"REPORT SUPPORTED TMFs", "a3 0d 00 00 00 00 00 00 00 04 00 00", "", "da 00 00 00", sense{}},
		{"PR IN, READ KEYS", "5e 00 00 00 00 00 00 00 ff 00", "", "00 00 00 00 00 00 00 00", sense{}},
		{"PR IN, REPORT CAPABILITIES", "5e 02 00 00 00 00 00 00 ff 00", "", "00 08 05 80 ea 01 00 00", sense{}},
		{"PR OUT, a short list", "5f 00 00 00 00 00 00 00 10 00", "", "", check(5, 0x1a, 0)},
		{"PR OUT, no such action", "5f 1e 00 00 00 00 00 00 18 00", "", "", check(5, 0x24, 0)},
		{"PR OUT, SPEC_I_PT", "5f 00 00 00 00 00 00 00 18 00", "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 00 08 00 00 00", "", check(5, 0x26, 0)},
		{"PR OUT, REGISTER AND MOVE", "5f 07 00 00 00 00 00 00 18 00", "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 00", "", check(5, 0x24, 0)},
		{"EXTENDED COPY, a list identifier and none", "83 00 00 00 00 00 00 00 00 00 00 00 00 10 00 00", "01 18 00 00 00 00 00 00 00 00 00 00 00 00 00 00", "", check(5, 0x26, 0)},
		{"RECEIVE COPY RESULTS, none", "84 00 01 00 00 00 00 00 00 00 00 00 00 ff 00 00", "", "", check(5, 0x24, 0)},
		{"SANITIZE, not allowed", "48 02 00 00 00 00 00 00 00 00", "", "", check(7, 0x27, 0)},
		{"SANITIZE, exit failure mode", "48 1f 00 00 00 00 00 00 00 00", "", "", sense{}},
	} {
		a := n.do(unhex(t, x.cdb), unhex(t, x.out))
		switch want := unhex(t, x.want); {
		case x.sense.is() != (a.status == CheckCondition) || a.sense != x.sense:
			t.Errorf("%s: status %#x, sense %+v, want %+v", x.name, a.status, a.sense, x.sense)
		case !bytes.Equal(a.data, want):
			t.Errorf("%s:\n% x\nwant\n% x", x.name, a.data, want)
		case !x.sense.is() && a.length < int64(len(want)):
			t.Errorf("%s: Begin announced %d bytes, %d came", x.name, a.length, len(want))
		}
	}
}
