package scsi

import (
	"encoding/binary"

	"varve/internal/fail"
)

var be = binary.BigEndian

// Sense keys (SPC-4 table 28).
const (
	keyNone           = 0x0
	keyNotReady       = 0x2
	keyMediumError    = 0x3
	keyHardwareError  = 0x4
	keyIllegalRequest = 0x5
	keyUnitAttention  = 0x6
	keyDataProtect    = 0x7
	keyCopyAborted    = 0xa
	keyAbortedCommand = 0xb
	keyMiscompare     = 0xe
)

// sense is why a command ends with CHECK CONDITION. The zero value is none.
type sense struct {
	key, asc, ascq byte
	hasInfo        bool
	info           uint64
	field          uint16 // with hasField: the byte in error, for ILLEGAL REQUEST
	hasField       bool
	inData         bool // field is in the parameter list, not the CDB
	progress       uint16
	hasProgress    bool
}

func (s sense) is() bool { return s != sense{} }

// Refusals of commands, each with its additional sense.
var (
	senseOpcode       = sense{key: keyIllegalRequest, asc: 0x20}             // INVALID COMMAND OPERATION CODE
	senseLBA          = sense{key: keyIllegalRequest, asc: 0x21}             // LOGICAL BLOCK ADDRESS OUT OF RANGE
	senseCDB          = sense{key: keyIllegalRequest, asc: 0x24}             // INVALID FIELD IN CDB
	senseLUN          = sense{key: keyIllegalRequest, asc: 0x25}             // LOGICAL UNIT NOT SUPPORTED
	senseListLength   = sense{key: keyIllegalRequest, asc: 0x1a}             // PARAMETER LIST LENGTH ERROR
	senseParameter    = sense{key: keyIllegalRequest, asc: 0x26}             // INVALID FIELD IN PARAMETER LIST
	senseValue        = sense{key: keyIllegalRequest, asc: 0x26, ascq: 0x02} // PARAMETER VALUE INVALID
	senseRelease      = sense{key: keyIllegalRequest, asc: 0x26, ascq: 0x04} // INVALID RELEASE OF PERSISTENT RESERVATION
	senseRegistrants  = sense{key: keyIllegalRequest, asc: 0x55, ascq: 0x04} // INSUFFICIENT REGISTRATION RESOURCES
	sensePrevented    = sense{key: keyIllegalRequest, asc: 0x53, ascq: 0x02} // MEDIUM REMOVAL PREVENTED
	senseStopped      = sense{key: keyNotReady, asc: 0x04, ascq: 0x02}       // INITIALIZING COMMAND REQUIRED
	senseStandby      = sense{key: keyNotReady, asc: 0x04, ascq: 0x0b}       // TARGET PORT IN STANDBY STATE
	senseUnavailable  = sense{key: keyNotReady, asc: 0x04, ascq: 0x0c}       // TARGET PORT IN UNAVAILABLE STATE
	senseMiscompare   = sense{key: keyMiscompare, asc: 0x1d}                 // MISCOMPARE DURING VERIFY OPERATION
	senseProtected    = sense{key: keyDataProtect, asc: 0x27}                // WRITE PROTECTED
	senseSoftProtect  = sense{key: keyDataProtect, asc: 0x27, ascq: 0x02}    // LOGICAL UNIT SOFTWARE WRITE PROTECTED
	senseNoSpace      = sense{key: keyDataProtect, asc: 0x27, ascq: 0x07}    // SPACE ALLOCATION FAILED WRITE PROTECT
	senseSanitizing   = sense{key: keyNotReady, asc: 0x04, ascq: 0x1b}       // SANITIZE IN PROGRESS
	senseSanitizeFail = sense{key: keyMediumError, asc: 0x31, ascq: 0x03}    // SANITIZE COMMAND FAILED
)

// atByte tells which byte of the CDB is in error.
func (s sense) atByte(i int) sense {
	s.field, s.hasField = uint16(i), true
	return s
}

// inList tells which byte of the parameter list is in error.
func (s sense) inList(i int) sense {
	s = s.atByte(i)
	s.inData = true
	return s
}

// at adds the INFORMATION field: a block, an offset or a residue.
func (s sense) at(info uint64) sense {
	s.info, s.hasInfo = info, true
	return s
}

// of maps an error to sense. The one table of the protocol.
func of(err error) sense {
	switch fail.KindOf(err) {
	case fail.NoSpace:
		return senseNoSpace
	case fail.ReadOnly, fail.Denied:
		return senseProtected
	case fail.Invalid, fail.TooBig:
		return senseCDB
	case fail.Unsupported:
		return senseOpcode
	case fail.NotFound, fail.Stale, fail.OutsideHistory: // the volume was destroyed
		return sense{key: keyNotReady, asc: 0x3a} // MEDIUM NOT PRESENT
	case fail.Busy:
		return sense{key: keyNotReady, asc: 0x04, ascq: 0x01} // IN PROCESS OF BECOMING READY
	case fail.Canceled:
		return sense{key: keyAbortedCommand} // NO ADDITIONAL SENSE INFORMATION
	case fail.Corrupt:
		return sense{key: keyMediumError, asc: 0x11} // UNRECOVERED READ ERROR
	case fail.FailStopped:
		return sense{key: keyDataProtect, asc: 0x27, ascq: 0x01} // HARDWARE WRITE PROTECTED
	case fail.IO:
		return sense{key: keyHardwareError, asc: 0x44} // INTERNAL TARGET FAILURE
	}
	return sense{key: keyHardwareError, asc: 0x44}
}

// encode writes sense data into p, at least MaxSense bytes, and returns its
// length (SPC-4 4.5).
//
//	fixed       70 | 0 | key | information 4 | 10 | 0 4 | asc | ascq | 0 | key specific 3
//	descriptor  72 | key | asc | ascq | 0 3 | length | 00 0a 80 00 information 8 | 02 06 00 00 key specific 3 00
func (s sense) encode(p []byte, descriptor bool) int {
	clear(p[:MaxSense])
	if descriptor {
		return s.encodeDescriptors(p)
	}
	p[0], p[2], p[7], p[12], p[13] = 0x70, s.key, 10, s.asc, s.ascq
	if s.hasInfo && s.info <= 0xffffffff {
		p[0] |= 0x80
		be.PutUint32(p[3:], uint32(s.info))
	}
	s.keySpecific(p[15:18])
	return 18
}

func (s sense) encodeDescriptors(p []byte) int {
	p[0], p[1], p[2], p[3] = 0x72, s.key, s.asc, s.ascq
	n := 8
	if s.hasInfo {
		p[n], p[n+1], p[n+2] = 0x00, 0x0a, 0x80
		be.PutUint64(p[n+4:], s.info)
		n += 12
	}
	if s.hasField || s.hasProgress {
		p[n], p[n+1] = 0x02, 0x06
		s.keySpecific(p[n+4 : n+7])
		n += 8
	}
	p[7] = byte(n - 8)
	return n
}

// keySpecific writes the sense key specific bytes: a field pointer or progress.
func (s sense) keySpecific(p []byte) {
	switch {
	case s.hasField:
		p[0] = 0x80
		if !s.inData {
			p[0] |= 0x40
		}
		be.PutUint16(p[1:], s.field)
	case s.hasProgress:
		p[0] = 0x80
		be.PutUint16(p[1:], s.progress)
	}
}
