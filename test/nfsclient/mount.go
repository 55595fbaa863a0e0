package nfsclient

// MntRes is the result of MNT (RFC 1813, 5.2.1).
type MntRes struct {
	Outcome
	FH      FH
	Flavors []uint32
}

func (r *MntRes) read(d *decoder, ok bool) {
	if !ok {
		return
	}
	r.FH = d.fh()
	n := d.u32()
	if n == 0 || n > 32 {
		d.fault("%d flavors of authentication", n)
		return
	}
	for range n {
		r.Flavors = append(r.Flavors, d.u32())
	}
}

// Mnt asks for the handle of a path.
func (c Client) Mnt(path string) (r MntRes) {
	var e encoder
	e.string(path)
	r.Outcome = c.call(ProgramMount, VersionMount, 1, e, &r)
	return r
}

// Umnt says that a path is no longer mounted.
func (c Client) Umnt(path string) Outcome {
	var e encoder
	e.string(path)
	return c.raw(ProgramMount, VersionMount, 3, e, func(*decoder) Status { return OK })
}

// Umntall says that nothing is mounted any more.
func (c Client) Umntall() Outcome {
	return c.raw(ProgramMount, VersionMount, 4, nil, func(*decoder) Status { return OK })
}

// MountNull does nothing.
func (c Client) MountNull() Outcome {
	return c.raw(ProgramMount, VersionMount, 0, nil, func(*decoder) Status { return OK })
}

// Limits of MOUNT, in bytes (RFC 1813, 5.1.3).
const (
	mountPath = 1024
	mountName = 255
	listLimit = 10_000 // items of a list, so that a bad server cannot fill memory
)

// Mounted is an item of the server's list of mounts.
type Mounted struct{ Host, Path string }

// DumpRes is the result of DUMP.
type DumpRes struct {
	Outcome
	Mounts []Mounted
}

func (r *DumpRes) read(d *decoder, _ bool) {
	for d.bool() && len(r.Mounts) < listLimit {
		r.Mounts = append(r.Mounts, Mounted{d.string(mountName), d.string(mountPath)})
	}
}

// Dump asks who has mounted what.
func (c Client) Dump() (r DumpRes) {
	r.Outcome = c.list(2, &r)
	return r
}

// Exported is an item of the server's list of exports; Groups says who may
// mount it, everybody if it is empty.
type Exported struct {
	Path   string
	Groups []string
}

// ExportRes is the result of EXPORT.
type ExportRes struct {
	Outcome
	Exports []Exported
}

func (r *ExportRes) read(d *decoder, _ bool) {
	for d.bool() && len(r.Exports) < listLimit {
		x := Exported{Path: d.string(mountPath)}
		for d.bool() && len(x.Groups) < listLimit {
			x.Groups = append(x.Groups, d.string(mountName))
		}
		r.Exports = append(r.Exports, x)
	}
}

// Export asks what can be mounted.
func (c Client) Export() (r ExportRes) {
	r.Outcome = c.list(5, &r)
	return r
}

// list makes a call of MOUNT whose result has no status.
func (c Client) list(procedure uint32, b body) Outcome {
	return c.raw(ProgramMount, VersionMount, procedure, nil, func(d *decoder) Status {
		b.read(d, true)
		return OK
	})
}
