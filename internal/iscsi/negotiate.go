package iscsi

import (
	"strconv"
)

// What we offer and accept (RFC 7143, 13).
const (
	// recvSegment is our MaxRecvDataSegmentLength: bytes of data in one PDU. In
	// login it is 8192 for both sides.
	recvSegment  = 256 << 10
	loginSegment = 8192

	maxBurst   = 4 << 20   // bytes per R2T, and of Data-In until F
	firstBurst = 256 << 10 // bytes of data without R2T
	maxR2T     = 16        // outstanding for a command

	leastSegment = 512
	mostSegment  = 1<<24 - 1

	// ourSendSegment bounds the data of a PDU of ours, however much the
	// initiator takes: bytes.
	ourSendSegment = 1 << 20
)

// params are the results of a negotiation.
type params struct {
	digests        digests
	initialR2T     bool
	immediateData  bool
	maxBurst       int
	firstBurst     int
	maxOutstanding int
	sendSegment    int // the initiator's MaxRecvDataSegmentLength, at most ours
	timeToWait     int // seconds
	timeToRetain   int
}

func defaultParams() params {
	return params{
		initialR2T: true, immediateData: true, maxBurst: 262144, firstBurst: 65536,
		maxOutstanding: 1, sendSegment: loginSegment, timeToWait: 2, timeToRetain: 20,
	}
}

// Answers that are no values.
const (
	reject        = "Reject"
	notUnderstood = "NotUnderstood"
	irrelevant    = "Irrelevant"
)

// negotiate answers one operational key of the initiator and notes the result.
// declared means that there is no answer to it.
func (p *params) negotiate(key, value string, discovery bool) (answer string, declared bool) {
	switch key {
	case "HeaderDigest":
		return p.digest(&p.digests.header, value), false
	case "DataDigest":
		return p.digest(&p.digests.data, value), false
	case "InitialR2T":
		return either(&p.initialR2T, value, discovery), false
	case "ImmediateData":
		return both(&p.immediateData, value, discovery), false
	case "MaxBurstLength":
		return least(&p.maxBurst, value, 512, mostSegment, maxBurst, discovery), false
	case "FirstBurstLength":
		return least(&p.firstBurst, value, 512, mostSegment, firstBurst, discovery), false
	case "MaxOutstandingR2T":
		return least(&p.maxOutstanding, value, 1, 65535, maxR2T, discovery), false
	case "MaxConnections":
		n := 1
		return least(&n, value, 1, 65535, 1, discovery), false
	case "ErrorRecoveryLevel":
		n := 0
		return least(&n, value, 0, 2, 0, false), false
	case "DefaultTime2Wait":
		return greatest(&p.timeToWait, value, 3600), false
	case "DefaultTime2Retain":
		return least(&p.timeToRetain, value, 0, 3600, 0, false), false
	case "DataPDUInOrder", "DataSequenceInOrder":
		return always(value, discovery), false
	case "IFMarker", "OFMarker":
		return "No", false
	case "IFMarkInt", "OFMarkInt":
		return irrelevant, false
	case "TaskReporting":
		if _, ok := listed(value, "RFC3720"); ok {
			return "RFC3720", false
		}
		return reject, false
	case "iSCSIProtocolLevel":
		n := 1
		return least(&n, value, 0, 31, 1, false), false
	case "MaxRecvDataSegmentLength":
		n, ok := number(value)
		if !ok || n < leastSegment || n > mostSegment {
			return reject, false
		}
		p.sendSegment = min(int(n), ourSendSegment)
		return "", true
	case "InitiatorAlias", "X#NodeArchitecture":
		return "", true
	}
	return notUnderstood, false
}

func (p *params) digest(on *bool, value string) string {
	v, ok := listed(value, "CRC32C", "None")
	if !ok {
		return reject
	}
	*on = v == "CRC32C"
	return v
}

func yesNo(b bool) string {
	if b {
		return "Yes"
	}
	return "No"
}

// either is the result function OR: ours is what we want.
func either(v *bool, value string, discovery bool) string {
	switch {
	case discovery:
		return irrelevant
	case value == "Yes":
		*v = true
	case value == "No":
		*v = false // we want no more than the initiator
	default:
		return reject
	}
	return yesNo(*v)
}

// always is the result function OR of what we insist on: data in order, for what
// comes otherwise fails its command (see transfer).
func always(value string, discovery bool) string {
	switch {
	case discovery:
		return irrelevant
	case value != "Yes" && value != "No":
		return reject
	}
	return "Yes"
}

// both is the result function AND; we can do it.
func both(v *bool, value string, discovery bool) string {
	if !discovery && value != "Yes" && value != "No" {
		return reject
	}
	if discovery {
		return irrelevant
	}
	*v = value == "Yes"
	return yesNo(*v)
}

// least is the result function minimum of value and ours; low and high bound
// what is a value at all.
func least(v *int, value string, low, high, ours int, discovery bool) string {
	n, ok := number(value)
	switch {
	case discovery:
		return irrelevant
	case !ok || int64(n) < int64(low) || int64(n) > int64(high):
		return reject
	}
	*v = min(int(n), ours)
	return strconv.Itoa(*v)
}

// greatest is the result function maximum; we want 2 at least.
func greatest(v *int, value string, high uint32) string {
	n, ok := number(value)
	if !ok || n > high {
		return reject
	}
	*v = max(int(n), 2)
	return strconv.Itoa(*v)
}

// settle makes the results agree with each other.
func (p *params) settle() {
	p.firstBurst = min(p.firstBurst, p.maxBurst)
}
