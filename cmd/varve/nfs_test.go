package main

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"varve/test/nfsclient"
)

// onShare is a client of shares, the superuser, at the NFS server at $ADDRESS.
// Paths begin with the share's name.
//
//	nfs write /home/file TEXT      makes or overwrites a file
//	nfs fill /home/file BYTES      writes so many letters
//	nfs append /home/file TEXT
//	nfs read /home/file            shows it on stdout
//	nfs truncate /home/file SIZE
//	nfs chmod /home/file MODE
//	nfs mkdir|rm|rmdir /home/name
//	nfs symlink /home/name TARGET
//	nfs mv|ln /home/old /home/new
//
// With "!" in front it must fail.
func onShare(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: nfs VERB /SHARE/PATH ...")
	}
	conn, err := nfsclient.Dial(ts.Getenv("ADDRESS"))
	ts.Check(err)
	defer conn.Close()
	s := shareClient{nfsclient.Client{Conn: conn}.As(0, 0)}
	out, err := s.do(args[0], args[1], append(args[2:], ""))
	if (err != nil) != neg {
		ts.Fatalf("%v", err)
	}
	if err == nil {
		fmt.Fprint(ts.Stdout(), out)
	}
}

type shareClient struct{ nfsclient.Client }

// in mounts the directory of a path.
func (s shareClient) in(p string) (dir nfsclient.FH, name string, err error) {
	r := s.Mnt(path.Dir(p))
	return r.FH, path.Base(p), r.Want(nfsclient.OK)
}

func (s shareClient) find(p string) (nfsclient.FH, error) {
	dir, name, err := s.in(p)
	if err != nil {
		return "", err
	}
	r := s.Lookup(dir, name)
	return r.FH, r.Want(nfsclient.OK)
}

func (s shareClient) do(verb, p string, args []string) (out string, err error) {
	dir, name, err := s.in(p)
	if err != nil {
		return "", err
	}
	ok := func(o nfsclient.Outcome) (string, error) { return "", o.Want(nfsclient.OK) }
	switch verb {
	case "write":
		return "", s.put(dir, name, args[0])
	case "fill":
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return "", err
		}
		return "", s.put(dir, name, strings.Repeat("x", n))
	case "mkdir":
		return ok(s.Mkdir(dir, name, nfsclient.Mode(0o755)).Outcome)
	case "rm":
		return ok(s.Remove(dir, name).Outcome)
	case "rmdir":
		return ok(s.Rmdir(dir, name).Outcome)
	case "symlink":
		return ok(s.Symlink(dir, name, args[0], nfsclient.Sattr{}).Outcome)
	case "mv":
		to, newName, err := s.in(args[0])
		if err != nil {
			return "", err
		}
		return ok(s.Rename(dir, name, to, newName).Outcome)
	}
	return s.onFile(verb, p, args[0])
}

func (s shareClient) put(dir nfsclient.FH, name, text string) error {
	r := s.Create(dir, name, nfsclient.Size(0).WithMode(0o644))
	err := r.Want(nfsclient.OK)
	for off := 0; err == nil && off < len(text); off += 64 << 10 {
		err = s.Write(r.FH, uint64(off), []byte(text[off:min(len(text), off+64<<10)]), nfsclient.FileSync).Want(nfsclient.OK)
	}
	return err
}

// onFile does what needs a file that is there.
func (s shareClient) onFile(verb, p, arg string) (string, error) {
	h, err := s.find(p)
	if err != nil {
		return "", err
	}
	switch verb {
	case "append":
		a := s.Getattr(h)
		if err := a.Want(nfsclient.OK); err != nil {
			return "", err
		}
		return "", s.Write(h, a.Attr.Size, []byte(arg), nfsclient.FileSync).Want(nfsclient.OK)
	case "read":
		r := s.Read(h, 0, 64<<10)
		return string(r.Data) + "\n", r.Want(nfsclient.OK)
	case "ln":
		to, name, err := s.in(arg)
		if err != nil {
			return "", err
		}
		return "", s.Link(h, to, name).Want(nfsclient.OK)
	case "truncate", "chmod":
		n, err := strconv.ParseUint(arg, map[string]int{"truncate": 10, "chmod": 8}[verb], 64)
		if err != nil {
			return "", err
		}
		set := nfsclient.Size(n)
		if verb == "chmod" {
			set = nfsclient.Mode(uint32(n))
		}
		return "", s.Setattr(h, set, nil).Want(nfsclient.OK)
	}
	return "", fmt.Errorf("unknown verb %q", verb)
}
