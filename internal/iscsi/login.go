package iscsi

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"time"

	"varve/internal/fail"
	"varve/internal/outbox"
)

// Stages of a login (RFC 7143, 6.3).
const (
	stageSecurity    = 0
	stageOperational = 1
	stageFull        = 3
)

// Statuses of a login response: class and detail.
const (
	loginOK           = 0x0000
	loginInvalid      = 0x0200
	loginAuth         = 0x0201
	loginForbidden    = 0x0202
	loginNotFound     = 0x0203
	loginVersion      = 0x0205
	loginMissing      = 0x0207
	loginNoSession    = 0x020a
	loginSequence     = 0x020b
	loginTargetError  = 0x0300
	loginUnavailable  = 0x0301
	loginOutOfReserve = 0x0302
)

// refusal is why a login ends.
type refusal struct {
	status uint16
	err    error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refuse(status uint16, kind fail.Kind, format string, args ...any) error {
	return &refusal{status, fail.New(kind, format, args...)}
}

// maxLoginPDUs bounds the requests of one login.
const maxLoginPDUs = 64

// login is the state of a connection until it is in full feature phase. It is
// the reader's.
type login struct {
	c         *conn
	h         header // of the request at hand
	statSN    uint32
	started   bool
	stage     byte
	isid      [6]byte
	tsih      uint16
	cid       uint16
	cmdSN     uint32
	text      []byte // of requests that are continued
	initiator string
	discovery bool
	target    Target
	luns      []LUN
	proved    bool // nothing is left to be proved
	chap      *chap
	exchange  bool // the request was a step of proving
	told      bool // our own declarations have been sent
	params    params
}

// loginPhase runs a login to its end. After an error the connection ends.
func (c *conn) loginPhase() (*login, error) {
	l := &login{c: c, params: defaultParams()}
	deadline := time.Now().Add(c.srv.opt.LoginTimeout)
	c.nc.SetWriteDeadline(deadline)
	c.nc.ReadUntil(deadline)
	defer func() {
		c.nc.SetWriteDeadline(time.Time{})
		c.nc.ReadUntil(time.Time{})
	}()
	if c.nc.Draining() {
		return l, outbox.ErrShuttingDown
	}
	for range maxLoginPDUs {
		done, err := l.request()
		var r *refusal
		if errors.As(err, &r) {
			l.respond(0, nil, r.status)
			return nil, err
		}
		if err != nil || done {
			return l, err
		}
	}
	return nil, fail.New(fail.Invalid, "iSCSI: a login of more than %d requests", maxLoginPDUs)
}

// request serves one login request.
func (l *login) request() (done bool, err error) {
	h, data, err := l.read()
	if err != nil {
		return false, err
	}
	if err := l.begin(h); err != nil {
		return false, err
	}
	if len(l.text)+len(data) > maxText {
		return false, refuse(loginInvalid, fail.TooBig, "a login with more than %d bytes of keys", maxText)
	}
	l.text = append(l.text, data...)
	if h[1]&continueBit != 0 {
		return false, l.respond(l.stage<<2, nil, loginOK)
	}
	keys, err := parseKeys(l.text)
	l.text = l.text[:0]
	if err != nil {
		return false, &refusal{loginInvalid, err}
	}
	answers, err := l.answer(keys)
	if err != nil {
		return false, err
	}
	return l.advance(answers)
}

// read receives one login request.
func (l *login) read() (header, []byte, error) {
	c := l.c
	if err := c.fill(headerSize); err != nil {
		return nil, nil, err
	}
	h := header(append([]byte(nil), c.in.next(headerSize)...))
	n := h.dataLen()
	switch {
	case h.opcode() != opLogin:
		return nil, nil, fail.New(fail.Invalid, "iSCSI: no login request but opcode %#x", h.opcode())
	case n > loginSegment || h.ahs() > 0:
		return nil, nil, fail.New(fail.TooBig, "iSCSI: a login request of %d bytes", n)
	}
	if err := c.fill(padded(n)); err != nil {
		return nil, nil, err
	}
	return h, c.in.next(padded(n))[:n], nil
}

// begin checks the head of a request.
func (l *login) begin(h header) error {
	l.h = h
	csg := h[1] >> 2 & 3
	if !l.started {
		l.started = true
		l.stage = csg
		copy(l.isid[:], h[8:14])
		l.tsih, l.cid, l.cmdSN = be.Uint16(h[14:]), be.Uint16(h[20:]), h.cmdSN()
		if h[3] > 0 {
			return refuse(loginVersion, fail.Unsupported, "a version of iSCSI that is not known: %d", h[3])
		}
	}
	switch {
	case [6]byte(h[8:14]) != l.isid || be.Uint16(h[14:]) != l.tsih || be.Uint16(h[20:]) != l.cid:
		return refuse(loginInvalid, fail.Invalid, "a login that changes its identity half-way")
	case csg != l.stage || csg == 2 || csg == stageFull:
		return refuse(loginSequence, fail.Invalid, "login stage %d out of order", csg)
	case h[1]&finalBit != 0 && (h[1]&3 <= csg || h[1]&3 == 2):
		return refuse(loginSequence, fail.Invalid, "login: from stage %d to %d", csg, h[1]&3)
	case h[1]&finalBit != 0 && h[1]&continueBit != 0:
		return refuse(loginInvalid, fail.Invalid, "login: continued, and at its end")
	}
	return nil
}

// answer judges the keys of a request.
func (l *login) answer(keys []pair) ([]pair, error) {
	m := make(map[string]string, len(keys))
	for _, k := range keys {
		m[k.key] = k.value
	}
	var answers []pair
	if l.initiator == "" {
		if err := l.identify(m); err != nil {
			return nil, err
		}
		if !l.discovery { // once: what is declared twice ends a login (RFC 7143, 6.2)
			answers = append(answers, pair{"TargetPortalGroupTag", l.c.portal.group()})
		}
	}
	if l.stage == stageSecurity {
		return l.security(keys, m, answers)
	}
	if !l.proved {
		return nil, refuse(loginAuth, fail.Denied, "%s has to prove itself by CHAP", l.initiator)
	}
	return l.operational(keys, answers), nil
}

// identify takes who logs in to what from the keys of the first request.
func (l *login) identify(m map[string]string) error {
	name := m["InitiatorName"]
	switch {
	case name == "":
		return refuse(loginMissing, fail.Invalid, "a login without InitiatorName")
	case !checkName(name):
		return refuse(loginInvalid, fail.Invalid, "a login with a name that is none")
	}
	l.initiator = name
	switch m["SessionType"] {
	case "Discovery":
		l.discovery, l.proved = true, true
		return nil
	case "", "Normal":
	default:
		return refuse(loginInvalid, fail.Invalid, "SessionType=%q", m["SessionType"])
	}
	target := m["TargetName"]
	if target == "" {
		return refuse(loginMissing, fail.Invalid, "a login without TargetName")
	}
	var err error
	l.target, err = l.c.srv.targets.Target(context.Background(), target)
	if err != nil {
		return &refusal{loginNotFound, err}
	}
	if l.luns = l.target.visible(name, l.c.ip); len(l.luns) == 0 {
		return refuse(loginForbidden, fail.Denied, "%s from %s may not use %s", name, l.c.ip, l.target.Name)
	}
	want := l.luns[0].Want
	l.proved = !want.set()
	l.chap = &chap{want: want, ours: l.luns[0].Ours}
	return nil
}

// security serves the keys of the security stage, and those declarations that
// may come with them.
func (l *login) security(keys []pair, m map[string]string, answers []pair) ([]pair, error) {
	var err error
	var more []pair
	methods, asked := m["AuthMethod"]
	switch {
	case asked:
		more, err = l.method(methods)
	case m["CHAP_A"] != "" && !l.proved:
		more, err = l.chap.begin(m["CHAP_A"])
	case m["CHAP_R"] != "" && !l.proved:
		if more, err = l.chap.prove(m); err == nil {
			l.proved = true
		}
	}
	if err != nil {
		return nil, &refusal{loginAuth, err}
	}
	l.exchange = len(more) > 0
	return append(answers, more...), nil
}

// method chooses how the initiator proves itself.
func (l *login) method(methods string) ([]pair, error) {
	if l.proved {
		if _, ok := listed(methods, "None"); !ok {
			return nil, fail.New(fail.Denied, "%s insists on CHAP, and no secret is set for it", l.initiator).
				WithHint("varve set %s iscsi-user=USER and iscsi-secret=SECRET", l.target.Volume)
		}
		return []pair{{"AuthMethod", "None"}}, nil
	}
	if _, ok := listed(methods, "CHAP"); !ok {
		return nil, fail.New(fail.Denied, "%s does not offer CHAP, which is set", l.initiator)
	}
	return []pair{{"AuthMethod", "CHAP"}}, nil
}

// operational serves the keys of the operational stage.
func (l *login) operational(keys, answers []pair) []pair {
	for _, k := range keys {
		switch k.key {
		case "InitiatorName", "SessionType", "TargetName", "AuthMethod":
			continue
		}
		if a, declared := l.params.negotiate(k.key, k.value, l.discovery); !declared {
			answers = append(answers, pair{k.key, a})
		}
	}
	if !l.told {
		l.told = true
		answers = append(answers, pair{"MaxRecvDataSegmentLength", itoa(recvSegment)})
		if !l.discovery {
			answers = append(answers, pair{"TargetAlias", l.target.Volume})
		}
	}
	return answers
}

// advance responds, and goes to the next stage where the initiator wants to and
// nothing forbids it.
func (l *login) advance(answers []pair) (done bool, err error) {
	flags := l.stage << 2
	next := l.h[1] & 3
	switch {
	case l.h[1]&finalBit == 0:
	case l.stage == stageSecurity && !l.proved:
		if !l.exchange {
			return false, refuse(loginAuth, fail.Denied, "%s has to prove itself by CHAP", l.initiator)
		}
	case next == stageFull:
		l.params.settle()
		if err := l.c.enter(l); err != nil {
			return false, err
		}
		flags |= finalBit | stageFull
		done = true
	default:
		flags |= finalBit | next
		l.stage = next
	}
	var text []byte
	for _, a := range answers {
		text = appendKey(text, a.key, a.value)
	}
	return done, l.respond(flags, text, loginOK)
}

// respond sends a login response at once: no other goroutine sends yet.
func (l *login) respond(flags byte, text []byte, status uint16) error {
	p := make([]byte, headerSize+padded(len(text)))
	h := header(p)
	h[0], h[1] = opLoginRsp, flags
	h.setDataLen(len(text))
	copy(h[8:14], l.isid[:])
	tsih := l.tsih
	if s := l.c.session; s != nil {
		tsih = s.tsih
	}
	be.PutUint16(h[14:], tsih)
	if l.h != nil {
		copy(h[16:20], l.h[16:20])
	}
	h.put(24, l.statSN)
	h.put(28, l.cmdSN)
	h.put(32, l.cmdSN+window-1)
	be.PutUint16(h[36:], status)
	copy(p[headerSize:], text)
	l.statSN++
	_, err := l.c.nc.Write(p)
	if err != nil && !errors.Is(err, io.EOF) {
		return fail.Wrap(fail.Canceled, err, "iSCSI: sending a login response")
	}
	return err
}

// key names the session that a login is for: sessions of an initiator with the
// same ISID to the same target and portal group are one after another.
func (l *login) key() sessionKey {
	return sessionKey{l.initiator, hex.EncodeToString(l.isid[:]), l.target.Name, l.c.portal.tag}
}
