package nbd

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"time"

	"varve/internal/fail"
)

const (
	maxName       = 4096     // bytes of an export's name
	maxOptionData = 16 << 10 // bytes of an option that we read into memory
	maxOptionSkip = 1 << 20  // bytes of an option that we skip; more is no client's
	maxOptions    = 4096     // in one handshake; listing tools ask once per export
	maxText       = 4096     // bytes of a string that we send
	refusalTime   = time.Second
)

// handshake is the state of a negotiation. Replies to an option are collected
// and sent together.
//
//	server greeting, client flags, then options, each answered at once:
//	  LIST, INFO, STRUCTURED_REPLY, LIST_META_CONTEXT,
//	  SET_META_CONTEXT               any number of times
//	  GO, EXPORT_NAME                opens the disk and ends the handshake
//	  ABORT                          ends the connection
type handshake struct {
	nc         io.ReadWriter
	w          *bufio.Writer
	data       []byte // of the current option
	noZeroes   bool
	structured bool
	refusal    string // not "": answer every option with it

	log    *slog.Logger
	list   func() ([]Export, error)
	open   func(name string) (Disk, error)
	credit func(start time.Time) // told when a call of the backend began that has ended

	selected selection
	disk     Disk          // what GO or EXPORT_NAME opened
	contexts []metaContext // of disk
}

// handshake negotiates. Without an error, c.disk is open.
func (c *conn) handshake() error {
	end := time.Now().Add(c.srv.opt.HandshakeTimeout)
	c.handshakeUntil(end)
	// The time that the backend takes is not the client's.
	credit := func(start time.Time) {
		end = end.Add(time.Since(start))
		c.handshakeUntil(end)
	}
	h := newHandshake(c.nc.Conn)
	h.log, h.credit = c.srv.log.With("client", c.client.Addr), credit
	h.list = func() ([]Export, error) {
		defer credit(time.Now())
		return c.srv.backend.List(c.ctx)
	}
	h.open = func(name string) (Disk, error) {
		defer credit(time.Now())
		return c.srv.backend.Open(c.ctx, name, c.client, c.Hangup)
	}
	err := h.run()
	h.selected.drop()
	if err != nil {
		if h.disk != nil {
			closeContexts(h.contexts)
			h.disk.Close()
		}
		return c.nc.EndOf(err)
	}
	c.disk, c.contexts, c.structured = h.disk, h.contexts, h.structured
	c.export = h.disk.Info()
	c.opened.Store(&c.export)
	c.handshakeUntil(time.Time{})
	return nil
}

func (c *conn) handshakeUntil(t time.Time) {
	c.nc.SetWriteDeadline(t)
	c.nc.ReadUntil(t)
}

// refuse tells a client why it is not served, and closes the connection.
func refuse(nc net.Conn, why string) {
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(refusalTime))
	h := newHandshake(nc)
	h.refusal = why
	h.run()
}

func newHandshake(nc io.ReadWriter) *handshake {
	return &handshake{nc: nc, w: bufio.NewWriter(nc)}
}

// run negotiates until a disk is open. The reason why none is, is an error.
func (h *handshake) run() error {
	if err := h.greet(); err != nil {
		return err
	}
	for range maxOptions {
		opt, tooBig, err := h.next()
		if err != nil {
			return err
		}
		if tooBig {
			h.fail(opt, repErrTooBig, "more data than any option has")
		} else if err := h.answer(opt); err != nil {
			h.w.Flush()
			return err
		}
		if err := h.w.Flush(); err != nil {
			return err
		}
		if h.disk != nil {
			return nil
		}
	}
	return fail.New(fail.TooBig, "more than %d options in one handshake", maxOptions)
}

func (h *handshake) greet() error {
	var p [18]byte
	be.PutUint64(p[0:], greetingMagic)
	be.PutUint64(p[8:], optionMagic)
	be.PutUint16(p[16:], flagFixedNewstyle|flagNoZeroes)
	if _, err := h.nc.Write(p[:]); err != nil {
		return err
	}
	if _, err := io.ReadFull(h.nc, p[:4]); err != nil {
		return err
	}
	flags := be.Uint32(p[:])
	if flags&^(flagFixedNewstyle|flagNoZeroes) != 0 {
		return fail.New(fail.Unsupported, "unknown client flags %#x", flags)
	}
	h.noZeroes = flags&flagNoZeroes != 0
	return nil
}

// next reads an option into h.data, or past it where it is too big.
func (h *handshake) next() (opt uint32, tooBig bool, err error) {
	var p [optionSize]byte
	if _, err := io.ReadFull(h.nc, p[:]); err != nil {
		return 0, false, err
	}
	if be.Uint64(p[:]) != optionMagic {
		return 0, false, fail.New(fail.Invalid, "not an NBD option")
	}
	opt = be.Uint32(p[8:])
	n := be.Uint32(p[12:])
	switch {
	case n > maxOptionSkip:
		return 0, false, fail.New(fail.TooBig, "an option of %d bytes", n)
	case n > maxOptionData:
		_, err = io.CopyN(io.Discard, h.nc, int64(n))
		return opt, true, err
	}
	h.data = append(h.data[:0], make([]byte, n)...)
	_, err = io.ReadFull(h.nc, h.data)
	return opt, false, err
}

// answer handles an option. An error ends the connection.
func (h *handshake) answer(opt uint32) error {
	switch {
	case opt == optAbort:
		h.put(opt, repAck, nil)
		return errAborted
	case h.refusal != "" && opt == optExportName:
		return fail.New(fail.Denied, "%s", h.refusal)
	case h.refusal != "":
		h.fail(opt, repErrPolicy, h.refusal)
		return nil
	}
	switch opt {
	case optExportName:
		return h.exportName()
	case optList:
		h.answerList()
	case optInfo, optGo:
		h.answerInfo(opt)
	case optStructuredReply:
		if len(h.data) != 0 {
			h.fail(opt, repErrInvalid, "STRUCTURED_REPLY takes no data")
			return nil
		}
		h.structured = true
		h.put(opt, repAck, nil)
	case optListMetaContext, optSetMetaContext:
		h.answerMeta(opt)
	default:
		h.fail(opt, repErrUnsup, "option not supported")
	}
	return nil
}

// exportName answers the old way in: it has no way to report an error.
//
//	size 8 | transmission flags 2 | zeros 124, unless both sides agreed to none
func (h *handshake) exportName() error {
	if err := h.enter(string(h.data)); err != nil {
		return err
	}
	var p [8 + 2 + 124]byte
	e := h.disk.Info()
	be.PutUint64(p[0:], e.Size)
	be.PutUint16(p[8:], h.transmissionFlags(e))
	if h.noZeroes {
		h.w.Write(p[:10])
	} else {
		h.w.Write(p[:])
	}
	return nil
}

// answerList sends one reply for each export: length 4 | name | description.
func (h *handshake) answerList() {
	if len(h.data) != 0 {
		h.fail(optList, repErrInvalid, "LIST takes no data")
		return
	}
	exports, err := h.list()
	if err != nil {
		h.fail(optList, optionError(err), err.Error())
		return
	}
	for _, e := range exports {
		p := be.AppendUint32(nil, uint32(len(e.Name)))
		p = append(p, e.Name...)
		p = append(p, clip(e.Description, maxText)...)
		h.put(optList, repServer, p)
	}
	h.put(optList, repAck, nil)
}

// answerInfo describes an export and, for GO, opens it.
//
//	name length 4 | name | count 2 | kind of information 2, count times
func (h *handshake) answerInfo(opt uint32) {
	name, kinds, ok := parseInfo(h.data)
	if !ok {
		h.fail(opt, repErrInvalid, "malformed request for information")
		return
	}
	if opt == optGo {
		if err := h.enter(name); err != nil {
			h.fail(opt, optionError(err), err.Error())
			return
		}
		h.describe(opt, h.disk.Info(), kinds)
		h.put(opt, repAck, nil)
		return
	}
	disk, err := h.openNamed(name)
	if err != nil {
		h.fail(opt, optionError(err), err.Error())
		return
	}
	h.describe(opt, disk.Info(), kinds)
	h.put(opt, repAck, nil)
	disk.Close()
}

// enter opens the export that the client has chosen, with the contexts that
// it selected, if they are of this export.
func (h *handshake) enter(name string) (err error) {
	if s := h.selected; s.disk != nil && s.export == name {
		h.disk, h.contexts, h.selected = s.disk, s.contexts, selection{}
		return nil
	}
	h.selected.drop()
	h.disk, err = h.openNamed(name)
	return err
}

// describe sends the size and flags of an export, and what else was asked for.
func (h *handshake) describe(opt uint32, e Export, kinds []byte) {
	p := be.AppendUint16(nil, infoExport)
	p = be.AppendUint64(p, e.Size)
	p = be.AppendUint16(p, h.transmissionFlags(e))
	h.put(opt, repInfo, p)

	var done [infoBlockSize + 1]bool // each kind once, however often it is asked for
	for ; len(kinds) > 0; kinds = kinds[2:] {
		kind := be.Uint16(kinds)
		if int(kind) >= len(done) || done[kind] {
			continue
		}
		done[kind] = true
		p := be.AppendUint16(nil, kind)
		switch kind {
		case infoName:
			h.put(opt, repInfo, append(p, e.Name...))
		case infoDescription:
			if e.Description != "" {
				h.put(opt, repInfo, append(p, clip(e.Description, maxText)...))
			}
		case infoBlockSize:
			p = be.AppendUint32(p, minBlock)
			p = be.AppendUint32(p, idealBlock)
			h.put(opt, repInfo, be.AppendUint32(p, maxPayload))
		}
	}
}

func parseInfo(p []byte) (name string, kinds []byte, ok bool) {
	if len(p) < 6 {
		return "", nil, false
	}
	n := be.Uint32(p)
	if uint64(n) > uint64(len(p)-6) {
		return "", nil, false
	}
	name, p = string(p[4:4+n]), p[4+n:]
	kinds = p[2:]
	return name, kinds, len(kinds) == 2*int(be.Uint16(p))
}

func (h *handshake) openNamed(name string) (Disk, error) {
	if len(name) > maxName {
		return nil, fail.New(fail.TooBig, "a name of %d bytes; at most %d", len(name), maxName)
	}
	disk, err := h.open(name)
	if err != nil { // the client is told, but few show it to their users
		h.log.Info("nbd: export not opened", "export", clip(name, maxMessage), "reason", err)
	}
	return disk, err
}

func (h *handshake) transmissionFlags(e Export) uint16 {
	f := uint16(canFlags | canFlush | canFUA | canCache | canMultiConn)
	if e.ReadOnly {
		f |= isReadOnly
	} else {
		f |= canTrim | canWriteZeroes | canFastZero
	}
	if h.structured {
		f |= canDF
	}
	return f
}

// put queues a reply to an option. A failure to write shows at Flush.
func (h *handshake) put(opt, kind uint32, data []byte) {
	var p [optionReplySize]byte
	be.PutUint64(p[0:], optionReplyMagic)
	be.PutUint32(p[8:], opt)
	be.PutUint32(p[12:], kind)
	be.PutUint32(p[16:], uint32(len(data)))
	h.w.Write(p[:])
	h.w.Write(data)
}

func (h *handshake) fail(opt, kind uint32, msg string) {
	h.put(opt, kind, []byte(clip(msg, maxText)))
}
