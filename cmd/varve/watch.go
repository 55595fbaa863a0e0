package main

import (
	"context"
	"errors"
	"net"
	"time"

	"varve/internal/httpapi"
	"varve/internal/metrics"
)

// watch is what a server shows of itself over HTTP, from before it recovers
// its pool until it has let go of it.
type watch struct {
	metrics   *metrics.Metrics
	public    *httpapi.Public
	listeners []net.Listener
}

// openWatch listens on the endpoints of --http and answers there from now on.
func (s *server) openWatch() error {
	w := &s.watch
	var err error
	if w.listeners, err = listenAll("--http", s.o.http, s.o.group); err != nil {
		return err
	}
	w.metrics = metrics.New(versionName())
	w.public = httpapi.NewPublic(httpapi.PublicOptions{Health: s.health, Metrics: w.metrics.Handler(s.o.log), Logger: s.o.log})
	for _, l := range w.listeners {
		go func() { s.ended <- w.public.Serve(l) }()
	}
	return nil
}

// close ends it; a scrape that is being answered gets a second.
func (w *watch) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	w.public.Shutdown(ctx)
}

// health says why the server does not do its work, or nil.
func (s *server) health() error {
	return s.life.whileServing(func() error {
		p := s.engine.Status()
		switch {
		case p.State != "online":
			return errors.New(p.State + ": " + p.Reason)
		case p.CheckpointLate != "":
			return errors.New(p.CheckpointLate)
		}
		return nil
	})
}

// sample is what a scrape sees of the pool, while it is served.
func (s *server) sample() (m metrics.Sample, ok bool) {
	err := s.life.whileServing(func() error {
		m = metrics.Sample{
			Metrics: s.engine.Metrics(), Catalog: s.engine.Datasets(false),
			Clients: map[string]int{"nfs": s.nfs.server.Connections(), "nbd": s.nbd.Connections(), "iscsi": s.iscsi.server.Connections()},
		}
		return nil
	})
	return m, err == nil
}
