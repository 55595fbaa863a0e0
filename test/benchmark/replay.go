package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"varve/test/nfsclient"
)

const (
	replayDisk   = 2 * gib
	replayHands  = 16   // clients at a time
	replayFiles  = 1500 // of each: a create, a setattr and a rename
	replayMetaOp = 50_000
)

// replaying measures how fast operations of the log are repeated.
func replaying(ctx context.Context, args []string) error {
	c := newCommand("replay", ", with 20 GiB free").withRounds(3, "times that the disk is written and replayed")
	if err := c.Parse(args); err != nil {
		return err
	}
	if err := provide(need{"fio", "fio"}); err != nil {
		return err
	}
	return c.check(ctx, int64(c.rounds+1)*2*replayDisk, 100, part{"replay", replayed})
}

func replayed(ctx context.Context, st *stage) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	s, err := st.serve("pool", replayDisk, "--nfs", addr)
	if err != nil {
		return err
	}
	var wrote, again []float64
	for round := range st.rounds {
		from, err := s.lastLSN(ctx)
		if err != nil {
			return err
		}
		begun := time.Now()
		if _, err := fio(ctx, s.uri, replayDisk, 5*time.Minute, "--rw=write", "--bs=1m", "--iodepth=8", "--end_fsync=1"); err != nil {
			return err
		}
		wrote = append(wrote, replayDisk/time.Since(begun).Seconds()/(1<<20))
		name := fmt.Sprint("again", round)
		r, err := s.replay("disk0", from, name)
		if err != nil {
			return err
		}
		again = append(again, float64(r.Bytes)/r.Seconds/(1<<20))
		st.note("round %d: written with %.0f MiB/s, repeated with %.0f MiB/s", round+1, wrote[round], again[round])
		if _, err := s.pool.Run("destroy", name, "--now", "--yes"); err != nil {
			return err
		}
	}
	st.claim(true, 0.5, middle(again)/middle(wrote), "", "replay of sequential writes (%.0f MiB/s) / writing them (%.0f MiB/s)", middle(again), middle(wrote))
	return st.metadata(ctx, s, addr)
}

// metadata replays operations on names and attributes.
func (st *stage) metadata(ctx context.Context, s *server, addr string) error {
	if _, err := s.pool.Run("share", "create", "home", "--mode", "777"); err != nil {
		return err
	}
	from, err := s.lastLSN(ctx)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	bad := make(chan error, replayHands)
	for hand := range replayHands {
		wg.Go(func() {
			if err := busyHand(addr, hand); err != nil {
				bad <- err
			}
		})
	}
	wg.Wait()
	close(bad)
	if err := <-bad; err != nil {
		return err
	}
	var rates []float64
	for round := range st.rounds {
		r, err := s.replay("home", from, fmt.Sprint("home", round))
		if err != nil {
			return err
		}
		rates = append(rates, float64(r.Repeated)/r.Seconds)
	}
	st.claim(true, replayMetaOp, middle(rates), " operations/s", "replay of creates, setattrs and renames")
	return nil
}

func busyHand(addr string, hand int) error {
	conn, err := nfsclient.Dial(addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := nfsclient.Client{Conn: conn}.As(0, 0)
	m := c.Mnt("/home")
	if err := m.Want(nfsclient.OK); err != nil {
		return err
	}
	d := c.Mkdir(m.FH, fmt.Sprint("d", hand), nfsclient.Mode(0o755))
	if err := d.Want(nfsclient.OK); err != nil {
		return err
	}
	for i := range replayFiles {
		f := c.Create(d.FH, fmt.Sprint("f", i), nfsclient.Mode(0o644))
		if err := f.Want(nfsclient.OK); err != nil {
			return err
		}
		if err := c.Setattr(f.FH, nfsclient.Mode(0o600), nil).Want(nfsclient.OK); err != nil {
			return err
		}
		if err := c.Rename(d.FH, fmt.Sprint("f", i), d.FH, fmt.Sprint("g", i)).Want(nfsclient.OK); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) lastLSN(ctx context.Context) (uint64, error) {
	status, err := s.client().Status(ctx)
	return status.Pool.LastLSN, err
}

// repeat is what varve replay --json says.
type repeat struct {
	Repeated, Bytes uint64
	Seconds         float64
}

func (s *server) replay(dataset string, from uint64, name string) (r repeat, err error) {
	out, err := s.pool.Run("replay", fmt.Sprintf("%s@lsn:%d", dataset, from), "--to", name, "--json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &r)
	}
	return r, err
}
