package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/ask"
	"varve/internal/fail"
	"varve/internal/files"
)

// The columns of varve ls, and those with -l.
var (
	usualEntries = []string{"name"}
	longEntries  = []string{"mode", "nlink", "uid", "gid", "size", "mtime", "name"}
)

func (a *app) ls() *cobra.Command {
	var long, all, self, deleted bool
	c := &cobra.Command{
		Use:   "ls SHARE[@WHEN][:/path]",
		Short: "List files of a share, now or at a moment",
		Long: `List what is in a directory of a share, by name, or one file. With WHEN it is
what was there at that moment. Names that begin with a dot are shown with -a.
Symbolic links are not followed.

With --deleted it is the names that were in the directory within history and are
not there now: when each went last, by whom, and the command that brings it back.
The directory may be gone too. What a rename took away is called renamed, with
its new path as TO; what a rollback or an undo took away, rolled back.

Columns for -o: name, path, type, mode, nlink, uid, gid, size, used, mtime, ctime,
atime, btime, ino, target. SIZE of a directory is how many entries it has; USED is
what a file takes. With --deleted: name, time, what, client, back, to, uid, lsn.
A name with unusual characters is shown in quotes.`,
		Example: `  varve ls home
  varve ls -l home@10m-ago:/projects
  varve ls --deleted home:/projects
  varve ls home@monday:/ --json | jq -r .path`,
		Args:              need("SHARE[@WHEN][:/path]"),
		ValidArgsFunction: a.completeArgs(a.paths),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := parsePlace(args[0], true)
			if err != nil {
				return err
			}
			if deleted {
				return a.lsDeleted(c, p, self)
			}
			usual := usualEntries
			if long {
				usual = longEntries
			}
			out, err := newRows(a, a.fileColumns(), usual)
			if err != nil {
				return err
			}
			if !long && len(a.columns) == 0 {
				out.untitled() // names alone speak for themselves
			}
			moments, err := a.client().ListFiles(c.Context(), p, self, func(e files.Entry) error {
				if !all && !self && strings.HasPrefix(baseName(e.Path), ".") {
					return nil
				}
				return out.add(e)
			})
			a.echoAll(moments)
			return out.end(err)
		},
	}
	c.Flags().BoolVarP(&long, "long", "l", false, "mode, owner, size and time too")
	c.Flags().BoolVarP(&all, "all", "a", false, "names that begin with a dot too")
	c.Flags().BoolVarP(&self, "directory", "d", false, "a directory itself, not what is in it")
	c.Flags().BoolVar(&deleted, "deleted", false, "names that were there within history and are not there now")
	return c
}

// lsDeleted shows what is gone from a directory.
func (a *app) lsDeleted(c *cobra.Command, p files.Place, self bool) error {
	if p.When != nil || self {
		return fail.New(fail.Invalid, "--deleted compares all of history with the present").WithHint("write varve ls --deleted %s:%s", p.Share, p.Path)
	}
	type del = ask.Deleted
	back := func(d del) string {
		path := ":" + strings.TrimSuffix(p.Path, "/") + "/" + string(d.Name)
		return "varve cp " + shellQuote(p.Share+"@lsn:"+number(d.Before)+path) + " " + shellQuote(p.Share+path)
	}
	col := func(name string, right bool, value func(del) string) column[del] {
		return column[del]{name, right, value}
	}
	out, err := newRows(a, []column[del]{
		col("name", false, func(d del) string { return d.Name.String() }),
		col("time", false, func(d del) string { return a.time(d.Time) }),
		col("what", false, func(d del) string { return d.What }),
		col("client", false, func(d del) string { return d.Client }),
		col("back", false, back),
		col("to", false, func(d del) string { return d.To.String() }),
		col("uid", true, func(d del) string { return strconv.FormatUint(uint64(d.UID), 10) }),
		col("lsn", true, func(d del) string { return number(d.LSN) }),
	}, []string{"name", "time", "what", "client", "back"})
	if err != nil {
		return err
	}
	return out.end(a.client().Deleted(c.Context(), p.Share, p.Path, out.add))
}

// shellQuote makes s one word of a command line.
func shellQuote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@:/._-+,") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func (a *app) fileColumns() []column[files.Entry] {
	type ent = files.Entry
	col := func(name string, right bool, value func(ent) string) column[ent] {
		return column[ent]{name, right, value}
	}
	num := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
	return []column[ent]{
		col("name", false, func(e ent) string {
			if a.noHeader {
				return files.Text(baseName(e.Path)).String()
			}
			return shownName(e)
		}),
		col("path", false, func(e ent) string { return e.Path.String() }),
		col("type", false, func(e ent) string { return e.Type }),
		col("mode", false, modeString),
		col("nlink", true, func(e ent) string { return num(e.Nlink) }),
		col("uid", true, func(e ent) string { return num(e.UID) }),
		col("gid", true, func(e ent) string { return num(e.GID) }),
		col("size", true, func(e ent) string {
			if e.Type == "dir" {
				return strconv.FormatUint(e.Size, 10)
			}
			return a.size(e.Size)
		}),
		col("used", true, func(e ent) string { return a.size(e.Used) }),
		col("mtime", false, func(e ent) string { return a.time(e.Mtime) }),
		col("ctime", false, func(e ent) string { return a.time(e.Ctime) }),
		col("atime", false, func(e ent) string { return a.time(e.Atime) }),
		col("btime", false, func(e ent) string { return a.time(e.Btime) }),
		col("ino", true, func(e ent) string { return number(e.Ino) }),
		col("target", false, func(e ent) string { return e.Target.String() }),
	}
}

// baseName is the last name of a path; the root's is "/".
func baseName(p files.Text) string {
	if p == "/" {
		return "/"
	}
	return string(p)[strings.LastIndexByte(string(p), '/')+1:]
}

// shownName is a name with what tells directories and links.
func shownName(e files.Entry) string {
	name := files.Text(baseName(e.Path)).String()
	switch {
	case e.Type == "dir" && name != "/":
		return name + "/"
	case e.Type == "symlink":
		return name + " -> " + e.Target.String()
	}
	return name
}

// modeString shows a mode as ls does: "-rw-r--r--".
func modeString(e files.Entry) string {
	letters := map[string]string{"file": "-", "dir": "d", "symlink": "l", "fifo": "p", "socket": "s", "char": "c", "block": "b"}
	b := []byte(letters[e.Type] + "rwxrwxrwx")
	for i := range 9 {
		if e.Mode>>(8-i)&1 == 0 {
			b[i+1] = '-'
		}
	}
	for _, x := range []struct {
		bit     uint32
		at      int
		set, no byte
	}{{0o4000, 3, 's', 'S'}, {0o2000, 6, 's', 'S'}, {0o1000, 9, 't', 'T'}} {
		switch {
		case e.Mode&x.bit == 0:
		case b[x.at] == 'x':
			b[x.at] = x.set
		default:
			b[x.at] = x.no
		}
	}
	return string(b)
}
