package iscsi

import (
	"testing"
)

// What each operational key is answered with.
func TestNegotiate(t *testing.T) {
	for _, tt := range []struct {
		key, value string
		discovery  bool
		want       string
	}{
		// Data in any order is what no initiator may send us, also not one that would.
		{"DataPDUInOrder", "No", false, "Yes"},
		{"DataPDUInOrder", "Yes", false, "Yes"},
		{"DataSequenceInOrder", "No", false, "Yes"},
		{"DataSequenceInOrder", "Yes", false, "Yes"},
		{"DataSequenceInOrder", "perhaps", false, reject},
		{"DataSequenceInOrder", "No", true, irrelevant},
		{"InitialR2T", "No", false, "No"},
		{"InitialR2T", "Yes", false, "Yes"},
		{"ImmediateData", "No", false, "No"},
		{"MaxBurstLength", "16777215", false, "4194304"},
		{"MaxBurstLength", "16777216", false, reject},
		{"MaxBurstLength", "511", false, reject},
		{"MaxBurstLength", "-1", false, reject},
		{"MaxBurstLength", "0x1000", false, "4096"},
		{"MaxOutstandingR2T", "0", false, reject},
		{"MaxConnections", "8", false, "1"},
		{"ErrorRecoveryLevel", "2", false, "0"},
		{"DefaultTime2Retain", "20", false, "0"},
		{"DefaultTime2Wait", "0", false, "2"},
		{"HeaderDigest", "x,CRC32C,None", false, "CRC32C"},
		{"DataDigest", "x", false, reject},
		{"X-com.example.key", "1", false, notUnderstood},
	} {
		p := defaultParams()
		if got, _ := p.negotiate(tt.key, tt.value, tt.discovery); got != tt.want {
			t.Errorf("%s=%s (discovery %v): %s, not %s", tt.key, tt.value, tt.discovery, got, tt.want)
		}
	}
}
