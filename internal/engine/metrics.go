package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Timing names what Options.Observe is told of.
type Timing uint8

// What takes time.
const (
	CommitTime     Timing = iota // one wait until something is durable
	SyncTime                     // one write or sync that made frames durable
	CheckpointTime               // one checkpoint, from its cut to its super root
	PauseTime                    // the part of it during which operations wait
)

// Metrics are figures for monitoring. Bytes and counts of the log and of the
// cache are since the server began.
type Metrics struct {
	Status

	DataBytes, DeathBytes, SuperBytes, RecordBytes int64 // of LogBytes, with NodeBytes
	Frames                                         int64
	UnwrittenBytes, UnsyncedBytes                  int64 // of the log, in memory

	CacheHits, CacheMisses, CacheEvictions uint64 // of tree nodes

	Checkpoints  int // that are kept
	ViewsInUse   int // past moments that somebody reads
	ViewsIdle    int // kept because somebody may again
	ScratchBytes int64
	Cleaned      CleanReport     // what the cleaner did since the pool was opened
	Volumes      []VolumeMetrics // by name
}

// VolumeMetrics are figures of one volume.
type VolumeMetrics struct {
	Name         string
	Size, Mapped uint64 // bytes; Mapped: payload that the head refers to
	Snapshots    int
	OldestTime   time.Time // the oldest reachable moment
	Writers      int       // clients connected that may write
}

// Metrics returns the figures now. It waits for no disk, but for what
// measures the space below the pool.
func (e *Engine) Metrics() Metrics {
	m := Metrics{Status: e.Status()}
	st, cs := e.log.Stats(), e.cache.Stats()
	m.DataBytes, m.DeathBytes, m.SuperBytes, m.RecordBytes = st.Data, st.Deaths, st.Super, st.Record
	m.Frames, m.UnwrittenBytes, m.UnsyncedBytes = st.Frames, st.Unwritten, st.Unsynced
	m.CacheHits, m.CacheMisses, m.CacheEvictions = cs.Hits, cs.Misses, cs.Evictions
	open, used := e.views.count()
	m.ViewsInUse, m.ViewsIdle, m.ScratchBytes = used, open-used, e.scratch.bytes()

	e.cleaned.mu.Lock()
	m.Cleaned = e.cleaned.CleanReport
	e.cleaned.mu.Unlock()
	e.clients.Lock()
	defer e.clients.Unlock()
	e.gate.RLock()
	defer e.gate.RUnlock()
	m.Checkpoints = len(e.checkpoints)
	for _, d := range e.names {
		m.Volumes = append(m.Volumes, e.volumeMetrics(d))
	}
	slices.SortFunc(m.Volumes, func(a, b VolumeMetrics) int { return strings.Compare(a.Name, b.Name) })
	return m
}

func (e *Engine) volumeMetrics(d *dataset) VolumeMetrics {
	v := VolumeMetrics{Name: d.name, Snapshots: len(d.snaps), OldestTime: e.oldest(d).wall()}
	for h := range d.clients {
		if h.write {
			v.Writers++
		}
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	v.Size, v.Mapped = d.head.size, uint64(d.head.mapped)*BlockSize
	return v
}

// observe tells how long something took since start.
func (e *Engine) observe(what Timing, start time.Time) {
	if e.opt.Observe != nil {
		e.opt.Observe(what, time.Since(start))
	}
}

// timer returns what tells the log's times, or nil.
func (e *Engine) timer(what Timing) func(time.Duration) {
	if e.opt.Observe == nil {
		return nil
	}
	return func(d time.Duration) { e.opt.Observe(what, d) }
}

// progress says what opening the pool is at.
func (e *Engine) progress(format string, args ...any) {
	if e.opt.Progress != nil {
		e.opt.Progress(fmt.Sprintf(format, args...))
	}
}

// checkpointOutcome is how the last attempt at a checkpoint ended.
type checkpointOutcome struct {
	good time.Time // of the last one that ended well, or was not needed
	err  error     // why those since have not
}

// noteCheckpoint keeps the outcome of an attempt that is over. ckpt is held.
func (e *Engine) noteCheckpoint(err error) {
	o := checkpointOutcome{e.opt.Now(), err}
	if err != nil {
		o.good = e.lastOutcome().good
	}
	e.outcome.Store(o)
}

func (e *Engine) lastOutcome() checkpointOutcome {
	if o, ok := e.outcome.Load().(checkpointOutcome); ok {
		return o
	}
	return checkpointOutcome{good: e.started}
}

// lateCheckpoint says why there is no recent checkpoint; "" if there is one.
// Recent leaves room for the longest back-off twice, and for a slow disk.
func (e *Engine) lateCheckpoint() string {
	every := e.opt.CheckpointEvery
	o := e.lastOutcome()
	if since := e.opt.Now().Sub(o.good); every > 0 && since > 2*backOff*every+time.Minute {
		why := fmt.Sprintf("no checkpoint for %s", since.Round(time.Second))
		if o.err != nil {
			why += ": " + o.err.Error()
		}
		return why
	}
	return ""
}
