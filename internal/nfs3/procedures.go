package nfs3

// procedure is what one remote procedure needs of us.
type procedure struct {
	name   string // for metrics
	handle bool   // its arguments begin with a handle, whose share has to allow the call
	once   bool   // must not be executed again when its request is repeated; neither room nor early

	decode func(*args, *decoder)
	run    func(*task)                // nil: nothing to do
	encode func(*task, []byte) []byte // the results; nil: none

	// room bounds the bytes of the reply, nil: smallReply. early tells that run
	// needs the memory, and not only encode.
	room  func(*args) int
	early bool
}

var nothing = (*args).decodeNothing

var nfsTable = [nfsProcs]procedure{
	procNull:        {name: "null", decode: nothing},
	procGetattr:     {name: "getattr", handle: true, decode: (*args).decodeHandle, run: (*task).getattr, encode: (*task).putGetattr},
	procSetattr:     {name: "setattr", handle: true, once: true, decode: (*args).decodeSetattr, run: (*task).setattr, encode: (*task).putChanged},
	procLookup:      {name: "lookup", handle: true, decode: (*args).decodeName, run: (*task).lookup, encode: (*task).putLookup},
	procAccess:      {name: "access", handle: true, decode: (*args).decodeAccess, run: (*task).checkAccess, encode: (*task).putAccess},
	procReadlink:    {name: "readlink", handle: true, decode: (*args).decodeHandle, run: (*task).readlink, encode: (*task).putReadlink, room: roomOfTarget},
	procRead:        {name: "read", handle: true, decode: (*args).decodeRead, run: (*task).read, encode: (*task).putRead, room: roomOfRead, early: true},
	procWrite:       {name: "write", handle: true, decode: (*args).decodeWrite, run: (*task).write, encode: (*task).putWritten},
	procCreate:      {name: "create", handle: true, once: true, decode: (*args).decodeCreate, run: (*task).create, encode: (*task).putMade},
	procMkdir:       {name: "mkdir", handle: true, once: true, decode: (*args).decodeMkdir, run: (*task).mkdir, encode: (*task).putMade},
	procSymlink:     {name: "symlink", handle: true, once: true, decode: (*args).decodeSymlink, run: (*task).symlink, encode: (*task).putMade},
	procMknod:       {name: "mknod", handle: true, once: true, decode: (*args).decodeMknod, run: (*task).mknod, encode: (*task).putMade},
	procRemove:      {name: "remove", handle: true, once: true, decode: (*args).decodeName, run: (*task).remove, encode: (*task).putChanged},
	procRmdir:       {name: "rmdir", handle: true, once: true, decode: (*args).decodeName, run: (*task).rmdir, encode: (*task).putChanged},
	procRename:      {name: "rename", handle: true, once: true, decode: (*args).decodeRename, run: (*task).rename, encode: (*task).putRenamed},
	procLink:        {name: "link", handle: true, once: true, decode: (*args).decodeLink, run: (*task).link, encode: (*task).putLinked},
	procReaddir:     {name: "readdir", handle: true, decode: (*args).decodeReaddir, run: (*task).readdir, encode: (*task).putDir, room: roomOfDir, early: true},
	procReaddirplus: {name: "readdirplus", handle: true, decode: (*args).decodeReaddirplus, run: (*task).readdirplus, encode: (*task).putDir, room: roomOfDir, early: true},
	procFsstat:      {name: "fsstat", handle: true, decode: (*args).decodeHandle, run: (*task).fsstat, encode: (*task).putFsstat},
	procFsinfo:      {name: "fsinfo", handle: true, decode: (*args).decodeHandle, run: (*task).getattr, encode: (*task).putFsinfo},
	procPathconf:    {name: "pathconf", handle: true, decode: (*args).decodeHandle, run: (*task).getattr, encode: (*task).putPathconf},
	procCommit:      {name: "commit", handle: true, decode: (*args).decodeRead, run: (*task).flush, encode: (*task).putFlushed},
}

var mountTable = [mountProcs]procedure{
	mountNull:    {name: "mount.null", decode: nothing},
	mountMnt:     {name: "mount.mnt", decode: (*args).decodePath, run: (*task).mount, encode: (*task).putMount},
	mountDump:    {name: "mount.dump", decode: nothing, run: (*task).listMounts, encode: (*task).putMounts, room: roomOfList},
	mountUmnt:    {name: "mount.umnt", decode: (*args).decodePath, run: (*task).unmount},
	mountUmntall: {name: "mount.umntall", decode: nothing, run: (*task).unmountAll},
	mountExport:  {name: "mount.export", decode: nothing, run: (*task).listExports, encode: (*task).putExports, room: roomOfList},
}

// find returns the procedure that a call is for, or why there is none.
func find(h *header) (p *procedure, refused, low, high uint32) {
	switch h.prog {
	case progNFS:
		if h.vers != versNFS {
			return nil, rpcMismatch, versNFS, versNFS
		}
		if h.proc < nfsProcs {
			return &nfsTable[h.proc], rpcSuccess, 0, 0
		}
	case progMount:
		if h.vers < 1 || h.vers > 3 {
			return nil, rpcMismatch, 1, 3
		}
		// The older versions differ in what a handle is.
		if h.proc < mountProcs && (h.vers == 3 || h.proc != mountMnt) {
			return &mountTable[h.proc], rpcSuccess, 0, 0
		}
	default:
		return nil, rpcNoProgram, 0, 0
	}
	return nil, rpcNoProcedure, 0, 0
}
