package iscsi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	client "varve/test/iscsiclient"
)

// crowd has so many targets, which all may use.
type crowd struct {
	inner
	n int
}

func (w crowd) Targets(context.Context) ([]Target, error) {
	all := make([]Target, w.n)
	for i := range all {
		name := fmt.Sprintf("%s%0100d", Prefix, i)
		all[i] = Target{Name: name, LUNs: []LUN{{Access: Access{Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}}}
	}
	return all, nil
}

// The targets are listed in one PDU where the initiator takes one so long, and in
// several, of which it asks for each, where it does not.
func TestManyTargets(t *testing.T) {
	for _, tt := range []struct {
		targets, segment, pdus int
	}{
		{1, 8192, 1},
		{1200, 262144, 1},
		{3000, 262144, 2},
		{100, 512, 32},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := New(crowd{n: tt.targets}, []net.Listener{l}, Options{})
		ended := make(chan error, 1)
		go func() { ended <- srv.Serve() }()
		c, err := client.Login(l.Addr().String(), client.Options{Keys: map[string]string{"MaxRecvDataSegmentLength": fmt.Sprint(tt.segment), "HeaderDigest": "CRC32C", "DataDigest": "CRC32C"}})
		if err != nil {
			t.Fatal(err)
		}
		var text []byte
		pdus, more := 0, uint32(client.NoTag)
		for pdus == 0 || more != client.NoTag {
			var keys []byte
			if pdus == 0 {
				keys = client.Text(map[string]string{"SendTargets": "All"})
			}
			r := askText(t, c, more, keys)
			if len(r.Data) > tt.segment {
				t.Errorf("%d bytes for one that takes %d", len(r.Data), tt.segment)
			}
			more = r.Word(20)
			text = append(text, r.Data...)
			pdus++
		}
		if n := strings.Count(string(text), "TargetName="); n != tt.targets || pdus != tt.pdus {
			t.Errorf("%d targets in %d PDUs, not %d in %d (%d bytes)", n, pdus, tt.targets, tt.pdus, len(text))
		}
		c.Close()
		if err := errors.Join(srv.Shutdown(t.Context()), <-ended); err != nil {
			t.Error(err)
		}
	}
}
