package iscsi

import (
	"varve/internal/fail"
	"varve/internal/scsi"
)

// OpNames are what Options.Observe is told.
var OpNames = []string{"read", "write", "flush", "unmap", "write-same", "compare-and-write", "extended-copy", "reserve", "other"}

// opName names a command by its operation code.
func opName(code byte) string {
	switch code {
	case 0x08, 0x28, 0xa8, 0x88:
		return "read"
	case 0x0a, 0x2a, 0xaa, 0x8a, 0x2e, 0xae, 0x8e, 0x9c:
		return "write"
	case 0x35, 0x91:
		return "flush"
	case 0x42:
		return "unmap"
	case 0x41, 0x93:
		return "write-same"
	case 0x89:
		return "compare-and-write"
	case 0x83:
		return "extended-copy"
	case 0x5e, 0x5f, 0x16, 0x17:
		return "reserve"
	}
	return "other"
}

var errStatus = fail.New(fail.Other, "a status other than GOOD")

func statusError(s scsi.Status) error {
	if s == scsi.Good {
		return nil
	}
	return errStatus
}
