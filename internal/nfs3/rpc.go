package nfs3

// Remote procedure calls over TCP (RFC 5531):
//
//	record    one or more fragments
//	fragment  u32 length, bit 31: the last of its record | that many bytes
//	call      u32 xid | u32 0 | u32 2 | u32 program | u32 version | u32 procedure
//	          | credential | verifier | arguments
//	reply     u32 xid | u32 1 | u32 0: accepted | u32 0 | u32 0 | u32 accept status | results
//	          u32 xid | u32 1 | u32 1: denied | u32 why | what is served, or what is wrong
//
// Credentials and verifiers: u32 flavor, opaque<400>.
const (
	lastFragment = 1 << 31

	rpcVersion = 2

	msgCall  = 0
	msgReply = 1

	progPortmap = 100000
	progNFS     = 100003
	progMount   = 100005

	authNone   = 0
	authSys    = 1
	maxAuth    = 400 // bytes of a credential
	maxGroups  = 16
	maxMachine = 255 // bytes of the client's name in AUTH_SYS
	replyHead  = 28  // bytes of an accepted reply with its fragment's length, up to the results
	smallReply = 512 // enough for every reply that carries neither data, lists nor paths
)

// Accept status, RFC 5531 section 9.
const (
	rpcSuccess      = 0
	rpcNoProgram    = 1
	rpcMismatch     = 2
	rpcNoProcedure  = 3
	rpcGarbageArgs  = 4
	rpcDenied       = 1 << 16 // of our own: the reply is not an accepted one
	rpcWrongVersion = rpcDenied | 1
	rpcAuthError    = rpcDenied | 2

	authBadCred = 1
)

// header is what precedes the arguments of a call.
type header struct {
	xid, prog, vers, proc uint32
	flavor                uint32
	cred                  []byte // the credential's body; lies in the call
	sys                   bool   // AUTH_SYS; what follows is its
	uid, gid              uint32
	groups                [maxGroups]uint32
	ngroups               int
}

// parse takes a header. ok is false where the message is no call at all, and
// so cannot be answered; else status is rpcSuccess, rpcWrongVersion,
// rpcAuthError or rpcGarbageArgs.
func (h *header) parse(d *decoder) (status uint32, ok bool) {
	h.xid = d.u32()
	if d.u32() != msgCall || d.bad {
		return 0, false
	}
	version := d.u32()
	h.prog, h.vers, h.proc = d.u32(), d.u32(), d.u32()
	if d.bad {
		return 0, false
	}
	if version != rpcVersion {
		return rpcWrongVersion, true
	}
	h.flavor, h.cred = d.u32(), d.opaque(maxAuth)
	d.u32()
	d.opaque(maxAuth) // the verifier says nothing in the flavors that we take
	if d.bad {
		return rpcAuthError, true
	}
	switch h.flavor {
	case authNone:
		h.sys = false
		return rpcSuccess, true
	case authSys:
		if h.parseSys(h.cred) {
			return rpcSuccess, true
		}
	}
	return rpcAuthError, true
}

// parseSys takes the body of an AUTH_SYS credential (RFC 5531 appendix A).
func (h *header) parseSys(cred []byte) bool {
	d := decoder{p: cred}
	d.u32() // stamp
	d.opaque(maxMachine)
	h.uid, h.gid = d.u32(), d.u32()
	n := d.u32()
	if n > maxGroups {
		return false
	}
	h.ngroups = int(n)
	for i := range h.ngroups {
		h.groups[i] = d.u32()
	}
	h.sys = !d.bad
	return h.sys
}

// putHead begins an accepted reply, with room for the length of its fragment.
func putHead(p []byte, xid, status uint32) []byte {
	p = put32(p, 0)
	p = put32(p, xid)
	p = put32(p, msgReply)
	p = put32(p, 0)
	p = put64(p, authNone) // the verifier
	return put32(p, status)
}

// putRefusal encodes the reply to a call that is not executed. low and high
// are the versions that there are, where the status is rpcMismatch.
func putRefusal(p []byte, xid, status, low, high uint32) []byte {
	if status&rpcDenied == 0 {
		p = putHead(p, xid, status)
		if status == rpcMismatch {
			p = put32(put32(p, low), high)
		}
		return p
	}
	p = put32(p, 0)
	p = put32(p, xid)
	p = put32(p, msgReply)
	p = put32(p, 1)
	if status == rpcWrongVersion {
		return put32(put32(put32(p, 0), rpcVersion), rpcVersion)
	}
	return put32(put32(p, 1), authBadCred)
}

// seal fills in the length of the fragment that p is.
func seal(p []byte) []byte {
	be.PutUint32(p, lastFragment|uint32(len(p)-4))
	return p
}
