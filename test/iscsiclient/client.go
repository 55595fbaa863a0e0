// Package iscsiclient is a small iSCSI initiator for tests: one connection, no
// recovery, nothing in the background, and every PDU at hand, so that a test can
// also send what no initiator would.
package iscsiclient

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

var be = binary.BigEndian

// Opcodes that tests name.
const (
	OpNopOut   = 0x00
	OpCommand  = 0x01
	OpTask     = 0x02
	OpLogin    = 0x03
	OpText     = 0x04
	OpDataOut  = 0x05
	OpLogout   = 0x06
	OpNopIn    = 0x20
	OpResponse = 0x21
	OpTaskRsp  = 0x22
	OpLoginRsp = 0x23
	OpTextRsp  = 0x24
	OpDataIn   = 0x25
	OpLogoutR  = 0x26
	OpR2T      = 0x31
	OpAsync    = 0x32
	OpReject   = 0x3f

	Immediate = 0x40
	NoTag     = 0xffffffff
)

// PDU is a basic header and its data.
type PDU struct {
	Header [48]byte
	Data   []byte
}

// Opcode is the PDU's.
func (p *PDU) Opcode() byte { return p.Header[0] & 0x3f }

// Word returns the four bytes at an offset of the header.
func (p *PDU) Word(at int) uint32 { return be.Uint32(p.Header[at:]) }

// Put sets the four bytes at an offset of the header.
func (p *PDU) Put(at int, v uint32) { be.PutUint32(p.Header[at:], v) }

// Options say how to log in. The zero value is a normal session without
// authentication in which both sides do what the defaults of RFC 7143 say.
type Options struct {
	Initiator string // default iqn.2026-11.test:initiator
	Target    string // "": a discovery session
	ISID      uint32 // its last four bytes
	User      string // for CHAP with MD5
	Secret    string
	OurUser   string // of the target, to be verified
	OurSecret string
	Keys      map[string]string // more operational keys
	Timeout   time.Duration     // of every read and write; default 10 s
}

// Client is a session. It is not safe for concurrent use.
type Client struct {
	Conn         net.Conn
	CmdSN        uint32
	ExpStatSN    uint32
	MaxCmdSN     uint32
	TSIH         uint16
	Keys         map[string]string // what the target answered
	HeaderDigest bool
	DataDigest   bool
	Burst        int  // FirstBurstLength
	Segment      int  // the target's MaxRecvDataSegmentLength
	Unasked      bool // InitialR2T=No
	Immediate    bool // ImmediateData=Yes
	o            Options
	tag          uint32
}

// StatusError is a login that the target refused.
type StatusError struct{ Class, Detail byte }

func (e *StatusError) Error() string {
	return fmt.Sprintf("login refused: status %02x%02x", e.Class, e.Detail)
}

// Dial connects without logging in.
func Dial(addr string, o Options) (*Client, error) {
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Initiator == "" {
		o.Initiator = "iqn.2026-11.test:initiator"
	}
	nc, err := net.DialTimeout("tcp", addr, o.Timeout)
	if err != nil {
		return nil, err
	}
	return &Client{Conn: nc, CmdSN: 1, o: o, Keys: map[string]string{}, Burst: 65536, Segment: 8192, Immediate: true}, nil
}

// Login connects and logs in.
func Login(addr string, o Options) (*Client, error) {
	c, err := Dial(addr, o)
	if err != nil {
		return nil, err
	}
	if err := c.login(); err != nil {
		c.Conn.Close()
		return nil, err
	}
	return c, nil
}

func (c *Client) login() error {
	first := map[string]string{"InitiatorName": c.o.Initiator, "SessionType": "Normal", "TargetName": c.o.Target, "AuthMethod": "None"}
	if c.o.Target == "" {
		first["SessionType"] = "Discovery"
		delete(first, "TargetName")
	}
	if c.o.User != "" {
		first["AuthMethod"] = "CHAP"
		if err := c.chap(first); err != nil {
			return err
		}
	} else if _, err := c.LoginStep(0, 1, true, first); err != nil {
		return err
	}
	if _, err := c.LoginStep(1, 3, true, c.o.Keys); err != nil {
		return err
	}
	c.HeaderDigest = c.Keys["HeaderDigest"] == "CRC32C"
	c.DataDigest = c.Keys["DataDigest"] == "CRC32C"
	c.Unasked = c.Keys["InitialR2T"] == "No"
	c.Immediate = c.Keys["ImmediateData"] != "No"
	for key, v := range map[string]*int{"FirstBurstLength": &c.Burst, "MaxRecvDataSegmentLength": &c.Segment} {
		if n, err := strconv.Atoi(c.Keys[key]); err == nil {
			*v = n
		}
	}
	return nil
}

func (c *Client) chap(first map[string]string) error {
	if _, err := c.LoginStep(0, 1, false, first); err != nil {
		return err
	}
	answer, err := c.LoginStep(0, 1, false, map[string]string{"CHAP_A": "5"})
	if err != nil {
		return err
	}
	keys := map[string]string{"CHAP_N": c.o.User, "CHAP_R": Response(answer["CHAP_I"], c.o.Secret, answer["CHAP_C"])}
	if c.o.OurUser != "" {
		keys["CHAP_I"], keys["CHAP_C"] = "77", "0x00112233445566778899aabbccddeeff"
	}
	if answer, err = c.LoginStep(0, 1, true, keys); err != nil {
		return err
	}
	if c.o.OurUser != "" && (answer["CHAP_N"] != c.o.OurUser || answer["CHAP_R"] != Response("77", c.o.OurSecret, keys["CHAP_C"])) {
		return fmt.Errorf("the target proved nothing: %v", answer)
	}
	return nil
}

// Response is the CHAP response of MD5 to a challenge, both in hexadecimal.
func Response(id, secret, challenge string) string {
	n, _ := strconv.Atoi(id)
	raw, _ := hex.DecodeString(strings.TrimPrefix(challenge, "0x"))
	sum := md5.Sum(append(append([]byte{byte(n)}, secret...), raw...))
	return "0x" + hex.EncodeToString(sum[:])
}

// LoginStep sends one login request and returns the keys of the response.
func (c *Client) LoginStep(stage, next byte, transit bool, keys map[string]string) (map[string]string, error) {
	p := &PDU{}
	p.Header[0] = OpLogin | Immediate
	p.Header[1] = stage << 2
	if transit {
		p.Header[1] |= 0x80 | next
	}
	p.Header[8] = 0x80 // random ISID
	be.PutUint32(p.Header[10:], c.o.ISID)
	be.PutUint16(p.Header[14:], c.TSIH)
	p.Put(16, 0x4c4c4c4c)
	p.Put(24, c.CmdSN)
	p.Put(28, c.ExpStatSN)
	p.Data = Text(keys)
	if err := c.Send(p); err != nil {
		return nil, err
	}
	r, err := c.Recv()
	switch {
	case err != nil:
		return nil, err
	case r.Opcode() != OpLoginRsp:
		return nil, fmt.Errorf("opcode %#x in login", r.Opcode())
	case r.Header[36] != 0:
		return nil, &StatusError{r.Header[36], r.Header[37]}
	}
	c.TSIH = be.Uint16(r.Header[14:])
	answer := ParseText(r.Data)
	for k, v := range answer {
		c.Keys[k] = v
	}
	return answer, nil
}

// Text encodes keys.
func Text(keys map[string]string) []byte {
	var p []byte
	for k, v := range keys {
		p = append(p, k+"="+v+"\x00"...)
	}
	return p
}

// ParseText decodes keys; of a key that comes more than once the last counts.
func ParseText(p []byte) map[string]string {
	m := map[string]string{}
	for s := range strings.SplitSeq(string(p), "\x00") {
		if k, v, ok := strings.Cut(s, "="); ok {
			m[k] = v
		}
	}
	return m
}

// Tag returns a task tag that was not used before.
func (c *Client) Tag() uint32 {
	c.tag++
	return c.tag
}

var table = crc32.MakeTable(crc32.Castagnoli)

func digest(p []byte) []byte { return binary.LittleEndian.AppendUint32(nil, crc32.Checksum(p, table)) }

// Send sends a PDU, with its length and digests set.
func (c *Client) Send(p *PDU) error {
	n := len(p.Data)
	p.Header[5], p.Header[6], p.Header[7] = byte(n>>16), byte(n>>8), byte(n)
	raw := append([]byte(nil), p.Header[:]...)
	if c.HeaderDigest {
		raw = append(raw, digest(raw)...)
	}
	data := append([]byte(nil), p.Data...)
	for len(data)%4 != 0 {
		data = append(data, 0)
	}
	raw = append(raw, data...)
	if c.DataDigest && n > 0 {
		raw = append(raw, digest(data)...)
	}
	return c.SendRaw(raw)
}

// SendRaw sends bytes as they are.
func (c *Client) SendRaw(p []byte) error {
	c.Conn.SetWriteDeadline(time.Now().Add(c.o.Timeout))
	_, err := c.Conn.Write(p)
	return err
}

// Recv receives the next PDU and verifies its digests. Pings are answered.
func (c *Client) Recv() (*PDU, error) {
	for {
		p, err := c.recv()
		if err != nil || p.Opcode() != OpNopIn || p.Word(20) == NoTag {
			return p, err
		}
		pong := &PDU{}
		pong.Header[0], pong.Header[1] = OpNopOut|Immediate, 0x80
		pong.Put(16, NoTag)
		pong.Put(20, p.Word(20))
		pong.Put(24, c.CmdSN)
		pong.Put(28, c.ExpStatSN)
		if err := c.Send(pong); err != nil {
			return nil, err
		}
	}
}

func (c *Client) recv() (*PDU, error) {
	c.Conn.SetReadDeadline(time.Now().Add(c.o.Timeout))
	p := &PDU{}
	if _, err := io.ReadFull(c.Conn, p.Header[:]); err != nil {
		return nil, err
	}
	if c.HeaderDigest {
		if err := c.verify(p.Header[:]); err != nil {
			return nil, err
		}
	}
	n := int(p.Word(4) & 0xffffff)
	data := make([]byte, (n+3)&^3)
	if _, err := io.ReadFull(c.Conn, data); err != nil {
		return nil, err
	}
	if c.DataDigest && n > 0 {
		if err := c.verify(data); err != nil {
			return nil, err
		}
	}
	p.Data = data[:n]
	return p, c.number(p)
}

// number checks the status number of a PDU, and takes over the window.
func (c *Client) number(p *PDU) error {
	c.MaxCmdSN = p.Word(32)
	switch p.Opcode() {
	case OpDataIn:
		if p.Header[1]&1 == 0 {
			return nil
		}
	case OpR2T:
		return nil
	case OpNopIn:
		if p.Word(16) == NoTag {
			return nil
		}
	case OpLoginRsp:
		c.ExpStatSN = p.Word(24) + 1
		return nil
	}
	if got := p.Word(24); got != c.ExpStatSN {
		return fmt.Errorf("opcode %#x has StatSN %d, not %d", p.Opcode(), got, c.ExpStatSN)
	}
	c.ExpStatSN++
	return nil
}

func (c *Client) verify(p []byte) error {
	var d [4]byte
	if _, err := io.ReadFull(c.Conn, d[:]); err != nil {
		return err
	}
	if string(d[:]) != string(digest(p)) {
		return fmt.Errorf("a digest is wrong")
	}
	return nil
}

// Close cuts the connection.
func (c *Client) Close() error { return c.Conn.Close() }

// Logout ends the session.
func (c *Client) Logout() error {
	defer c.Close()
	p := &PDU{}
	p.Header[0], p.Header[1] = OpLogout|Immediate, 0x80
	p.Put(16, c.Tag())
	p.Put(24, c.CmdSN)
	p.Put(28, c.ExpStatSN)
	if err := c.Send(p); err != nil {
		return err
	}
	r, err := c.Recv()
	if err == nil && (r.Opcode() != OpLogoutR || r.Header[2] != 0) {
		err = fmt.Errorf("logout was answered by opcode %#x, response %d", r.Opcode(), r.Header[2])
	}
	return err
}
