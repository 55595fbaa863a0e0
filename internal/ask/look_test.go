package ask

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"varve/internal/engine"
	"varve/internal/fs"
	"varve/internal/inode"
	"varve/internal/vol"
)

// moments are the contents of one thing over time, as its only writer knows them.
type moments struct {
	mu    sync.Mutex
	lsns  []uint64 // ascending
	value []uint64 // from that operation on
}

func (m *moments) add(lsn, value uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lsns, m.value = append(m.lsns, lsn), append(m.value, value)
}

// at is what it was after operation lsn, if the writer had told of a later one.
func (m *moments) at(lsn uint64) (value uint64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, exact := slices.BinarySearch(m.lsns, lsn)
	if exact {
		i++
	}
	if i == 0 || i == len(m.lsns) {
		return 0, false
	}
	return m.value[i-1], true
}

// Any operation in the middle of a busy second is a moment that can be looked at,
// on a share as on a volume, while the writers go on and checkpoints are made.
func TestLookIntoABusySecond(t *testing.T) {
	w := newWorld(t, 3)
	mode := uint32(0o777)
	_, _, err := w.fs.Setattr(asRoot, w.root, fs.SetAttr{Mode: &mode})
	w.ok(err)
	disk, err := vol.Open(w.e, "disk", nil, engine.Caller{}, func() {})
	w.ok(err)
	info, err := w.e.Dataset("disk")
	w.ok(err)
	var things [3]moments // two files, and the disk
	var files [2]fs.Handle
	for i := range files {
		m, err := w.fs.Create(asRoot, w.root, string(rune('a'+i)), fs.SetAttr{}, true, nil)
		w.ok(err)
		files[i] = m.Handle
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for i := range things {
		writers.Go(func() {
			for n := uint64(1); ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				b := make([]byte, 5000) // not whole blocks
				binary.BigEndian.PutUint64(b[4500:], n)
				var lsn uint64
				var err error
				if i < 2 {
					_, lsn, err = w.fs.Write(asRoot, files[i], b, 0)
				} else {
					err = disk.WriteAt(b, 0)
					lsn = diskLSN(w.e)
				}
				if err != nil {
					t.Error(err)
					return
				}
				things[i].add(lsn, n)
				time.Sleep(2 * time.Millisecond) // the pool is small, and its history stays
			}
		})
	}
	looked := [3]int{}
	rnd := rand.New(rand.NewPCG(7, 7))
	for end := time.Now().Add(20 * time.Second); slices.Min(looked[:]) < 20 && time.Now().Before(end); {
		last := w.lsn()
		lsn := last - rnd.Uint64N(min(last/2, 400))
		if rnd.IntN(20) == 0 {
			w.ok(w.e.Checkpoint())
		}
		for i := range things {
			want, ok := things[i].at(lsn)
			if !ok {
				continue
			}
			id, ino := w.root.Dataset, uint64(inode.Root)
			if i < 2 {
				ino = files[i].Ino
			} else {
				id = info.ID
			}
			v, err := w.e.OpenViewID(id, lsn)
			w.ok(err)
			b := make([]byte, 8192)
			if i < 2 {
				b = b[:5000]
				err = v.ReadFile(ino, b, 0)
			} else {
				var spans []engine.Span
				err = v.ReadAt(b, 0, &spans)
			}
			v.Close()
			w.ok(err)
			if got := binary.BigEndian.Uint64(b[4500:]); got != want {
				t.Fatalf("thing %d at lsn %d is version %d, not %d", i, lsn, got, want)
			}
			looked[i]++
		}
	}
	close(stop)
	writers.Wait()
	if slices.Min(looked[:]) < 20 {
		t.Errorf("looked only %v times", looked)
	}
	disk.Close()
}

// diskLSN is the last operation on the disk, which has one writer.
func diskLSN(e *engine.Engine) uint64 {
	i, _ := e.Dataset("disk")
	return i.ChangedLSN
}
