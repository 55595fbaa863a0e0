package nfsclient

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// maxRecord bounds a reply, in bytes: the longest READ and room to spare.
const maxRecord = 2 << 20

// Wire carries messages as records over TCP (RFC 5531, 11). One goroutine may
// send while another receives.
type Wire struct {
	net.Conn
	r *bufio.Reader
}

// DialWire connects to addr, from the local address, if one is given: an IP, or
// IP:PORT.
func DialWire(addr, local string) (*Wire, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	if local != "" {
		host, port, err := net.SplitHostPort(local)
		if err != nil {
			host, port = local, "0"
		}
		from, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(host, port))
		if err != nil {
			return nil, err
		}
		d.LocalAddr = from
	}
	nc, err := d.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return newWire(nc), nil
}

func newWire(nc net.Conn) *Wire { return &Wire{nc, bufio.NewReaderSize(nc, 256<<10)} }

const lastFragment = 1 << 31

// Send sends a message as one record of one fragment.
func (w *Wire) Send(msg []byte) error {
	_, err := w.Write(Record(msg, len(msg)))
	return err
}

// Record returns a message as a record of fragments of so many bytes, and the
// last of what is left.
func Record(msg []byte, fragment int) []byte {
	var out []byte
	for len(msg) > fragment {
		out = binary.BigEndian.AppendUint32(out, uint32(fragment))
		out = append(out, msg[:fragment]...)
		msg = msg[fragment:]
	}
	out = binary.BigEndian.AppendUint32(out, lastFragment|uint32(len(msg)))
	return append(out, msg...)
}

// Receive waits for the next message.
func (w *Wire) Receive() ([]byte, error) {
	var msg []byte
	for {
		var mark [4]byte
		if _, err := io.ReadFull(w.r, mark[:]); err != nil {
			return nil, err
		}
		m := binary.BigEndian.Uint32(mark[:])
		n := int(m &^ lastFragment)
		if n == 0 || len(msg)+n > maxRecord {
			return nil, fmt.Errorf("%w: a fragment of %d bytes after %d", ErrProtocol, n, len(msg))
		}
		at := len(msg)
		msg = append(msg, make([]byte, n)...)
		if _, err := io.ReadFull(w.r, msg[at:]); err != nil {
			return nil, err
		}
		if m&lastFragment != 0 {
			return msg, nil
		}
	}
}
