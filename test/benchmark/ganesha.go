package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"varve/test/daemon"
)

const ganeshaVFS = "/usr/lib/x86_64-linux-gnu/ganesha/libfsalvfs.so"

// ganeshaConfig serves a directory as it is, NFS and MOUNT on ports of its own.
// The usual cache of 100,000 entries is too small for the directory listed.
const ganeshaConfig = `NFS_CORE_PARAM {
	NFS_Protocols = 3; NFS_Port = %d; MNT_Port = %d; Bind_addr = 127.0.0.1;
	Enable_NLM = false; Enable_RQUOTA = false;
}
EXPORT {
	Export_Id = 1; Path = %s; Pseudo = /home; Access_Type = RW; Squash = None;
	Protocols = 3; Transports = TCP; SecType = sys;
	FSAL { Name = VFS; }
}
MDCACHE { Entries_HWMark = 500000; }
LOG { Default_Log_Level = FATAL; }
`

// startGanesha serves an empty directory below dir.
func startGanesha(ctx context.Context, dir string) (*server, error) {
	files := filepath.Join(dir, "files")
	if err := os.MkdirAll(files, 0o755); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	mount, err := freePort()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "ganesha.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, ganeshaConfig, port, mount, files), 0o600); err != nil {
		return nil, err
	}
	portmap, err := startRPCBind()
	if err != nil {
		return nil, err
	}
	cmd := child("ganesha.nfsd", "-F", "-f", config, "-L", filepath.Join(dir, "log"), "-p", filepath.Join(dir, "pid"))
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, portmap())
	}
	s := &server{
		name: nameGanesha, pid: cmd.Process.Pid, uri: nfsURL(files, port, mount),
		stop: func() error { return errors.Join(end(cmd), portmap()) },
	}
	if err := answers(ctx, mount); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "log")) // there may be none
		return nil, errors.Join(fmt.Errorf("ganesha.nfsd: %w\n%s", err, log), s.stop())
	}
	return s, nil
}

// startRPCBind starts what ganesha registers with, unless it runs.
func startRPCBind() (stop func() error, err error) {
	if c, err := net.Dial("tcp", "127.0.0.1:111"); err == nil {
		return func() error { return nil }, c.Close()
	}
	if err := os.MkdirAll("/run/rpcbind", 0o755); err != nil {
		return nil, err
	}
	cmd := child("rpcbind", "-f", "-w")
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() error { return end(cmd) }
	if err := answers(context.Background(), 111); err != nil {
		return nil, errors.Join(fmt.Errorf("rpcbind: %w", err), stop())
	}
	return stop, nil
}

// child makes a command that does not outlive this process.
func child(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	return cmd
}

func end(cmd *exec.Cmd) error {
	err := cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait() // a peer ended by a signal is as it should be
	return err
}

// answers waits until somebody listens on a port.
func answers(ctx context.Context, port int) error {
	for deadline := time.Now().Add(30 * time.Second); ; {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return c.Close()
		}
		if time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func nfsURL(path string, port, mount int) string {
	return fmt.Sprintf("nfs://127.0.0.1%s?version=3&nfsport=%d&mountport=%d", path, port, mount)
}

// startVarve serves a pool with the share home.
func (n *nfs) startVarve(ctx context.Context, dir string) (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	pool := daemon.Pool{Bin: n.bin, Dir: dir}
	if _, err := pool.Run("init", pool.Dir); err != nil {
		return nil, err
	}
	d, err := pool.Serve("--checkpoint-interval", "1s", "--nfs", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	s := &server{
		name: nameVarve, pid: d.PID(), pool: &pool, uri: nfsURL("/home", port, port),
		stop: func() error { return d.Stop(time.Minute) },
	}
	if err = d.WaitReady(pool.Socket(), 10*time.Second); err == nil {
		_, err = pool.Run("share", "create", "home")
	}
	if err == nil {
		err = answers(ctx, port)
	}
	if err != nil {
		d.Kill()
		return nil, err
	}
	return s, nil
}
