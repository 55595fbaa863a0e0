package iscsi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"

	client "varve/test/iscsiclient"
)

// compareAndWrite is COMPARE AND WRITE of one block.
func compareAndWrite(lba byte, old, new []byte) client.Command {
	cdb := make([]byte, 16)
	cdb[0], cdb[9], cdb[13] = 0x89, lba, 1
	return client.Command{CDB: cdb, Out: append(append([]byte(nil), old...), new...)}
}

// two logs in two initiators, and runs body for each at the same time.
func (h *house) two(body func(i int, c *client.Client) error) {
	h.t.Helper()
	var both sync.WaitGroup
	for i := range 2 {
		c := h.login(client.Options{Initiator: fmt.Sprintf("iqn.2026-11.test:host%d", i), ISID: uint32(i)})
		both.Go(func() {
			if err := body(i, c); err != nil {
				h.t.Errorf("host%d: %v", i, err)
			}
		})
	}
	both.Wait()
}

// Two initiators count in one block with COMPARE AND WRITE: none of their steps is
// lost, and none is counted twice.
func TestCompareAndWriteRace(t *testing.T) {
	const each = 300
	h := open(t, Options{}, 1)
	h.two(func(_ int, c *client.Client) error {
		for done := 0; done < each; {
			r, err := c.Do(client.Read16(5, 1))
			if err != nil || r.Status != client.Good {
				return fmt.Errorf("read: %+v, %w", r, err)
			}
			next := bytes.Clone(r.Data)
			binary.BigEndian.PutUint64(next, binary.BigEndian.Uint64(next)+1)
			r, err = c.Do(compareAndWrite(5, r.Data, next))
			switch {
			case err != nil:
				return err
			case r.Status == client.Good:
				done++
			case r.Key() != "e/1d/00":
				return fmt.Errorf("compare and write: %+v", r)
			}
		}
		return nil
	})
	c := h.login(client.Options{})
	r := good(t, c, client.Read16(5, 1))
	if n := binary.BigEndian.Uint64(r.Data); n != 2*each {
		t.Errorf("two counted to %d each, together %d", each, n)
	}
}

// prOut is PERSISTENT RESERVE OUT, for write exclusive.
func prOut(action byte, key, newKey uint64) client.Command {
	list := make([]byte, 24)
	binary.BigEndian.PutUint64(list, key)
	binary.BigEndian.PutUint64(list[8:], newKey)
	return client.Command{CDB: []byte{0x5f, action, 1, 0, 0, 0, 0, 0, 24, 0}, Out: list}
}

// Who holds a reservation finds what it wrote: nothing of the other, who writes
// all the time, has landed between.
func TestReservationRace(t *testing.T) {
	const rounds = 60
	h := open(t, Options{}, 1)
	var held [2]int
	h.two(func(i int, c *client.Client) error {
		key := uint64(i + 1)
		mine := bytes.Repeat([]byte{byte(i + 1)}, 4096)
		if r, err := c.Do(prOut(0, 0, key)); err != nil || r.Status != client.Good {
			return fmt.Errorf("register: %+v, %w", r, err)
		}
		for tries := 0; held[i] < rounds && tries < 100*rounds; tries++ {
			r, err := c.Do(client.Write16(64, mine)) // lands, or does not
			if err == nil && r.Status != client.Good && r.Status != client.Conflict {
				err = fmt.Errorf("a write beside a reservation: %+v", r)
			}
			if err != nil {
				return err
			}
			if r, err = c.Do(prOut(1, key, 0)); err != nil {
				return err
			}
			if r.Status == client.Conflict {
				continue
			}
			held[i]++
			for range 3 {
				if r, err := c.Do(client.Write16(64, mine)); err != nil || r.Status != client.Good {
					return fmt.Errorf("write with the reservation: %+v, %w", r, err)
				}
				if r, err := c.Do(client.Read16(64, 8)); err != nil || !bytes.Equal(r.Data, mine) {
					return fmt.Errorf("the other's write has landed, %w", err)
				}
			}
			if r, err := c.Do(prOut(2, key, 0)); err != nil || r.Status != client.Good {
				return fmt.Errorf("release: %+v, %w", r, err)
			}
		}
		return nil
	})
	if min(held[0], held[1]) == 0 {
		t.Errorf("held %d and %d times", held[0], held[1])
	}
}
