package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// The generic netlink family "nbd", as in the kernel's nbd-netlink.h. Numbers
// are in the order of the machine; attributes are padded to four bytes:
//
//	message     netlink header (16) | command, version, 0, 0 | attributes
//	attribute   length (2) | type (2) | value
const (
	cmdConnect     = 1
	cmdReconfigure = 3

	attrIndex       = 1
	attrSize        = 2
	attrBlockSize   = 3
	attrTimeout     = 4
	attrServerFlags = 5
	attrSockets     = 7
	attrDeadTimeout = 8
	sockItem        = 1
	sockFD          = 1

	blockSize = 4096
)

// kernel is a socket that speaks to the kernel's NBD driver.
type kernel struct {
	fd       int
	family   uint16
	sequence uint32
}

// dialKernel opens the socket and finds the family's number. The nbd module
// must be loaded.
func dialKernel() (*kernel, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	k := &kernel{fd: fd}
	attrs, err := k.call(unix.GENL_ID_CTRL, unix.CTRL_CMD_GETFAMILY, attribute(unix.CTRL_ATTR_FAMILY_NAME, []byte("nbd\x00")))
	if err != nil {
		return nil, fmt.Errorf("no nbd in this kernel: %w", err)
	}
	for len(attrs) >= 4 {
		n := int(binary.NativeEndian.Uint16(attrs))
		if n < 4 || n > len(attrs) {
			break
		}
		if binary.NativeEndian.Uint16(attrs[2:]) == unix.CTRL_ATTR_FAMILY_ID && n >= 6 {
			k.family = binary.NativeEndian.Uint16(attrs[4:])
			return k, nil
		}
		attrs = attrs[min((n+3)&^3, len(attrs)):]
	}
	return nil, errors.New("the kernel named no number for nbd")
}

// connect makes the device serve the session's export.
func (k *kernel) connect(index uint32, s *session) error {
	_, err := k.call(k.family, cmdConnect,
		attr32(attrIndex, index),
		attr64(attrSize, s.size),
		attr64(attrBlockSize, blockSize),
		attr64(attrTimeout, uint64(requestTimeout/time.Second)),
		attr64(attrDeadTimeout, uint64(deadTimeout/time.Second)),
		attr64(attrServerFlags, uint64(s.flags)),
		sockets(s))
	return err
}

// reconfigure puts the session in the place of the connection that died.
func (k *kernel) reconfigure(index uint32, s *session) error {
	_, err := k.call(k.family, cmdReconfigure, attr32(attrIndex, index), sockets(s))
	return err
}

func sockets(s *session) []byte {
	return attribute(attrSockets|unix.NLA_F_NESTED,
		attribute(sockItem|unix.NLA_F_NESTED, attr32(sockFD, uint32(s.file.Fd()))))
}

// call sends one command and waits for its end. It returns the attributes of
// the answer, if there is one.
func (k *kernel) call(family uint16, command byte, attrs ...[]byte) ([]byte, error) {
	k.sequence++
	body := []byte{command, 1, 0, 0}
	for _, a := range attrs {
		body = append(body, a...)
	}
	msg := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)))
	msg = binary.NativeEndian.AppendUint16(msg, family)
	msg = binary.NativeEndian.AppendUint16(msg, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	msg = binary.NativeEndian.AppendUint32(msg, k.sequence)
	msg = binary.NativeEndian.AppendUint32(msg, 0) // the kernel knows who we are
	if err := unix.Sendto(k.fd, append(msg, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	var answer []byte
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(k.fd, buf, 0)
		if err != nil {
			return nil, err
		}
		for rest := buf[:n]; len(rest) >= unix.NLMSG_HDRLEN; {
			size := int(binary.NativeEndian.Uint32(rest))
			if size < unix.NLMSG_HDRLEN+4 || size > len(rest) {
				return nil, errors.New("a malformed netlink message")
			}
			if binary.NativeEndian.Uint16(rest[4:]) == unix.NLMSG_ERROR {
				if code := int32(binary.NativeEndian.Uint32(rest[unix.NLMSG_HDRLEN:])); code != 0 {
					return nil, unix.Errno(-code)
				}
				return answer, nil
			}
			answer = append([]byte(nil), rest[unix.NLMSG_HDRLEN+4:size]...)
			rest = rest[min((size+3)&^3, len(rest)):]
		}
	}
}

// attribute encodes one attribute, with its padding.
func attribute(kind uint16, value []byte) []byte {
	a := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	a = binary.NativeEndian.AppendUint16(a, kind)
	a = append(a, value...)
	return append(a, make([]byte, -len(value)&3)...)
}

func attr32(kind uint16, v uint32) []byte {
	return attribute(kind, binary.NativeEndian.AppendUint32(nil, v))
}

func attr64(kind uint16, v uint64) []byte {
	return attribute(kind, binary.NativeEndian.AppendUint64(nil, v))
}
