package fs

import (
	"strings"

	"varve/internal/inode"
	"varve/internal/oplog"
)

// XattrMode says what SetXattr does where the attribute is there, or is not.
type XattrMode uint8

// The modes of SetXattr.
const (
	XattrSet     XattrMode = iota // make it or replace it
	XattrCreate                   // ErrExist where it is there
	XattrReplace                  // ErrNoData where it is not
)

// maxXattrNames bounds the names of one object's extended attributes: bytes,
// each with a zero at its end, as listxattr(2) returns them.
const maxXattrNames = 64 << 10

// The classes of extended attributes. Others, such as ACLs, are not supported.
const (
	xattrUser     = "user."
	xattrTrusted  = "trusted."
	xattrSecurity = "security."
)

// Xattr returns the value of an extended attribute. ErrNoData, ErrAccess,
// ErrPerm (of an object that has none of that class), ErrNotSupported,
// ErrStale.
func (f *FS) Xattr(c *Call, h Handle, name string) ([]byte, error) {
	p, err := f.place(h)
	if err != nil {
		return nil, err
	}
	defer p.close()
	if h.SnapDir {
		return nil, ErrNoData
	}
	var value []byte
	err = p.Look(func(r inode.Reader) error {
		i, err := inode.Load(r, h.Ino)
		if err != nil {
			return err
		}
		if err := c.Cred.mayXattr(&i, name, wantRead); err != nil {
			return err
		}
		v, ok, err := inode.Xattr(r, p.Seed(), h.Ino, name)
		if err == nil && !ok {
			err = ErrNoData
		}
		value = v
		return err
	})
	return value, err
}

// Xattrs returns the names of an object's extended attributes that the caller
// may know of.
func (f *FS) Xattrs(c *Call, h Handle) ([]string, error) {
	p, err := f.place(h)
	if err != nil {
		return nil, err
	}
	defer p.close()
	if h.SnapDir {
		return nil, nil
	}
	var names []string
	err = p.Look(func(r inode.Reader) error {
		names = nil
		if _, err := inode.Load(r, h.Ino); err != nil {
			return err
		}
		return inode.Xattrs(r, h.Ino, func(name string, _ int) bool {
			if c.Cred.UID == 0 || !strings.HasPrefix(name, xattrTrusted) {
				names = append(names, name)
			}
			return true
		})
	})
	return names, err
}

// SetXattr sets an extended attribute and returns the LSN for Commit. ErrExist
// and ErrNoData as mode says; ErrTooBig for a value of more than 64 KiB or too
// many names; ErrAccess, ErrPerm, ErrNotSupported, ErrInval, ErrReadOnly,
// ErrStale.
func (f *FS) SetXattr(c *Call, h Handle, name string, value []byte, mode XattrMode) (uint64, error) {
	if len(value) > inode.MaxXattr {
		return 0, ErrTooBig
	}
	return f.changeXattr(c, h, oplog.SetXattr, name, string(value), func(r inode.Reader, there bool) error {
		switch {
		case there && mode == XattrCreate:
			return ErrExist
		case !there && mode == XattrReplace:
			return ErrNoData
		case there:
			return nil
		}
		return roomForName(r, h.Ino, name)
	})
}

// RemoveXattr removes an extended attribute. ErrNoData, and as SetXattr.
func (f *FS) RemoveXattr(c *Call, h Handle, name string) (uint64, error) {
	return f.changeXattr(c, h, oplog.RemoveXattr, name, "", func(_ inode.Reader, there bool) error {
		if !there {
			return ErrNoData
		}
		return nil
	})
}

func (f *FS) changeXattr(c *Call, h Handle, kind oplog.Kind, name, value string, judge func(r inode.Reader, there bool) error) (uint64, error) {
	p, err := f.present(c, h)
	if err != nil {
		return 0, err
	}
	op := newOp(c, kind)
	op.Ino, op.Name, op.Value = h.Ino, name, value
	err = p.share.head.Change(op, func(r inode.Reader) error {
		i, err := inode.Load(r, h.Ino)
		if err != nil {
			return err
		}
		if err := c.Cred.mayXattr(&i, name, wantWrite); err != nil {
			return err
		}
		_, there, err := inode.Xattr(r, p.Seed(), h.Ino, name)
		if err != nil {
			return err
		}
		return judge(r, there)
	}, nil)
	if err != nil {
		return 0, f.settle(p.share, err)
	}
	return op.LSN, nil
}

func roomForName(r inode.Reader, ino uint64, name string) error {
	total := len(name) + 1
	err := inode.Xattrs(r, ino, func(have string, _ int) bool {
		total += len(have) + 1
		return total <= maxXattrNames
	})
	if err == nil && total > maxXattrNames {
		err = ErrTooBig
	}
	return err
}

// mayXattr judges whether the caller may read or write an extended attribute
// of i: user. is for files and directories and goes by their permission bits,
// trusted. is root's, security. is root's to write.
func (c *Cred) mayXattr(i *inode.Inode, name string, want uint32) error {
	switch {
	case name == "" || strings.IndexByte(name, 0) >= 0:
		return ErrInval
	case len(name) > inode.MaxName:
		return ErrNameTooLong
	case strings.HasPrefix(name, xattrUser) && len(name) > len(xattrUser):
		return c.mayUserXattr(i, want)
	case strings.HasPrefix(name, xattrTrusted) && len(name) > len(xattrTrusted):
		if c.UID == 0 {
			return nil
		}
		if want == wantRead {
			return ErrNoData
		}
		return ErrPerm
	case strings.HasPrefix(name, xattrSecurity) && len(name) > len(xattrSecurity):
		if want == wantRead || c.UID == 0 {
			return nil
		}
		return ErrPerm
	}
	return ErrNotSupported
}

func (c *Cred) mayUserXattr(i *inode.Inode, want uint32) error {
	switch {
	case !isRegular(i) && !i.IsDir():
		if want == wantRead {
			return ErrNoData
		}
		return ErrPerm
	case want == wantWrite && i.IsDir() && i.Mode&modeSticky != 0 && !c.owns(i):
		return ErrPerm
	case !c.may(i, want):
		return ErrAccess
	}
	return nil
}
