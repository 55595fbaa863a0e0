package iscsi

import (
	"context"
	"time"

	"varve/internal/fail"
)

// sessionKey names the sessions of which there is one at a time (RFC 7143,
// 4.4.3.1: the I_T nexus).
type sessionKey struct {
	initiator string
	isid      string // hexadecimal
	target    string
	tag       uint16 // of the portal group
}

// session is what a login made. Its connection is the only one it ever has.
type session struct {
	key       sessionKey
	tsih      uint16
	cid       uint16 // of its connection, as the initiator numbers it
	discovery bool
	c         *conn
}

// sessionInfo is what status shows of a session.
type sessionInfo struct {
	Initiator, Target string
}

// enter makes the session that l is for, after the one that had its place has
// ended: cut off, and no task of it under way any more. Until then nothing of
// the new one is admitted, so no write of the old can land after one of it.
func (c *conn) enter(l *login) error {
	s := &session{key: l.key(), cid: l.cid, discovery: l.discovery, c: c}
	deadline := time.Now().Add(c.srv.opt.LoginTimeout / 2) // then the refusal goes out
	if l.tsih != 0 && !c.srv.sessions.has(s.key, l.tsih) {
		return refuse(loginNoSession, fail.NotFound, "there is no session %d to join; one connection is all that a session has", l.tsih)
	}
	if err := c.srv.sessions.replace(s, deadline); err != nil {
		return err
	}
	if !s.discovery {
		var err error
		if c.nexus, err = c.srv.openNexus(l); err != nil {
			c.srv.sessions.remove(s)
			return &refusal{statusOf(err), err}
		}
	}
	c.session, c.params = s, l.params
	c.expCmdSN.Store(l.cmdSN)
	c.maxCmdSN.Store(l.cmdSN + window - 1)
	c.statSN.Store(l.statSN + 1) // that of the last login response is l.statSN
	c.info.Store(&sessionInfo{l.initiator, l.target.Name})
	return nil
}

// end takes leave of a session that has no task under way.
func (s *session) end() {
	if s.c.nexus != nil {
		s.c.nexus.Close()
	}
	s.c.srv.sessions.remove(s)
}

// waitEnded returns when nothing of the session's connection is under way.
func (s *session) waitEnded(ctx context.Context) error {
	select {
	case <-s.c.ended:
		return nil
	case <-ctx.Done():
		return fail.New(fail.Busy, "the session %d before still has commands under way", s.tsih)
	}
}

// statusOf is the status of a login whose units cannot be opened.
func statusOf(err error) uint16 {
	switch fail.KindOf(err) {
	case fail.NotFound, fail.OutsideHistory, fail.Invalid:
		return loginNotFound
	case fail.TooBig:
		return loginOutOfReserve
	}
	return loginTargetError
}
