package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"varve/internal/ask"
	"varve/internal/awake"
	"varve/internal/bytesize"
	"varve/internal/chain"
	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/files"
	"varve/internal/httpapi"
	"varve/internal/nbd"
	"varve/internal/redo"
	"varve/internal/segstore"
	"varve/internal/segstore/compact"
	"varve/internal/segstore/dir"
	"varve/internal/vfs"
)

// drainTimeout is how long requests in flight may take once the server ends.
const drainTimeout = 20 * time.Second

// defaultSegment is the size of a segment where none is given: bytes.
const defaultSegment = 64 << 20

// checkSizes refuses sizes, in bytes, of which no pool can be made. A capacity
// of 0 is none that was given.
func checkSizes(capacity, segmentSize uint64) error {
	if segmentSize < engine.MinSegment || segmentSize > segstore.MaxSegmentSize || segmentSize%segstore.BlockSize != 0 {
		return fail.New(fail.Invalid, "segments cannot have %s", bytesize.Exact(segmentSize)).
			WithHint("choose a multiple of %s from %s to %s", formatSize(segstore.BlockSize), formatSize(engine.MinSegment), formatSize(segstore.MaxSegmentSize))
	}
	if capacity == 0 {
		return nil
	}
	return engine.CheckCapacity(capacity, segmentSize)
}

// makePool makes an empty pool, also out of one whose making was interrupted. A
// capacity of 0 is what dir takes by itself. Sizes that are Invalid leave
// nothing behind.
func makePool(fsys vfs.FS, path string, capacity, segmentSize uint64) error {
	if err := checkSizes(capacity, segmentSize); err != nil {
		return err
	}
	if err := dir.Make(fsys, path, int64(segmentSize), int64(capacity)); err != nil {
		return err
	}
	store, err := openStore(fsys, path, false)
	if err != nil {
		return err
	}
	defer store.Close()
	return engine.Format(store, time.Now(), rand.Reader)
}

// makePoolOnce makes a pool where there is none. One whose making was
// interrupted becomes what it was to be.
func makePoolOnce(fsys vfs.FS, path string) error {
	capacity, segmentSize, err := unfinished(fsys, path)
	if err != nil || segmentSize == 0 {
		return err
	}
	err = makePool(fsys, path, capacity, segmentSize)
	var e *fail.Error
	if capacity != 0 && errors.As(err, &e) && (e.Kind == fail.Invalid || e.Kind == fail.NoSpace) {
		return e.WithHint("an init that was interrupted chose these sizes; choose others with: varve init %s --capacity SIZE", path)
	}
	return err
}

// unfinished says with which sizes a pool is still to be made; a segmentSize of
// 0 means that there is one.
func unfinished(fsys vfs.FS, path string) (capacity, segmentSize uint64, err error) {
	store, err := openStore(fsys, path, true)
	if fail.Is(err, fail.NotFound) {
		return 0, defaultSegment, nil
	}
	if err != nil {
		return 0, 0, err
	}
	defer store.Close()
	if _, err = store.Superblock(); !fail.Is(err, fail.NotFound) {
		return 0, 0, err
	}
	space, err := store.Space()
	return uint64(space.Capacity), uint64(store.SegmentSize()), err
}

// spareSegments are kept ready for when somebody else fills the file system: as
// many as the engine keeps for what frees space.
const spareSegments = 4

func openStore(fsys vfs.FS, path string, readOnly bool) (segstore.Store, error) {
	note := fmt.Sprintf("pid %d since %s", os.Getpid(), time.Now().Format("15:04"))
	files, err := dir.Open(fsys, path, dir.Options{ReadOnly: readOnly, LockNote: note, Spare: spareSegments})
	if err != nil {
		return nil, err
	}
	store, err := compact.Open(files)
	if err != nil {
		files.Close()
		return nil, err
	}
	return store, nil
}

// checkDir verifies a pool that is not served, and changes nothing.
func checkDir(ctx context.Context, path string, data bool, progress func(done, total uint64)) (engine.CheckReport, error) {
	store, err := openStore(vfs.OS(), path, true)
	if err != nil {
		return engine.CheckReport{}, err
	}
	defer store.Close()
	return engine.CheckStore(ctx, store, data, progress)
}

// server is a pool that is served: what servePool set up and takes down.
type server struct {
	o       serveOptions
	engine  *engine.Engine
	nfs     nfsService
	nbd     *nbd.Server
	iscsi   iscsiService
	api     *httpapi.Server
	control net.Listener
	exports []net.Listener
	watch   watch
	awake   *awake.Keeper // or nil
	life    lifecycle
	ended   chan error // of everything that serves
}

// servePool serves until ctx ends, then drains. Listeners come before
// recovery, so that an address in use is known at once, and after the pool's
// lock, which makes the sockets ours.
func servePool(ctx context.Context, o serveOptions) error {
	store, err := openStore(vfs.OS(), o.dir, false)
	if err != nil {
		return err
	}
	defer store.Close()
	if o.group != "" {
		if err := httpapi.LetThrough(o.dir, o.group); err != nil {
			return err
		}
	}
	s := &server{o: o, life: lifecycle{log: o.log}, ended: make(chan error, 3*len(o.nfs)+len(o.nbd)+len(o.http)+2)}
	if err = s.listenNFS(); err != nil {
		return err
	}
	defer s.nfs.close()
	if s.exports, err = listenAll("--nbd", o.nbd, o.group); err != nil {
		return err
	}
	defer closeAll(s.exports)
	if s.iscsi.listeners, err = listenAll("--iscsi", o.iscsi, ""); err != nil {
		return err
	}
	defer closeAll(s.iscsi.listeners)
	s.life.starts("opening the pool")
	if err = s.openWatch(); err != nil {
		return err
	}
	defer s.watch.close()
	if o.awake {
		if s.awake, err = awake.Open(awake.Device); err != nil {
			o.log.Info("processors may sleep while clients wait", "error", err)
		}
		defer s.awake.Close()
	}
	if s.control, err = httpapi.ListenUnix(httpapi.SocketPath(o.dir), o.group); err != nil {
		return err
	}
	defer s.control.Close()
	s.engine, err = openEngine(engine.Options{
		Store: store, Logger: o.log, CheckpointEvery: o.checkpoint, Scratch: scratchIn(o.dir), Digests: digestsIn(o.dir),
		Progress: s.life.starts, Observe: s.observe,
	}, o.acceptLoss)
	if err != nil {
		return fail.Wrap(fail.Other, err, "pool %s", o.dir)
	}
	err = s.run(ctx)
	if drainErr := s.drain(); err == nil {
		err = drainErr
	}
	return err
}

// observe is told by the engine of what it did, and how long that took.
func (s *server) observe(what engine.Timing, took time.Duration) {
	s.watch.metrics.Observe(what, took)
	if what == engine.SyncTime {
		s.awake.Synced()
	}
}

// scratchIn makes files for views in the pool's directory that vanish with the
// process.
func scratchIn(dir string) func() (engine.Scratch, error) {
	return func() (engine.Scratch, error) {
		name := filepath.Join(dir, "scratch")
		f, err := vfs.OS().Open(name, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
		if err != nil {
			return nil, err
		}
		return f, vfs.OS().Remove(name)
	}
}

// digestsIn keeps the digests of segments in the pool's directory.
func digestsIn(dir string) func() (engine.Scratch, error) {
	return func() (engine.Scratch, error) {
		return vfs.OS().Open(filepath.Join(dir, "digests"), os.O_CREATE|os.O_RDWR, 0o600)
	}
}

// run serves until ctx ends or a listener fails.
func (s *server) run(ctx context.Context) error {
	if err := s.firstDatasets(); err != nil {
		return err
	}
	s.serveNFS()
	s.serveISCSI()
	s.nbd = nbd.New(nbd.Volumes(s.engine, time.Local), nbd.Options{
		Logger:  s.o.log,
		Observe: s.watch.metrics.Requests("nbd", "read", "write", "flush", "trim", "zero", "cache", "status"),
	})
	s.api = httpapi.New(httpapi.Options{Pool: s.engine, Files: files.New(s.engine, s.nfs.fs), Dumps: chain.New(s.engine), Redo: redo.On{Engine: s.engine}, Log: ask.New(s.engine), Info: s.info, Logger: s.o.log})
	for _, l := range s.exports {
		if !isLoopback(l) {
			s.o.log.Warn("NBD has no authentication: whoever reaches this address may use the disks", "listen", endpointOf(l))
		}
		go func() { s.ended <- s.nbd.Serve(l) }()
	}
	go func() { s.ended <- s.api.Serve(s.control) }()
	s.watch.metrics.Follow(s.sample)
	s.life.serves("serving " + s.o.dir)
	if err := s.o.ready(s.info(), s.first("share"), s.first("volume")); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.ended:
		return err
	}
}

// firstDatasets makes the share and the volume that the options ask for in a
// pool in which nothing has happened yet.
func (s *server) firstDatasets() error {
	if s.o.volume == "" || s.engine.Status().LastLSN != 0 {
		return nil
	}
	_, err := s.engine.CreateShare(engine.Caller{}, s.o.share, 0o755, uint32(os.Getuid()), uint32(os.Getgid()))
	if err == nil {
		_, err = s.engine.CreateVolume(engine.Caller{}, s.o.volume, s.o.size)
	}
	return err
}

// first returns the name of the first dataset of a kind, or "".
func (s *server) first(kind string) string {
	for _, d := range s.engine.Datasets(false) {
		if d.Kind == kind {
			return d.Name
		}
	}
	return ""
}

// drain lets requests in flight finish and closes the pool. When some do not
// finish, the pool is left as by a crash, but with all that was done durable.
func (s *server) drain() error {
	s.o.log.Info("stopping")
	s.life.stops("waiting for requests in flight")
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	var err error
	if s.api != nil {
		err = s.shutdown(ctx)
	}
	if err != nil {
		s.o.log.Warn("requests were cut off", "after", drainTimeout, "error", err)
		err = s.engine.Checkpoint()
	} else {
		err = s.engine.Close(ctx)
	}
	if err != nil {
		return err
	}
	s.o.log.Info("stopped")
	return nil
}

// shutdown ends the front ends, side by side, then what they share.
func (s *server) shutdown(ctx context.Context) error {
	ends := []func(context.Context) error{s.nfs.shutdown, s.nbd.Shutdown, s.iscsi.shutdown, s.api.Shutdown}
	errs := make(chan error, len(ends))
	for _, end := range ends {
		go func() { errs <- end(ctx) }()
	}
	var err error
	for range ends {
		if e := <-errs; err == nil {
			err = e
		}
	}
	if err == nil {
		s.nfs.fs.Close() // else calls may still be under way
	}
	return err
}

// info is what status tells about this process.
func (s *server) info() httpapi.ServerInfo {
	path, err := filepath.Abs(s.o.dir)
	if err != nil {
		path = s.o.dir
	}
	info := httpapi.ServerInfo{
		PID: os.Getpid(), Version: versionName(), Dir: path,
		Addresses: []httpapi.Address{}, Clients: []httpapi.Session{},
	}
	info.Addresses = append(info.Addresses, s.nfs.addresses(s.first("share"))...)
	for _, l := range s.exports {
		info.Addresses = append(info.Addresses, httpapi.Address{Proto: "nbd", Addr: endpointOf(l), URI: nbdURI(endpointOf(l), "")})
	}
	info.Addresses = append(info.Addresses, s.iscsi.addresses()...)
	for _, l := range s.watch.listeners {
		info.Addresses = append(info.Addresses, httpapi.Address{Proto: "http", Addr: endpointOf(l), URI: httpURI(endpointOf(l))})
	}
	for _, c := range s.nfs.server.Clients() {
		info.Clients = append(info.Clients, httpapi.Session{
			Proto: "nfs", Addr: c.Addr, Since: c.Since, Requests: c.Requests, Bytes: c.BytesRead + c.BytesWritten,
		})
	}
	for _, c := range s.nbd.Clients() {
		info.Clients = append(info.Clients, httpapi.Session{
			Proto: "nbd", Addr: c.Addr, Export: c.Export, Since: c.Since, Requests: c.Requests, Bytes: c.BytesRead + c.BytesWritten,
		})
	}
	info.Clients = append(info.Clients, s.iscsi.clients()...)
	return info
}
