package iscsi

import (
	"context"
	"net/netip"

	"varve/internal/fail"
)

// maxTextReply bounds what a text exchange answers: bytes, enough for thousands
// of targets.
const maxTextReply = 1 << 20

// textExchange is a text negotiation that takes several PDUs. The initiator
// asks for each further one.
type textExchange struct {
	request []byte
	reply   []byte // what is still to be sent
}

// textRequest serves a text request: SendTargets.
func (c *conn) textRequest(h header) error {
	tag, flags := h.tag(), h[1]
	sn := uint32(snFinish)
	if h.immediate() {
		sn = snUse
	}
	goesOn := h.word20() != noTag
	p, err := c.data(h.dataLen())
	if err != nil {
		return err
	}
	x := &c.text
	if !goesOn {
		*x = textExchange{}
	}
	switch {
	case len(x.request)+len(p) > maxText:
		return fail.Wrap(fail.TooBig, errProtocol, "a text request of more than %d bytes", maxText)
	case flags&continueBit != 0:
		x.request = append(x.request, p...)
		return c.sayText(tag, sn, false)
	case len(x.reply) == 0:
		keys, err := parseKeys(append(x.request, p...))
		x.request = nil
		if err != nil {
			return err
		}
		if x.reply, err = c.answerText(keys); err != nil {
			return err
		}
	}
	return c.sayText(tag, sn, true)
}

// sayText sends as much of the reply as one PDU takes, and a reply buffer: libiscsi
// understands no reply of several PDUs.
func (c *conn) sayText(tag, sn uint32, final bool) error {
	x := &c.text
	k := min(len(x.reply), c.params.sendSegment, bufferSize-c.params.digests.perPDU())
	return c.say(opTextRsp, tag, sn, k, func(h header, data []byte) int {
		copy(data[:k], x.reply)
		x.reply = x.reply[k:]
		switch {
		case !final:
			h[1] = 0
			h.put(20, 1)
		case len(x.reply) > 0:
			h[1] = continueBit
			h.put(20, 1)
		default:
			h.put(20, noTag)
		}
		return k
	})
}

func (c *conn) answerText(keys []pair) (reply []byte, err error) {
	for _, k := range keys {
		switch k.key {
		case "SendTargets":
			reply, err = c.sendTargets(reply, k.value)
		default:
			reply = appendKey(reply, k.key, reject) // what holds was agreed upon at login
		}
		if err != nil {
			return nil, err
		}
		if len(reply) > maxTextReply {
			return nil, fail.New(fail.TooBig, "iSCSI: too many targets to list")
		}
	}
	return reply, nil
}

// sendTargets lists the targets that the initiator may log in to, with the
// addresses of all portals: all of them, one, or that of the session.
func (c *conn) sendTargets(p []byte, which string) ([]byte, error) {
	all, err := c.srv.targets.Targets(context.Background())
	if err != nil {
		return nil, err
	}
	own := c.session.key.target
	if which == "" {
		which = own
	}
	if which == "All" && !c.session.discovery {
		return appendKey(p, "SendTargets", reject), nil
	}
	for _, t := range all {
		if which != "All" && which != t.Name || len(t.visible(c.session.key.initiator, c.ip)) == 0 {
			continue
		}
		p = appendKey(p, "TargetName", t.Name)
		for _, a := range c.srv.portalAddresses(c.local) {
			p = appendKey(p, "TargetAddress", a)
		}
	}
	return p, nil
}

// address is what an initiator is told of a portal that listens on at: where it
// listens everywhere, the address that this initiator came to. A zone is how this
// machine names its networks, and nobody else's business.
func address(at, local netip.AddrPort) netip.AddrPort {
	a := at.Addr()
	if a.IsUnspecified() {
		a = local.Addr()
	}
	return netip.AddrPortFrom(a.Unmap().WithZone(""), at.Port())
}
