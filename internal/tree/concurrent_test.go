package tree

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// A bank is a tree of accounts between which money moves, so that every
// version of it must add up to the same sum.
type bank struct {
	mu   sync.RWMutex
	tree *Tree

	latest sync.Mutex
	open   []*Version // to read from
}

const (
	accounts = 3000
	wealth   = accounts * 100
)

// account encodes a balance, with padding so that sizes vary.
func account(balance int64, pad int) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, uint64(balance)), make([]byte, pad)...)
}

func balance(v []byte) int64 { return int64(binary.LittleEndian.Uint64(v)) }

// spread leaves room between accounts, for entries that come and go.
func spread(i uint64) Key { return MakeKey(i%2, i*1000) }

// sum checks one version.
func sum(s scanner) error {
	var total int64
	n, last := 0, Key{}
	err := s.Scan(Key{}, MaxKey, func(k Key, v []byte) bool {
		if n > 0 && !last.Less(k) {
			total = -1 << 60
		}
		last = k
		if _, lo := k.Split(); lo%1000 == 0 {
			n++
			total += balance(v)
		}
		return true
	})
	if err == nil && (total != wealth || n != accounts) {
		err = fmt.Errorf("%d accounts hold %d", n, total)
	}
	return err
}

// locked runs fn under the lock until it has all it needs in memory.
func locked(c *Cache, mu sync.Locker, fn func() error) error {
	for {
		mu.Lock()
		err := fn()
		mu.Unlock()
		m, ok := err.(*Miss)
		if !ok {
			return err
		}
		if err := c.Load(m); err != nil {
			return err
		}
	}
}

// transfer moves money between two accounts, and adds and removes a few
// entries beside them.
func (b *bank) transfer(c *Cache, r *rand.Rand) error {
	from, to := spread(r.Uint64N(accounts)), spread(r.Uint64N(accounts))
	amount, pad := r.Int64N(50), r.IntN(200)
	return locked(c, &b.mu, func() error {
		for _, k := range [2]Key{from, to} {
			hi, lo := k.Split()
			if err := b.tree.Prepare(k, MakeKey(hi, lo+999)); err != nil {
				return err
			}
		}
		for i, k := range [2]Key{from, to} {
			v, ok, err := b.tree.Get(k, nil)
			if !ok || err != nil {
				return fmt.Errorf("account %v: %v %v", k, ok, err)
			}
			b.tree.Put(k, account(balance(v)+amount*int64(2*i-1), pad))
			hi, lo := k.Split()
			b.tree.DeleteRange(MakeKey(hi, lo+100), MakeKey(hi, lo+900))
			b.tree.Put(MakeKey(hi, lo+100+r.Uint64N(800)), make([]byte, pad))
		}
		return nil
	})
}

// checkpoint freezes all banks at one moment, writes what there is, and
// settles; it keeps the last few versions open to read from.
func checkpoint(c *Cache, d *disk, banks []*bank, moment uint64) error {
	var vs []*Version
	for _, b := range banks {
		b.mu.Lock()
		vs = append(vs, b.tree.Freeze(moment))
		b.mu.Unlock()
	}
	if moment%3 != 0 { // the others live and die in memory, or are written later
		if err := c.WriteOut(vs, d.put); err != nil {
			return err
		}
		var trees []*Tree
		for _, b := range banks {
			b.mu.Lock()
			trees = append(trees, b.tree)
		}
		c.Settle(trees)
		for _, b := range banks {
			b.mu.Unlock()
		}
	}
	for i, b := range banks {
		if _, err := b.tree.TakeDrops(nil); err != nil {
			return err
		}
		b.latest.Lock()
		if b.open = append(b.open, vs[i]); len(b.open) > 3 {
			b.open[0].Close()
			b.open = b.open[1:]
		}
		b.latest.Unlock()
	}
	return nil
}

// audit reads versions and the head of a bank.
func (b *bank) audit(c *Cache, r *rand.Rand) error {
	b.latest.Lock()
	var v *Version
	if len(b.open) > 0 {
		v = b.open[r.IntN(len(b.open))].Retain()
	}
	b.latest.Unlock()
	if v != nil {
		defer v.Close()
		if err := sum(v.Blocking()); err != nil {
			return fmt.Errorf("version %d: %w", v.Moment(), err)
		}
		if err := Row(v, 0, Key{}, MaxKey, func(Node) error { return nil }); err != nil {
			return err
		}
	}
	k := spread(r.Uint64N(accounts))
	return locked(c, b.mu.RLocker(), func() error {
		_, ok, err := b.tree.Get(k, nil)
		if err == nil && !ok {
			err = fmt.Errorf("no account %v", k)
		}
		return err
	})
}

// TestConcurrent runs writers, readers of heads and versions, and checkpoints
// over trees that share pages, in a cache too small for them.
func TestConcurrent(t *testing.T) {
	d := newDisk()
	c := NewCache(d, 100*PageSize)
	first := &bank{tree: c.Open(Ref{})}
	for i := range uint64(accounts) {
		k := spread(i)
		change(t, first.tree, k, k, func() { first.tree.Put(k, account(100, 50)) })
	}
	v := first.tree.Freeze(1)
	banks := []*bank{first, {tree: c.OpenRoot(v)}}
	v.Close()

	var writers, readers sync.WaitGroup
	var done atomic.Bool
	var checkpoints atomic.Int64
	due := make(chan struct{}, 1)
	for i, b := range banks {
		writers.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for n := 0; (n < 500 || checkpoints.Load() < 60) && !t.Failed(); n++ {
				if err := b.transfer(c, r); err != nil {
					t.Error(err)
					return
				}
				if n%20 == 0 {
					select {
					case due <- struct{}{}:
					default: // one is due already
					}
				}
			}
		})
		readers.Go(func() {
			r := rand.New(rand.NewPCG(2, uint64(i)))
			for !done.Load() {
				if err := b.audit(c, r); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	readers.Go(func() {
		moment := uint64(1)
		for range due {
			moment++
			if err := checkpoint(c, d, banks, moment); err != nil {
				t.Error(err)
				return
			}
			checkpoints.Add(1)
		}
	})
	writers.Wait()
	done.Store(true)
	close(due)
	readers.Wait()

	must(t, checkpoint(c, d, banks, 1<<40+1))
	for _, b := range banks {
		r, ok := b.open[len(b.open)-1].Ref()
		if !ok {
			t.Fatal("not written")
		}
		v := c.OpenVersion(r)
		must(t, sum(v.Blocking()))
		v.Close()
		for _, v := range b.open {
			v.Close()
		}
		b.tree.Close()
	}
	t.Logf("%d checkpoints, %d nodes, %+v", checkpoints.Load(), len(d.nodes), c.Stats())
	if s := c.Stats(); s.Evictions == 0 {
		t.Fatalf("nothing happened: %+v", s)
	}
	closed(t, c)
}
