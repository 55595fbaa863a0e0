package iscsiclient

import "fmt"

// Statuses.
const (
	Good        = 0x00
	Check       = 0x02
	Conflict    = 0x18
	TaskSetFull = 0x28
)

// Result is how a command ended.
type Result struct {
	Status   byte
	Response byte // of iSCSI: 0, delivered
	Flags    byte // of the PDU with the status: 4 overflow, 2 underflow
	Residual uint32
	Sense    []byte
	Data     []byte
	R2Ts     int
}

// Key is the sense key and code: "5/24/00".
func (r *Result) Key() string {
	if len(r.Sense) < 14 {
		return ""
	}
	if r.Sense[0]&0x7f >= 0x72 {
		return fmt.Sprintf("%x/%02x/%02x", r.Sense[1]&0xf, r.Sense[2], r.Sense[3])
	}
	return fmt.Sprintf("%x/%02x/%02x", r.Sense[2]&0xf, r.Sense[12], r.Sense[13])
}

// Command is what a SCSI command needs.
type Command struct {
	LUN  int
	CDB  []byte
	Out  []byte // data-out
	In   int    // bytes of data-in expected
	EDTL int    // if not 0: other than len(Out) or In
	Attr byte   // task attribute
}

// PDU makes the command's, without data, and counts its number.
func (c *Client) PDU(cmd Command, tag uint32) *PDU {
	p := &PDU{}
	attr := cmd.Attr
	if attr == 0 {
		attr = 1
	}
	p.Header[0], p.Header[1] = OpCommand, 0x80|attr
	edtl := 0
	switch {
	case len(cmd.Out) > 0:
		p.Header[1] |= 0x20
		edtl = len(cmd.Out)
	case cmd.In > 0:
		p.Header[1] |= 0x40
		edtl = cmd.In
	}
	if cmd.EDTL != 0 {
		edtl = cmd.EDTL
	}
	p.Header[9] = byte(cmd.LUN)
	p.Put(16, tag)
	p.Put(20, uint32(edtl))
	p.Put(24, c.CmdSN)
	p.Put(28, c.ExpStatSN)
	copy(p.Header[32:], cmd.CDB)
	c.CmdSN++
	return p
}

// Start sends a command with what it may send unasked: immediate data, and the
// rest of the first burst.
func (c *Client) Start(cmd Command) (tag uint32, err error) {
	tag = c.Tag()
	p := c.PDU(cmd, tag)
	sent := 0
	if len(cmd.Out) > 0 && c.Immediate {
		sent = min(len(cmd.Out), c.Burst, c.Segment)
		p.Data = cmd.Out[:sent]
	}
	unasked := min(len(cmd.Out), c.Burst)
	if len(cmd.Out) > 0 && c.Unasked && sent < unasked {
		p.Header[1] &^= 0x80
	}
	if err := c.Send(p); err != nil {
		return tag, err
	}
	if p.Header[1]&0x80 == 0 {
		err = c.SendData(tag, NoTag, cmd.Out[:unasked], sent)
	}
	return tag, err
}

// SendData sends a burst of data-out: p from an offset to its end.
func (c *Client) SendData(tag, targetTag uint32, p []byte, from int) error {
	for sn := uint32(0); from < len(p); sn++ {
		n := min(len(p)-from, c.Segment)
		d := c.DataOut(tag, targetTag, sn, from, p[from:from+n], from+n == len(p))
		if err := c.Send(d); err != nil {
			return err
		}
		from += n
	}
	return nil
}

// DataOut makes one Data-Out.
func (c *Client) DataOut(tag, targetTag, sn uint32, off int, p []byte, final bool) *PDU {
	d := &PDU{Data: p}
	d.Header[0] = OpDataOut
	if final {
		d.Header[1] = 0x80
	}
	d.Put(16, tag)
	d.Put(20, targetTag)
	d.Put(28, c.ExpStatSN)
	d.Put(36, sn)
	d.Put(40, uint32(off))
	return d
}

// Finish serves what the target asks for until the command of that tag is
// answered. PDUs of other commands are an error.
func (c *Client) Finish(cmd Command, tag uint32) (*Result, error) {
	r := &Result{}
	for {
		p, err := c.Recv()
		if err != nil {
			return nil, err
		}
		if got := p.Word(16); got != tag {
			return nil, fmt.Errorf("opcode %#x for tag %#x instead of %#x", p.Opcode(), got, tag)
		}
		switch p.Opcode() {
		case OpR2T:
			r.R2Ts++
			off, n := int(p.Word(40)), int(p.Word(44))
			if err := c.SendData(tag, p.Word(20), cmd.Out[:off+n], off); err != nil {
				return nil, err
			}
		case OpDataIn:
			if int(p.Word(40)) != len(r.Data) {
				return nil, fmt.Errorf("Data-In at %d, not %d", p.Word(40), len(r.Data))
			}
			r.Data = append(r.Data, p.Data...)
			if p.Header[1]&1 != 0 {
				r.Status, r.Flags, r.Residual = p.Header[3], p.Header[1], p.Word(44)
				return r, nil
			}
		case OpResponse:
			r.Response, r.Status, r.Flags, r.Residual = p.Header[2], p.Header[3], p.Header[1], p.Word(44)
			if len(p.Data) > 2 {
				r.Sense = p.Data[2:]
			}
			return r, nil
		default:
			return nil, fmt.Errorf("opcode %#x in a command", p.Opcode())
		}
	}
}

// Do executes a command.
func (c *Client) Do(cmd Command) (*Result, error) {
	tag, err := c.Start(cmd)
	if err != nil {
		return nil, err
	}
	return c.Finish(cmd, tag)
}

// Manage sends a task management function and returns the response code. What
// comes before it is passed over.
func (c *Client) Manage(function byte, lun int, reference uint32) (byte, error) {
	p := &PDU{}
	p.Header[0], p.Header[1] = OpTask|Immediate, 0x80|function
	p.Header[9] = byte(lun)
	tag := c.Tag()
	p.Put(16, tag)
	p.Put(20, reference)
	p.Put(24, c.CmdSN)
	p.Put(28, c.ExpStatSN)
	if err := c.Send(p); err != nil {
		return 0, err
	}
	for {
		r, err := c.Recv()
		if err != nil {
			return 0, err
		}
		if r.Opcode() == OpTaskRsp && r.Word(16) == tag {
			return r.Header[2], nil
		}
	}
}

// Read16 is READ(16) of n blocks of 512 bytes.
func Read16(lba uint64, n int) Command {
	cdb := make([]byte, 16)
	cdb[0] = 0x88
	be.PutUint64(cdb[2:], lba)
	be.PutUint32(cdb[10:], uint32(n))
	return Command{CDB: cdb, In: n * 512}
}

// Write16 is WRITE(16) of p.
func Write16(lba uint64, p []byte) Command {
	cdb := make([]byte, 16)
	cdb[0] = 0x8a
	be.PutUint64(cdb[2:], lba)
	be.PutUint32(cdb[10:], uint32(len(p)/512))
	return Command{CDB: cdb, Out: p}
}

// TestUnitReady is that command.
func TestUnitReady() Command { return Command{CDB: make([]byte, 6)} }
