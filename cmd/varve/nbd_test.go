package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// disk is a client of an export, as small as the protocol allows:
//
//	disk SOCKET EXPORT write OFFSET TEXT     writes and flushes
//	disk SOCKET EXPORT read OFFSET LENGTH    shows the bytes, zeros as dots, on stdout
//	disk SOCKET EXPORT hold                  stays connected until the script ends
//	disk SOCKET EXPORT gone                  waits for the end of the one that was held
//
// With "!" in front it must fail.
func disk(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: disk SOCKET EXPORT VERB ...")
	}
	if args[2] == "gone" {
		_, err := io.ReadAll(ts.Value(held{}).(*holder).conn)
		ts.Check(err)
		return
	}
	err := onDisk(ts, args)
	if (err != nil) != neg {
		ts.Fatalf("%v", err)
	}
}

// held is the key of a script's holder.
type held struct{}

type holder struct{ conn net.Conn }

func onDisk(ts *testscript.TestScript, args []string) error {
	c, err := attach(ts.MkAbs(args[0]), args[1])
	if err != nil {
		return err
	}
	if args[2] == "hold" {
		ts.Value(held{}).(*holder).conn = c
		ts.Defer(func() { c.Close() })
		return nil
	}
	defer c.Close()
	offset, err := strconv.ParseUint(args[3], 10, 64)
	if err != nil {
		return err
	}
	switch args[2] {
	case "write":
		if err := request(c, 1, offset, uint32(len(args[4])), []byte(args[4]), nil); err != nil {
			return err
		}
		return request(c, 3, 0, 0, nil, nil)
	case "read":
		n, err := strconv.Atoi(args[4])
		if err != nil {
			return err
		}
		p := make([]byte, n)
		if err := request(c, 0, offset, uint32(n), nil, p); err != nil {
			return err
		}
		fmt.Fprintln(ts.Stdout(), strings.ReplaceAll(string(p), "\x00", "."))
		return nil
	}
	return fmt.Errorf("unknown verb %q", args[2])
}

// attach connects and opens an export with NBD_OPT_EXPORT_NAME, to which a
// server answers with the size or by closing.
func attach(socket, export string) (net.Conn, error) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	hello := binary.BigEndian.AppendUint32(nil, 3)       // fixed newstyle, no zeroes
	hello = append(hello, "IHAVEOPT\x00\x00\x00\x01"...) // NBD_OPT_EXPORT_NAME
	hello = binary.BigEndian.AppendUint32(hello, uint32(len(export)))
	hello = append(hello, export...)
	if _, err = io.ReadFull(c, make([]byte, 18)); err == nil {
		_, err = c.Write(hello)
	}
	if err == nil {
		_, err = io.ReadFull(c, make([]byte, 10))
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("export %s: %w", export, err)
	}
	return c, nil
}

// request sends one request and reads its simple reply, with in filled by a read.
func request(c net.Conn, command uint16, offset uint64, length uint32, out, in []byte) error {
	b := binary.BigEndian.AppendUint32(nil, 0x25609513)
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint16(b, command)
	b = binary.BigEndian.AppendUint64(b, 1)
	b = binary.BigEndian.AppendUint64(b, offset)
	b = binary.BigEndian.AppendUint32(b, length)
	if _, err := c.Write(append(b, out...)); err != nil {
		return err
	}
	reply := make([]byte, 16)
	if _, err := io.ReadFull(c, reply); err != nil {
		return err
	}
	if errno := binary.BigEndian.Uint32(reply[4:]); errno != 0 {
		return fmt.Errorf("command %d: NBD error %d", command, errno)
	}
	_, err := io.ReadFull(c, in)
	return err
}
