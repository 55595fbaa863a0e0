package httpapi

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"varve/internal/engine"
	"varve/internal/fail"
)

// maxConns bounds the connections served at a time; more wait to be accepted.
const maxConns = 128

// longestSocketPath is what fits into a sockaddr_un with its final NUL.
const longestSocketPath = 107

// SocketPath is where the control socket of a pool in a directory is.
func SocketPath(dir string) string { return filepath.Join(dir, "varve.sock") }

// ListenUnix listens on a unix socket with mode 0600, or with mode 0660 and
// owned by group if one is named. A socket that is there already is replaced
// if nobody answers on it; Busy if somebody does. The caller must hold the
// pool's lock, which proves that a socket in its directory is stale. Nobody can connect before mode and group are right. Closing the listener
// removes the socket.
func ListenUnix(path, group string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, fail.New(fail.Exists, "%s is in the way of a socket of that name", path).WithHint("remove it")
	}
	path, err := filepath.Abs(path) // one that begins with "@" would name no file
	if err != nil {
		return nil, fail.Wrap(fail.IO, err, "listen")
	}
	if c, err := dialUnix(context.Background(), path); err == nil {
		c.Close()
		return nil, fail.New(fail.Busy, "listen unix:%s: in use", path).WithHint("choose another path")
	}
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !os.IsNotExist(err) {
		return nil, fail.Wrap(fail.IO, err, "listen")
	}
	l, err := listenShort(fresh)
	if err != nil {
		return nil, fail.Wrap(fail.IO, err, "listen on %s", path)
	}
	l.SetUnlinkOnClose(false)
	if err := publish(fresh, path, group); err != nil {
		l.Close()
		os.Remove(fresh)
		return nil, err
	}
	return &socketListener{UnixListener: l, path: path}, nil
}

// publish gives a socket its rights, then its name.
func publish(fresh, path, group string) error {
	if group != "" {
		gid, err := groupID(group)
		if err != nil {
			return err
		}
		if err := os.Lchown(fresh, -1, gid); err != nil {
			return fail.Wrap(fail.Denied, err, "give %s to group %s", path, group)
		}
		if err := os.Chmod(fresh, 0o660); err != nil {
			return fail.Wrap(fail.IO, err, "listen")
		}
	}
	if err := os.Rename(fresh, path); err != nil {
		return fail.Wrap(fail.IO, err, "listen")
	}
	return nil
}

// LetThrough lets a group pass through the directory of a pool to its sockets,
// though not list it. One that is open to all stays as it is.
func LetThrough(dir, group string) error {
	gid, err := groupID(group)
	if err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err == nil && info.Mode()&0o001 == 0 {
		if err = os.Chown(dir, -1, gid); err == nil {
			err = os.Chmod(dir, info.Mode().Perm()|0o010)
		}
	}
	if err != nil {
		return fail.Wrap(fail.Denied, err, "let group %s into %s", group, dir)
	}
	return nil
}

func groupID(group string) (int, error) {
	name := group
	if g, err := user.LookupGroup(group); err == nil {
		name = g.Gid
	}
	gid, err := strconv.Atoi(name)
	if err != nil || gid < 0 {
		return 0, fail.New(fail.Invalid, "there is no group %q", group)
	}
	return gid, nil
}

// dialUnix connects to a socket at a path of any length.
func dialUnix(ctx context.Context, path string) (net.Conn, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	short, done, err := shortPath(path)
	if err != nil {
		return nil, err
	}
	defer done()
	d := net.Dialer{Timeout: dialTimeout}
	return d.DialContext(ctx, "unix", short)
}

// listenShort binds a socket to a path of any length: one that does not fit
// into a socket address is named through its directory's descriptor.
func listenShort(path string) (*net.UnixListener, error) {
	short, done, err := shortPath(path)
	if err != nil {
		return nil, err
	}
	defer done()
	private := func(_, _ string, c syscall.RawConn) error {
		var failed error
		if err := c.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), 0o600) }); err != nil {
			return err
		}
		return failed
	}
	config := net.ListenConfig{Control: private} // before bind: never open to others
	l, err := config.Listen(context.Background(), "unix", short)
	if err != nil {
		return nil, err
	}
	return l.(*net.UnixListener), nil
}

// shortPath returns a name for path that fits into a socket address and is
// valid until done is called.
func shortPath(path string) (short string, done func(), err error) {
	if len(path) <= longestSocketPath {
		return path, func() {}, nil
	}
	fd, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", fd, filepath.Base(path)), func() { unix.Close(fd) }, nil
}

// socketListener removes its socket when it is closed.
type socketListener struct {
	*net.UnixListener
	path   string
	remove sync.Once
}

func (l *socketListener) Close() error {
	l.remove.Do(func() { os.Remove(l.path) })
	return l.UnixListener.Close()
}

func (l *socketListener) Addr() net.Addr {
	return &net.UnixAddr{Name: l.path, Net: "unix"}
}

// callerListener accepts at most maxConns connections at a time and notes who
// is at the other end of each.
type callerListener struct {
	net.Listener
	slots chan struct{}
}

type callerConn struct {
	net.Conn
	caller  caller
	release func()
}

func (l *callerListener) Accept() (net.Conn, error) {
	l.slots <- struct{}{}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	release := sync.OnceFunc(func() { <-l.slots })
	return &callerConn{Conn: c, caller: callerOf(c), release: release}, nil
}

func (c *callerConn) Close() error {
	c.release()
	return c.Conn.Close()
}

// callerOf asks the kernel who connected. Whom it does not know is nobody.
func callerOf(c net.Conn) caller {
	const nobody = 65534
	who := caller{engine.Caller{Proto: "api", Addr: c.RemoteAddr().String()}, nobody, nobody}
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return who
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return who
	}
	raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			who.Addr = fmt.Sprintf("pid=%d,uid=%d", cred.Pid, cred.Uid)
			who.uid, who.gid = cred.Uid, cred.Gid
		}
	})
	return who
}
