package iscsi

import (
	"bytes"
	"fmt"
	"testing"

	client "varve/test/iscsiclient"
)

// Data goes both ways whatever was negotiated, in every way in which it can come.
func TestTransfers(t *testing.T) {
	h := open(t, Options{}, 1)
	seed := byte(0)
	for _, keys := range []map[string]string{
		{},
		{"HeaderDigest": "CRC32C,None", "DataDigest": "CRC32C,None"},
		{"InitialR2T": "No"},
		{"InitialR2T": "No", "ImmediateData": "No", "DataDigest": "CRC32C"},
		{"ImmediateData": "No", "MaxOutstandingR2T": "4", "MaxBurstLength": "65536"},
		{"InitialR2T": "No", "FirstBurstLength": "5000", "MaxBurstLength": "30000", "MaxOutstandingR2T": "2", "MaxRecvDataSegmentLength": "3000", "DataDigest": "CRC32C"},
		{"MaxRecvDataSegmentLength": "512", "MaxBurstLength": "1000"},
		{"MaxRecvDataSegmentLength": "16777215", "MaxBurstLength": "16777215", "FirstBurstLength": "16777215", "InitialR2T": "No"},
	} {
		t.Run(fmt.Sprint(keys), func(t *testing.T) {
			c := h.login(client.Options{Keys: keys})
			for k, v := range keys {
				if (k == "InitialR2T" || k == "ImmediateData") && c.Keys[k] != v {
					t.Errorf("%s is %s", k, c.Keys[k])
				}
			}
			for _, n := range []int{512, 1536, 4096, 8192 + 512, 64 << 10, 65<<10 + 512, 300 << 10, 1 << 20, 3 << 20} {
				seed++
				p := filled(n, seed)
				r := good(t, c, client.Write16(uint64(seed)*8, p))
				expect(t, c, uint64(seed)*8, p)
				fua := client.Read16(uint64(seed)*8, n/512)
				fua.CDB[1] |= 0x08
				if got := good(t, c, fua); !bytes.Equal(got.Data, p) {
					t.Errorf("a read of %d bytes with FUA brought %d, or others", n, len(got.Data))
				}
				if r.Flags&6 != 0 || r.Residual != 0 {
					t.Errorf("%d bytes: residual %d, flags %#x", n, r.Residual, r.Flags)
				}
			}
			if err := c.Logout(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Reads and writes that workers do give the same bytes.
func TestColdReads(t *testing.T) {
	h := open(t, Options{Workers: 2}, 1)
	c := h.login(client.Options{Keys: map[string]string{"MaxRecvDataSegmentLength": "8192"}})
	p := filled(1<<20, 1)
	good(t, c, client.Write16(0, p))
	h.hooked.mu.Lock()
	h.hooked.cold = true
	h.hooked.mu.Unlock()
	expect(t, c, 0, p)
	expect(t, c, 1, p[512:4096+512])
}

// What the initiator expects and what the command says differ.
func TestResiduals(t *testing.T) {
	h := open(t, Options{}, 1)
	c := h.login(client.Options{})
	p := filled(8192, 1)
	good(t, c, client.Write16(0, p))
	for _, tt := range []struct {
		name     string
		cmd      client.Command
		edtl     int
		flags    byte
		residual uint32
		n        int
	}{
		{"read, too much expected", client.Read16(0, 4), 4096, 2, 2048, 2048},
		{"read, too little expected", client.Read16(0, 8), 1024, 4, 3072, 1024},
		{"write, too much expected", client.Command{CDB: client.Write16(64, p[:1024]).CDB, Out: p[:4096]}, 4096, 2, 3072, 0},
		{"write, too little expected", client.Command{CDB: client.Write16(64, p[:4096]).CDB, Out: p[:1024]}, 1024, 4, 3072, 0},
	} {
		tt.cmd.EDTL = tt.edtl
		r := good(t, c, tt.cmd)
		if r.Flags&6 != tt.flags || r.Residual != tt.residual || len(r.Data) != tt.n {
			t.Errorf("%s: flags %#x, residual %d, %d bytes", tt.name, r.Flags, r.Residual, len(r.Data))
		}
	}
	expect(t, c, 64, append(append([]byte(nil), p[:1024]...), make([]byte, 1024)...))

	// A READ for which nothing is expected: neither R nor W.
	read := client.Read16(0, 1)
	read.In = 0
	if r := good(t, c, read); r.Flags&6 != 4 || r.Residual != 512 {
		t.Errorf("read without expectation: flags %#x, residual %d", r.Flags, r.Residual)
	}
}

// A command whose data the initiator expects to go another way must not look
// done: nothing is moved, and the session goes on.
func TestWrongWay(t *testing.T) {
	h := open(t, Options{}, 1)
	c := h.login(client.Options{})
	p := filled(4096, 1)
	good(t, c, client.Write16(0, p))
	read, write := client.Read16(0, 8).CDB, client.Write16(0, p).CDB
	other := filled(4096, 2)
	for name, cmd := range map[string]client.Command{
		"a write that expects to read":     {CDB: write, In: 4096},
		"a write with neither R nor W":     {CDB: write, EDTL: 4096},
		"a read that comes with data":      {CDB: read, Out: other},
		"a read with neither R nor W":      {CDB: read, EDTL: 4096},
		"a read that comes with much data": {CDB: client.Read16(0, 1024).CDB, Out: filled(512<<10, 3)},
	} {
		r, err := c.Do(cmd)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r.Response != 1 || len(r.Data) > 0 {
			t.Errorf("%s: response %d, status %#x, %d bytes", name, r.Response, r.Status, len(r.Data))
		}
		expect(t, c, 0, p)
	}
}

// Several commands are under way, and the window moves as they end.
func TestWindow(t *testing.T) {
	h := open(t, Options{}, 1)
	c := h.login(client.Options{})
	if got := c.MaxCmdSN - c.CmdSN + 1; got != window {
		t.Errorf("a window of %d commands", got)
	}
	p := filled(window*512, 1)
	good(t, c, client.Write16(0, p))
	var tags []uint32
	cmds := map[uint32]client.Command{}
	for i := range window {
		cmd := client.Read16(uint64(i), 1)
		tag, err := c.Start(cmd)
		if err != nil {
			t.Fatal(err)
		}
		tags = append(tags, tag)
		cmds[tag] = cmd
	}
	for i, tag := range tags {
		r, err := c.Finish(cmds[tag], tag)
		if err != nil {
			t.Fatal(err)
		}
		if string(r.Data) != string(p[i*512:i*512+512]) {
			t.Fatalf("block %d is another", i)
		}
	}
	if got := c.MaxCmdSN - c.CmdSN + 1; got != window {
		t.Errorf("a window of %d commands at the end", got)
	}
}
