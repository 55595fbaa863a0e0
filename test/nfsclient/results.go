package nfsclient

// body is the part of a result after its status.
type body interface {
	read(d *decoder, ok bool)
}

// AttrRes is the result of GETATTR: there are attributes on success only.
type AttrRes struct {
	Outcome
	Attr *Attr
}

func (r *AttrRes) read(d *decoder, ok bool) {
	if ok {
		r.Attr = d.attr()
	}
}

// WccRes is the result of SETATTR, REMOVE and RMDIR.
type WccRes struct {
	Outcome
	Wcc Wcc
}

func (r *WccRes) read(d *decoder, _ bool) { r.Wcc = d.wcc() }

// LookupRes is the result of LOOKUP.
type LookupRes struct {
	Outcome
	FH   FH
	Attr *Attr
	Dir  *Attr
}

func (r *LookupRes) read(d *decoder, ok bool) {
	if ok {
		r.FH, r.Attr = d.fh(), d.postAttr()
	}
	r.Dir = d.postAttr()
}

// AccessRes is the result of ACCESS.
type AccessRes struct {
	Outcome
	Attr   *Attr
	Access uint32
}

func (r *AccessRes) read(d *decoder, ok bool) {
	r.Attr = d.postAttr()
	if ok {
		r.Access = d.u32()
	}
}

// ReadlinkRes is the result of READLINK.
type ReadlinkRes struct {
	Outcome
	Attr   *Attr
	Target string
}

func (r *ReadlinkRes) read(d *decoder, ok bool) {
	r.Attr = d.postAttr()
	if ok {
		r.Target = d.string(maxPath)
	}
}

// ReadRes is the result of READ.
type ReadRes struct {
	Outcome
	Attr *Attr
	EOF  bool
	Data []byte
}

func (r *ReadRes) read(d *decoder, ok bool) {
	r.Attr = d.postAttr()
	if !ok {
		return
	}
	n := d.u32()
	r.EOF = d.bool()
	if r.Data = d.opaque(maxRecord); uint32(len(r.Data)) != n {
		d.fault("READ of %d bytes that brings %d", n, len(r.Data))
	}
}

// Stable is stable_how.
type Stable uint32

// How durable a write is when it is answered.
const (
	Unstable Stable = 0
	DataSync Stable = 1
	FileSync Stable = 2
)

// Verifier is the server's word on what it may have forgotten.
type Verifier [8]byte

// WriteRes is the result of WRITE.
type WriteRes struct {
	Outcome
	Wcc       Wcc
	Count     uint32
	Committed Stable
	Verf      Verifier
}

func (r *WriteRes) read(d *decoder, ok bool) {
	r.Wcc = d.wcc()
	if !ok {
		return
	}
	r.Count = d.u32()
	if r.Committed = Stable(d.u32()); r.Committed > FileSync {
		d.fault("stable_how %d", r.Committed)
	}
	copy(r.Verf[:], d.fixed(8))
}

// CommitRes is the result of COMMIT.
type CommitRes struct {
	Outcome
	Wcc  Wcc
	Verf Verifier
}

func (r *CommitRes) read(d *decoder, ok bool) {
	if r.Wcc = d.wcc(); ok {
		copy(r.Verf[:], d.fixed(8))
	}
}

// MakeRes is the result of CREATE, MKDIR, SYMLINK and MKNOD.
type MakeRes struct {
	Outcome
	FH   FH    // "" if the server left it out
	Attr *Attr // nil likewise
	Dir  Wcc
}

func (r *MakeRes) read(d *decoder, ok bool) {
	if ok {
		r.FH, r.Attr = d.postFH(), d.postAttr()
	}
	r.Dir = d.wcc()
}

// RenameRes is the result of RENAME.
type RenameRes struct {
	Outcome
	From, To Wcc
}

func (r *RenameRes) read(d *decoder, _ bool) { r.From, r.To = d.wcc(), d.wcc() }

// LinkRes is the result of LINK.
type LinkRes struct {
	Outcome
	Attr *Attr
	Dir  Wcc
}

func (r *LinkRes) read(d *decoder, _ bool) { r.Attr, r.Dir = d.postAttr(), d.wcc() }

// Entry is one of a directory. READDIR knows no more than the first three.
type Entry struct {
	FileID uint64
	Name   string
	Cookie uint64
	Attr   *Attr
	FH     FH
}

// Size returns the bytes of the entry in a reply, with the mark that it is
// there.
func (e Entry) Size(plus bool) int {
	n := 4 + 8 + 4 + len(e.Name) + padding(len(e.Name)) + 8
	if !plus {
		return n
	}
	n += 4 + 4
	if e.Attr != nil {
		n += attrSize
	}
	if e.FH != "" {
		n += 4 + len(e.FH) + padding(len(e.FH))
	}
	return n
}

const attrSize = 84 // of fattr3

// ReaddirRes is the result of READDIR and READDIRPLUS.
type ReaddirRes struct {
	Outcome
	Dir     *Attr
	Verf    Verifier
	Entries []Entry
	EOF     bool
	Size    int // bytes of the success part, which "count" and "maxcount" bound

	plus bool
}

func (r *ReaddirRes) read(d *decoder, ok bool) {
	whole := len(d.b)
	r.Dir = d.postAttr()
	if !ok {
		return
	}
	copy(r.Verf[:], d.fixed(8))
	for d.bool() {
		e := Entry{FileID: d.u64(), Name: d.name(), Cookie: d.u64()}
		if r.plus {
			e.Attr, e.FH = d.postAttr(), d.postFH()
		}
		switch {
		case d.err != nil:
		case e.FileID == 0 || e.Cookie == 0:
			d.fault("entry %q with file id %d and cookie %d", e.Name, e.FileID, e.Cookie)
		case e.Attr != nil && e.Attr.FileID != e.FileID:
			d.fault("entry %q with file id %d and attributes of %d", e.Name, e.FileID, e.Attr.FileID)
		}
		r.Entries = append(r.Entries, e)
	}
	r.EOF = d.bool()
	r.Size = whole - len(d.b)
	if len(r.Entries) == 0 && !r.EOF && d.err == nil {
		d.fault("neither an entry nor the end")
	}
}

// FsstatRes is the result of FSSTAT.
type FsstatRes struct {
	Outcome
	Attr                               *Attr
	TotalBytes, FreeBytes, AvailBytes  uint64
	TotalInodes, FreeInodes, AvailInos uint64
	Invarsec                           uint32
}

func (r *FsstatRes) read(d *decoder, ok bool) {
	if r.Attr = d.postAttr(); !ok {
		return
	}
	r.TotalBytes, r.FreeBytes, r.AvailBytes = d.u64(), d.u64(), d.u64()
	r.TotalInodes, r.FreeInodes, r.AvailInos = d.u64(), d.u64(), d.u64()
	r.Invarsec = d.u32()
	if r.FreeBytes > r.TotalBytes || r.AvailBytes > r.FreeBytes || r.FreeInodes > r.TotalInodes || r.AvailInos > r.FreeInodes {
		d.fault("more free than there is: %+v", *r)
	}
}

// Properties of a file system.
const (
	HasLink     = 0x01
	HasSymlink  = 0x02
	Homogeneous = 0x08
	CanSetTime  = 0x10
)

// FsinfoRes is the result of FSINFO.
type FsinfoRes struct {
	Outcome
	Attr                  *Attr
	Rtmax, Rtpref, Rtmult uint32
	Wtmax, Wtpref, Wtmult uint32
	Dtpref                uint32
	MaxSize               uint64
	TimeDelta             Time
	Properties            uint32
}

func (r *FsinfoRes) read(d *decoder, ok bool) {
	if r.Attr = d.postAttr(); !ok {
		return
	}
	r.Rtmax, r.Rtpref, r.Rtmult = d.u32(), d.u32(), d.u32()
	r.Wtmax, r.Wtpref, r.Wtmult = d.u32(), d.u32(), d.u32()
	r.Dtpref, r.MaxSize, r.TimeDelta, r.Properties = d.u32(), d.u64(), d.time(), d.u32()
	if r.Rtpref > r.Rtmax || r.Wtpref > r.Wtmax || r.Rtmax == 0 || r.Wtmax == 0 || r.Rtmult == 0 || r.Wtmult == 0 {
		d.fault("transfer sizes that make no sense: %+v", *r)
	}
}

// PathconfRes is the result of PATHCONF.
type PathconfRes struct {
	Outcome
	Attr                            *Attr
	Linkmax, Namemax                uint32
	NoTrunc, ChownRestricted        bool
	CaseInsensitive, CasePreserving bool
}

func (r *PathconfRes) read(d *decoder, ok bool) {
	if r.Attr = d.postAttr(); !ok {
		return
	}
	r.Linkmax, r.Namemax = d.u32(), d.u32()
	r.NoTrunc, r.ChownRestricted = d.bool(), d.bool()
	r.CaseInsensitive, r.CasePreserving = d.bool(), d.bool()
}
