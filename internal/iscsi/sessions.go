package iscsi

import (
	"context"
	"sync"
	"time"

	"varve/internal/fail"
)

// sessions are those of a server, by key and by TSIH.
//
// Who wants the place of a session cuts its connection and waits until that has
// ended; of several who want it at the same time, one after another gets it.
type sessions struct {
	mu     sync.Mutex
	byKey  map[sessionKey]*session
	byTSIH map[uint16]*session
	next   uint16
}

func (r *sessions) init() {
	r.byKey = make(map[sessionKey]*session)
	r.byTSIH = make(map[uint16]*session)
}

// has reports whether session tsih has that key.
func (r *sessions) has(k sessionKey, tsih uint16) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.byTSIH[tsih]
	return s != nil && s.key == k
}

// replace registers s, once the session of its key has ended.
func (r *sessions) replace(s *session, deadline time.Time) error {
	ctx, cancel := context.WithDeadline(s.c.ctx, deadline)
	defer cancel()
	for {
		old, err := r.register(s)
		if old == nil {
			return err
		}
		old.c.cut(errReplaced)
		if err := old.waitEnded(ctx); err != nil {
			return &refusal{loginUnavailable, err}
		}
		r.remove(old)
	}
}

// register registers s, or returns the session that has its place.
func (r *sessions) register(s *session) (old *session, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old = r.byKey[s.key]; old != nil && !s.discovery {
		return old, nil
	}
	for range 1 << 16 {
		r.next++
		if r.next != 0 && r.byTSIH[r.next] == nil {
			s.tsih = r.next
			r.byTSIH[s.tsih] = s
			if !s.discovery {
				r.byKey[s.key] = s
			}
			return nil, nil
		}
	}
	return nil, refuse(loginOutOfReserve, fail.TooBig, "there are no more sessions to be had")
}

// remove forgets s, if it is still there.
func (r *sessions) remove(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byTSIH[s.tsih] == s {
		delete(r.byTSIH, s.tsih)
	}
	if r.byKey[s.key] == s {
		delete(r.byKey, s.key)
	}
}
