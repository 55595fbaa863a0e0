package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// session is a connection to an export, past the handshake.
type session struct {
	file  *os.File // the socket; the kernel holds it too
	size  uint64   // of the export, in bytes
	flags uint16   // transmission flags
}

func (s *session) close() { _ = s.file.Close() } // nothing is buffered in it

const (
	magicOption = 0x49484156454F5054 // IHAVEOPT
	magicReply  = 0x3e889045565a9
	flagFixed   = 1 << 0
	flagNoZeros = 1 << 1
	optGo       = 7
	repAck      = 1
	repInfo     = 3
	infoExport  = 0
	maxReply    = 4096 // bytes of an option reply
	handshake   = 20 * time.Second
)

// dialExport connects and goes through the fixed newstyle handshake.
func dialExport(addr, name string) (*session, error) {
	conn, err := net.DialTimeout("tcp", addr, handshake)
	if err != nil {
		return nil, err
	}
	defer conn.Close() // the file below is a duplicate
	if err := conn.SetDeadline(time.Now().Add(handshake)); err != nil {
		return nil, err
	}
	s := new(session)
	if err := s.negotiate(conn, name); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	if s.file, err = conn.(*net.TCPConn).File(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *session) negotiate(conn io.ReadWriter, name string) error {
	var greeting struct {
		Magic, Option uint64
		Flags         uint16
	}
	if err := binary.Read(conn, binary.BigEndian, &greeting); err != nil {
		return err
	}
	if greeting.Option != magicOption || greeting.Flags&flagFixed == 0 {
		return errors.New("not a fixed newstyle server")
	}
	var hello bytes.Buffer
	put := func(v any) { _ = binary.Write(&hello, binary.BigEndian, v) } // a Buffer takes all
	put(uint32(flagFixed | flagNoZeros))
	put(uint64(magicOption))
	put(uint32(optGo))
	put(uint32(4 + len(name) + 2))
	put(uint32(len(name)))
	put([]byte(name))
	put(uint16(0)) // no further information asked for
	if _, err := conn.Write(hello.Bytes()); err != nil {
		return err
	}
	return s.readReplies(conn)
}

func (s *session) readReplies(conn io.Reader) error {
	known := false
	for {
		var head struct {
			Magic             uint64
			Option, Type, Len uint32
		}
		if err := binary.Read(conn, binary.BigEndian, &head); err != nil {
			return err
		}
		if head.Magic != magicReply || head.Len > maxReply {
			return errors.New("a malformed option reply")
		}
		data := make([]byte, head.Len)
		if _, err := io.ReadFull(conn, data); err != nil {
			return err
		}
		switch {
		case head.Type == repAck && known:
			return nil
		case head.Type == repInfo && len(data) == 12 && binary.BigEndian.Uint16(data) == infoExport:
			s.size, s.flags = binary.BigEndian.Uint64(data[2:]), binary.BigEndian.Uint16(data[10:])
			known = true
		case head.Type != repInfo:
			return fmt.Errorf("option reply %#x: %s", head.Type, data)
		}
	}
}
