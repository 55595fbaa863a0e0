package fs

import "varve/internal/inode"

// Stat says how much room a share has: bytes, and numbers of inodes.
type Stat struct {
	Total, Free, Avail    uint64 // bytes
	Inodes, InodesFree    uint64
	UsedBytes, UsedInodes uint64 // by this share
	FSID                  uint64
	Attr                  Attr // of the object that was asked for
}

// Statfs returns how much room the share of a handle has: that of the pool,
// or what its quota leaves of it.
func (f *FS) Statfs(c *Call, h Handle) (Stat, error) {
	p, err := f.place(h)
	if err != nil {
		return Stat{}, err
	}
	defer p.close()
	st := Stat{FSID: f.fsid(h.Dataset)}
	err = p.Look(func(r inode.Reader) error {
		i, err := inode.Load(r, h.Ino)
		if err != nil {
			return err
		}
		st.Attr = p.show(&i)
		return nil
	})
	if err != nil {
		return Stat{}, err
	}
	err = p.share.head.Look(func(inode.Reader) error {
		st.UsedBytes, st.UsedInodes = p.share.head.Usage()
		return nil
	})
	if err != nil {
		return Stat{}, err
	}
	st.Total, st.Free = f.e.Capacity()
	st.InodesFree = st.Free / blockSize // each takes less, but none is without a name
	l := p.share.current().limits
	if l.bytes > 0 {
		st.Total = min(st.Total, l.bytes)
		st.Free = min(st.Free, l.bytes-min(l.bytes, st.UsedBytes))
	}
	if l.inodes > 0 {
		st.InodesFree = min(st.InodesFree, l.inodes-min(l.inodes, st.UsedInodes))
	}
	st.Avail, st.Inodes = st.Free, st.UsedInodes+st.InodesFree
	return st, nil
}
