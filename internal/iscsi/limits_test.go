package iscsi

import (
	"context"
	"testing"

	client "varve/test/iscsiclient"
)

// Immediate requests, which no window holds back, have a limit of their own;
// those beyond are rejected, and later ones are served again.
func TestImmediateFlood(t *testing.T) {
	h := open(t, Options{Workers: 1}, 1)
	c := h.login(client.Options{})
	entered, release := make(chan struct{}), make(chan struct{})
	h.hooked.set(func(uint64) { close(entered); <-release })
	if _, err := c.Start(client.Write16(1, filled(512, 1))); err != nil { // keeps the worker
		t.Fatal(err)
	}
	<-entered
	h.hooked.set(nil)
	const beyond = 5
	for i := range maxImmediate + beyond {
		manage(t, c, 0x1000+uint32(i), tmfAbortTaskSet, client.NoTag)
	}
	for range beyond {
		if p, err := c.Recv(); err != nil || p.Opcode() != client.OpReject || p.Header[2] != rejectImmediate {
			t.Fatalf("no reject: %+v, %v", p, err)
		}
	}
	close(release)
	for i := range maxImmediate {
		if p, err := c.Recv(); err != nil || p.Opcode() != client.OpTaskRsp || p.Word(16) != 0x1000+uint32(i) {
			t.Fatalf("function %d: %+v, %v", i, p, err)
		}
	}
	for range 3 * maxImmediate { // each is uncounted
		if got, err := c.Manage(tmfAbortTask, 0, 0x7777); err != nil || got != tmfNoTask {
			t.Fatalf("response %d, %v", got, err)
		}
		if got, err := c.Manage(tmfAbortTaskSet, 0, 0); err != nil || got != tmfComplete {
			t.Fatalf("response %d, %v", got, err)
		}
	}
}

// A read that has to wait for others does not make the reader wait for memory:
// what it waits behind may be what is still to be received.
func TestQueuedReadWithoutMemory(t *testing.T) {
	h := open(t, Options{}, 1)
	c := h.login(client.Options{Keys: map[string]string{"ImmediateData": "No"}})
	write := client.Write16(0, filled(4096, 1))
	tag, err := c.Start(write)
	if err != nil {
		t.Fatal(err)
	}
	r2t, err := c.Recv()
	if err != nil || r2t.Opcode() != client.OpR2T {
		t.Fatalf("no R2T: %+v, %v", r2t, err)
	}
	own, all := h.srv.conns.All()[0].outBytes, h.srv.opt.Memory
	for _, err := range []error{own.Acquire(context.Background(), outShare-bufferSize), h.srv.memory.Acquire(context.Background(), all)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	defer h.srv.memory.Release(all)
	defer own.Release(outShare - bufferSize)
	read := client.Read16(0, 1024)
	read.Attr = attrOrdered
	if r, err := c.Do(read); err != nil || r.Status != client.TaskSetFull {
		t.Fatalf("the read: %+v, %v", r, err)
	}
	if err := c.SendData(tag, r2t.Word(20), write.Out, 0); err != nil {
		t.Fatal(err)
	}
	if r, err := c.Finish(write, tag); err != nil || r.Status != client.Good {
		t.Fatalf("the write: %+v, %v", r, err)
	}
}
