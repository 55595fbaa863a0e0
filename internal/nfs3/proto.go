package nfs3

// Limits of the protocol, and ours.
const (
	versNFS = 3

	maxHandle = 64   // NFS3_FHSIZE
	maxPath   = 1024 // MNTPATHLEN, the longest path of a MNT in bytes
	maxName   = 255  // bytes
	maxTarget = 4095 // bytes of a symlink's target

	maxIO       = 1 << 20 // bytes of a READ or WRITE
	maxDir      = 1 << 20 // bytes of a READDIR's result
	prefDir     = 64 << 10
	maxFileSize = 1<<63 - 1
	maxLinks    = 65000
)

// Procedures of NFS, RFC 1813 section 3.
const (
	procNull = iota
	procGetattr
	procSetattr
	procLookup
	procAccess
	procReadlink
	procRead
	procWrite
	procCreate
	procMkdir
	procSymlink
	procMknod
	procRemove
	procRmdir
	procRename
	procLink
	procReaddir
	procReaddirplus
	procFsstat
	procFsinfo
	procPathconf
	procCommit
	nfsProcs
)

// Procedures of MOUNT, RFC 1813 section 5.2.
const (
	mountNull = iota
	mountMnt
	mountDump
	mountUmnt
	mountUmntall
	mountExport
	mountProcs
)

// status is an nfsstat3, RFC 1813 section 2.6; those of MOUNT are among them.
type status uint32

const (
	nfsOK          status = 0
	errPerm        status = 1
	errNoEnt       status = 2
	errIO          status = 5
	errAcces       status = 13
	errExist       status = 17
	errXDev        status = 18
	errNotDir      status = 20
	errIsDir       status = 21
	errInval       status = 22
	errFBig        status = 27
	errNoSpc       status = 28
	errROFS        status = 30
	errMLink       status = 31
	errNameTooLong status = 63
	errNotEmpty    status = 66
	errDQuot       status = 69
	errStale       status = 70
	errBadHandle   status = 10001
	errNotSync     status = 10002
	errBadCookie   status = 10003
	errNotSupp     status = 10004
	errTooSmall    status = 10005
	errServerFault status = 10006
	errBadType     status = 10007
	errJukebox     status = 10008
)

// How stable a WRITE is.
const (
	unstable = 0
	dataSync = 1
	fileSync = 2
)

// How a CREATE treats what is there.
const (
	createUnchecked = 0
	createGuarded   = 1
	createExclusive = 2
)

// How a SETATTR sets a time.
const (
	timeKeep   = 0
	timeServer = 1
	timeClient = 2
)

// File types as in a mode.
const (
	modeFIFO = 0x1000
	modeChar = 0x2000
	modeDir  = 0x4000
	modeBlk  = 0x6000
	modeReg  = 0x8000
	modeLink = 0xa000
	modeSock = 0xc000
)

// typeOfMode maps the type in a mode, shifted right by 12, to an ftype3.
var typeOfMode = [16]uint32{
	modeReg >> 12: 1, modeDir >> 12: 2, modeBlk >> 12: 3, modeChar >> 12: 4,
	modeLink >> 12: 5, modeSock >> 12: 6, modeFIFO >> 12: 7,
}

// specialModes maps the ftype3 of what MKNOD makes to a mode.
var specialModes = map[uint32]uint32{3: modeBlk, 4: modeChar, 6: modeSock, 7: modeFIFO}
