package nbd

import (
	"time"

	"varve/internal/outbox"
)

// job is a request that has to wait for the disk. It owns the buffer of its
// reply, so that a worker never waits for memory nor for a socket.
type job struct {
	c     *conn
	req   request
	start time.Time
	buf   *outbox.Buffer
	spans []Span
}

// newJob returns a job to be submitted.
func (s *Server) newJob() *job {
	if j, ok := s.jobs.Get().(*job); ok {
		return j
	}
	return new(job)
}

// Run is a worker's.
func (j *job) Run() {
	s := j.c.srv
	j.c.work(j)
	spans := j.spans[:0]
	if cap(spans) > maxSpansKept {
		spans = nil
	}
	*j = job{spans: spans}
	s.jobs.Put(j)
}
