package nfsclient

import "fmt"

// The procedures of NFS (RFC 1813, 3.3).
const (
	ProcNull        = 0
	ProcGetattr     = 1
	ProcSetattr     = 2
	ProcLookup      = 3
	ProcAccess      = 4
	ProcReadlink    = 5
	ProcRead        = 6
	ProcWrite       = 7
	ProcCreate      = 8
	ProcMkdir       = 9
	ProcSymlink     = 10
	ProcMknod       = 11
	ProcRemove      = 12
	ProcRmdir       = 13
	ProcRename      = 14
	ProcLink        = 15
	ProcReaddir     = 16
	ProcReaddirplus = 17
	ProcFsstat      = 18
	ProcFsinfo      = 19
	ProcPathconf    = 20
	ProcCommit      = 21
)

// The rights that ACCESS asks for.
const (
	AccessRead    = 0x01
	AccessLookup  = 0x02
	AccessModify  = 0x04
	AccessExtend  = 0x08
	AccessDelete  = 0x10
	AccessExecute = 0x20
)

// Client makes calls over a connection in somebody's name. It is a value: a
// changed copy speaks for somebody else.
type Client struct {
	Conn *Conn
	Cred Auth
	XID  uint32 // of the calls, for sending them again; 0: a new one for each
}

// As returns a client that speaks for that user.
func (c Client) As(uid, gid uint32, groups ...uint32) Client {
	c.Cred = Sys("tester", uid, gid, groups...)
	return c
}

// On returns a client that uses another connection.
func (c Client) On(conn *Conn) Client {
	c.Conn = conn
	return c
}

// Repeating returns a client whose calls have that XID.
func (c Client) Repeating(xid uint32) Client {
	c.XID = xid
	return c
}

// call makes one call and reads the result into b.
func (c Client) call(program, version, procedure uint32, args encoder, b body) Outcome {
	return c.raw(program, version, procedure, args, func(d *decoder) Status {
		st := Status(d.u32())
		if _, known := statusNames[st]; !known {
			d.fault("status %d", st)
			return st
		}
		b.read(d, st == OK)
		return st
	})
}

func (c Client) raw(program, version, procedure uint32, args encoder, read func(*decoder) Status) Outcome {
	xid := c.XID
	if xid == 0 {
		xid = c.Conn.XID()
	}
	results, order, err := c.Conn.Do(Call{XID: xid, RPC: 2, Program: program, Version: version, Procedure: procedure, Cred: c.Cred, Args: args})
	if err != nil {
		return Outcome{Err: err, Order: order}
	}
	d := decoder{b: results}
	o := Outcome{Status: read(&d), Order: order}
	if err := d.done(); err != nil {
		o.Err = fmt.Errorf("%w: program %d procedure %d: %w", ErrProtocol, program, procedure, err)
	}
	return o
}

func (c Client) nfs(procedure uint32, args encoder, b body) Outcome {
	return c.call(ProgramNFS, VersionNFS, procedure, args, b)
}

// broken marks a result that the protocol does not allow for these arguments.
func (o *Outcome) broken(bad bool, format string, args ...any) {
	if bad && o.Err == nil && o.Status == OK {
		o.Err = fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
	}
}

func handle(h FH) encoder {
	var e encoder
	e.string(string(h))
	return e
}

func in(dir FH, name string) encoder {
	e := handle(dir)
	e.string(name)
	return e
}

// Null does nothing.
func (c Client) Null() Outcome {
	return c.raw(ProgramNFS, VersionNFS, ProcNull, nil, func(*decoder) Status { return OK })
}

// Getattr asks for attributes.
func (c Client) Getattr(h FH) (r AttrRes) {
	r.Outcome = c.nfs(ProcGetattr, handle(h), &r)
	return r
}

// Setattr sets attributes; with a guard, only if that is the object's ctime.
func (c Client) Setattr(h FH, s Sattr, guard *Time) (r WccRes) {
	e := handle(h)
	e.sattr(s)
	e.bool(guard != nil)
	if guard != nil {
		e.time(*guard)
	}
	r.Outcome = c.nfs(ProcSetattr, e, &r)
	return r
}

// Lookup finds a name.
func (c Client) Lookup(dir FH, name string) (r LookupRes) {
	r.Outcome = c.nfs(ProcLookup, in(dir, name), &r)
	return r
}

// Access asks which of the wanted rights there are.
func (c Client) Access(h FH, want uint32) (r AccessRes) {
	e := handle(h)
	e.u32(want)
	r.Outcome = c.nfs(ProcAccess, e, &r)
	r.broken(r.Access&^want != 0, "ACCESS grants %#x of %#x", r.Access, want)
	return r
}

// Readlink reads a symbolic link.
func (c Client) Readlink(h FH) (r ReadlinkRes) {
	r.Outcome = c.nfs(ProcReadlink, handle(h), &r)
	return r
}

// Read reads bytes of a file.
func (c Client) Read(h FH, off uint64, n uint32) (r ReadRes) {
	e := handle(h)
	e.u64(off)
	e.u32(n)
	r.Outcome = c.nfs(ProcRead, e, &r)
	r.broken(uint32(len(r.Data)) > n, "READ of %d bytes brings %d", n, len(r.Data))
	r.broken(n > 0 && len(r.Data) == 0 && !r.EOF, "READ brings neither bytes nor the end")
	return r
}

// Write writes bytes of a file.
func (c Client) Write(h FH, off uint64, p []byte, stable Stable) (r WriteRes) {
	e := handle(h)
	e.u64(off)
	e.u32(uint32(len(p)))
	e.u32(uint32(stable))
	e.opaque(p)
	r.Outcome = c.nfs(ProcWrite, e, &r)
	r.broken(r.Count > uint32(len(p)) || r.Count == 0 && len(p) > 0, "WRITE of %d bytes takes %d", len(p), r.Count)
	r.broken(r.Committed < stable, "WRITE asks for stable_how %d and gets %d", stable, r.Committed)
	return r
}

// Create makes a file, or with UNCHECKED takes the one there is.
func (c Client) Create(dir FH, name string, s Sattr) MakeRes { return c.create(dir, name, 0, s) }

// CreateGuarded makes a file that must not be there.
func (c Client) CreateGuarded(dir FH, name string, s Sattr) MakeRes { return c.create(dir, name, 1, s) }

func (c Client) create(dir FH, name string, mode uint32, s Sattr) (r MakeRes) {
	e := in(dir, name)
	e.u32(mode)
	e.sattr(s)
	r.Outcome = c.nfs(ProcCreate, e, &r)
	return r
}

// CreateExclusive makes a file that must not be there, unless this verifier
// made it.
func (c Client) CreateExclusive(dir FH, name string, v Verifier) (r MakeRes) {
	e := in(dir, name)
	e.u32(2)
	e.fixed(v[:])
	r.Outcome = c.nfs(ProcCreate, e, &r)
	return r
}

// Mkdir makes a directory.
func (c Client) Mkdir(dir FH, name string, s Sattr) (r MakeRes) {
	e := in(dir, name)
	e.sattr(s)
	r.Outcome = c.nfs(ProcMkdir, e, &r)
	return r
}

// Symlink makes a symbolic link.
func (c Client) Symlink(dir FH, name, target string, s Sattr) (r MakeRes) {
	e := in(dir, name)
	e.sattr(s)
	e.string(target)
	r.Outcome = c.nfs(ProcSymlink, e, &r)
	return r
}

// Mknod makes a special file. A type that is none makes a call that no server
// may grant.
func (c Client) Mknod(dir FH, name string, t Type, s Sattr, major, minor uint32) (r MakeRes) {
	e := in(dir, name)
	e.u32(uint32(t))
	switch t {
	case Chr, Blk:
		e.sattr(s)
		e.u32(major)
		e.u32(minor)
	case Sock, Fifo:
		e.sattr(s)
	}
	r.Outcome = c.nfs(ProcMknod, e, &r)
	return r
}

// Remove removes the name of what is no directory.
func (c Client) Remove(dir FH, name string) (r WccRes) {
	r.Outcome = c.nfs(ProcRemove, in(dir, name), &r)
	return r
}

// Rmdir removes an empty directory.
func (c Client) Rmdir(dir FH, name string) (r WccRes) {
	r.Outcome = c.nfs(ProcRmdir, in(dir, name), &r)
	return r
}

// Rename gives an object another name.
func (c Client) Rename(from FH, name string, to FH, newName string) (r RenameRes) {
	r.Outcome = c.nfs(ProcRename, append(in(from, name), in(to, newName)...), &r)
	return r
}

// Link gives a file one more name.
func (c Client) Link(file, dir FH, name string) (r LinkRes) {
	r.Outcome = c.nfs(ProcLink, append(handle(file), in(dir, name)...), &r)
	return r
}

// Readdir lists names after a cookie in at most so many bytes.
func (c Client) Readdir(dir FH, cookie uint64, v Verifier, count uint32) (r ReaddirRes) {
	e := handle(dir)
	e.u64(cookie)
	e.fixed(v[:])
	e.u32(count)
	r.Outcome = c.nfs(ProcReaddir, e, &r)
	r.broken(r.Size > int(count), "READDIR of %d bytes brings %d", count, r.Size)
	return r
}

// Readdirplus lists names, attributes and handles: at most dircount bytes of
// names, at most maxcount bytes of all.
func (c Client) Readdirplus(dir FH, cookie uint64, v Verifier, dircount, maxcount uint32) (r ReaddirRes) {
	e := handle(dir)
	e.u64(cookie)
	e.fixed(v[:])
	e.u32(dircount)
	e.u32(maxcount)
	r.plus = true
	r.Outcome = c.nfs(ProcReaddirplus, e, &r)
	r.broken(r.Size > int(maxcount), "READDIRPLUS of %d bytes brings %d", maxcount, r.Size)
	return r
}

// Fsstat asks how full the file system is.
func (c Client) Fsstat(h FH) (r FsstatRes) {
	r.Outcome = c.nfs(ProcFsstat, handle(h), &r)
	return r
}

// Fsinfo asks what the server likes.
func (c Client) Fsinfo(h FH) (r FsinfoRes) {
	r.Outcome = c.nfs(ProcFsinfo, handle(h), &r)
	return r
}

// Pathconf asks what names may be.
func (c Client) Pathconf(h FH) (r PathconfRes) {
	r.Outcome = c.nfs(ProcPathconf, handle(h), &r)
	return r
}

// Commit makes what was written unstably durable; n = 0 means up to the end.
func (c Client) Commit(h FH, off uint64, n uint32) (r CommitRes) {
	e := handle(h)
	e.u64(off)
	e.u32(n)
	r.Outcome = c.nfs(ProcCommit, e, &r)
	return r
}
