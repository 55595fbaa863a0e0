package nfs3

import "varve/internal/fs"

// args are the arguments of any procedure; which fields mean something depends
// on it. Byte slices lie in the call, pointers of set in the args themselves.
type args struct {
	fh, fh2     []byte // handles; of LINK the file's, then the directory's
	name, name2 []byte
	target      []byte // SYMLINK; MNT and UMNT: the path
	data        []byte // WRITE
	off         uint64 // READ, WRITE, COMMIT; READDIR: the cookie
	count       uint32 // bytes; READDIR: of the result at the most
	dirCount    uint32 // READDIRPLUS: bytes of names, cookies and numbers at the most
	how         uint32 // CREATE, stability of a WRITE, type of a MKNOD, bits of ACCESS
	verifier    uint64 // CREATE
	rdev        uint64 // MKNOD: major<<32 | minor
	badTime     bool   // a time that is none

	set                 fs.SetAttr
	mode, uid, gid      uint32
	size                uint64
	atime, mtime, ctime int64
}

func (a *args) decodeHandle(d *decoder) { a.fh = d.opaque(maxHandle) }

func (a *args) decodeName(d *decoder) {
	a.fh = d.opaque(maxHandle)
	a.name = d.opaque(maxRecord)
}

func (a *args) decodeSet(d *decoder) {
	if d.flag() {
		a.mode = d.u32() & 0o7777
		a.set.Mode = &a.mode
	}
	if d.flag() {
		a.uid = d.u32()
		a.set.UID = &a.uid
	}
	if d.flag() {
		a.gid = d.u32()
		a.set.GID = &a.gid
	}
	if d.flag() {
		a.size = d.u64()
		a.set.Size = &a.size
	}
	a.set.Atime, a.set.AtimeNow = a.decodeTime(d, &a.atime)
	a.set.Mtime, a.set.MtimeNow = a.decodeTime(d, &a.mtime)
}

func (a *args) decodeTime(d *decoder, t *int64) (set *int64, now bool) {
	switch d.u32() {
	case timeKeep:
	case timeServer:
		return nil, true
	case timeClient:
		*t = a.time(d)
		return t, false
	default:
		d.bad = true
	}
	return nil, false
}

// time takes an nfstime3, as nanoseconds.
func (a *args) time(d *decoder) int64 {
	sec, nsec := d.u32(), d.u32()
	if nsec >= 1e9 {
		a.badTime = true
	}
	return int64(sec)*1e9 + int64(nsec)
}

func (a *args) decodeSetattr(d *decoder) {
	a.decodeHandle(d)
	a.decodeSet(d)
	if d.flag() {
		a.ctime = a.time(d)
		a.set.Guard = &a.ctime
	}
}

func (a *args) decodeAccess(d *decoder) {
	a.decodeHandle(d)
	a.how = d.u32()
}

func (a *args) decodeRead(d *decoder) {
	a.decodeHandle(d)
	a.off, a.count = d.u64(), d.u32()
}

// decodeWrite takes as much of the data as has been received: of a call that
// is too long that is less than it says, see conn.record.
func (a *args) decodeWrite(d *decoder) {
	a.decodeHandle(d)
	a.off, a.count, a.how = d.u64(), d.u32(), d.u32()
	n := d.u32()
	if a.how > fileSync || n < a.count || int64(n) > int64(len(d.p)) && len(d.p) < maxIO {
		d.bad = true
	}
	if !d.bad {
		a.data = d.p[:min(int64(a.count), int64(len(d.p)), maxIO)]
	}
}

func (a *args) decodeCreate(d *decoder) {
	a.decodeName(d)
	switch a.how = d.u32(); a.how {
	case createUnchecked, createGuarded:
		a.decodeSet(d)
	case createExclusive:
		a.verifier = d.u64()
	default:
		d.bad = true
	}
}

func (a *args) decodeMkdir(d *decoder) {
	a.decodeName(d)
	a.decodeSet(d)
}

func (a *args) decodeSymlink(d *decoder) {
	a.decodeName(d)
	a.decodeSet(d)
	a.target = d.opaque(maxRecord)
}

func (a *args) decodeMknod(d *decoder) {
	a.decodeName(d)
	a.how = d.u32()
	switch specialModes[a.how] {
	case modeChar, modeBlk:
		a.decodeSet(d)
		major := d.u32()
		a.rdev = uint64(major)<<32 | uint64(d.u32())
	case modeSock, modeFIFO:
		a.decodeSet(d)
	}
}

func (a *args) decodeRename(d *decoder) {
	a.decodeName(d)
	a.fh2 = d.opaque(maxHandle)
	a.name2 = d.opaque(maxRecord)
}

func (a *args) decodeLink(d *decoder) {
	a.decodeHandle(d)
	a.fh2 = d.opaque(maxHandle)
	a.name = d.opaque(maxRecord)
}

func (a *args) decodeReaddir(d *decoder) {
	a.decodeHandle(d)
	a.off = d.u64()
	d.u64() // the cookie verifier: ours never changes
	a.count = d.u32()
	a.dirCount = a.count
}

func (a *args) decodeReaddirplus(d *decoder) {
	a.decodeHandle(d)
	a.off = d.u64()
	d.u64()
	a.dirCount, a.count = d.u32(), d.u32()
}

func (a *args) decodePath(d *decoder) { a.target = d.opaque(maxPath) }

func (a *args) decodeNothing(*decoder) {}
