package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/fail"
	"varve/internal/oplog"
)

// filterFlags are the options that say which operations of the log are meant.
type filterFlags struct {
	c      *cobra.Command
	ops    []string
	uid    string
	inos   []string
	over   sizeFlag
	client string
	paths  []string
}

// filterFlags gives a command these options.
func (a *app) filterFlags(c *cobra.Command) *filterFlags {
	x := &filterFlags{c: c}
	f := c.Flags()
	f.StringSliceVar(&x.ops, "op", nil, "only these kinds of operation: write, trim, rename, remove, ...")
	f.StringVar(&x.client, "client", "", "only clients whose name contains this")
	f.StringVar(&x.uid, "uid", "", "only what this user asked for")
	f.StringSliceVar(&x.inos, "ino", nil, "only what concerns these inodes")
	f.Var(&x.over, "bytes-over", "only writes and trims of more bytes than this, or with K, M, G, T")
	f.StringArrayVar(&x.paths, "path", nil, "only paths, as they were then, that match this: *, ?, [a-z], ** over directories; may be repeated")
	c.RegisterFlagCompletionFunc("op", cobra.FixedCompletions(oplog.KindNames(), cobra.ShellCompDirectiveNoFileComp))
	for _, name := range []string{"client", "uid", "ino", "bytes-over", "path"} {
		c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	return x
}

// empty refuses options that were given and say nothing, as by a variable of a
// script that is not set: all operations would be meant.
func (x *filterFlags) empty() error {
	for _, name := range []string{"op", "client", "uid", "ino"} {
		if f := x.c.Flags().Lookup(name); f.Changed && strings.Trim(f.Value.String(), `[]"`) == "" {
			return fail.New(fail.Invalid, "--%s is empty", name).WithHint("leave it out where all operations are meant")
		}
	}
	if x.c.Flags().Changed("bytes-over") && x.over == 0 {
		return fail.New(fail.Invalid, "--bytes-over 0 means nothing").WithHint("--op write,write-file,trim are all that have bytes")
	}
	return nil
}

// filter is what was given; nil if nothing was.
func (x *filterFlags) filter() (*oplog.Filter, error) {
	if err := x.empty(); err != nil {
		return nil, err
	}
	f := oplog.Filter{Client: x.client, BytesOver: uint64(x.over), Paths: x.paths}
	for _, op := range x.ops {
		k, err := oplog.KindOf(op)
		if err != nil {
			return nil, err
		}
		f.Kinds.Add(k)
	}
	if x.uid != "" {
		n, err := strconv.ParseUint(x.uid, 10, 32)
		if err != nil {
			return nil, fail.New(fail.Invalid, "--uid %q is no user's number", x.uid)
		}
		uid := uint32(n)
		f.UID = &uid
	}
	for _, s := range x.inos {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return nil, fail.New(fail.Invalid, "--ino %q is no inode's number", s)
		}
		f.Inos = append(f.Inos, n)
	}
	for _, p := range x.paths {
		if p == "" {
			return nil, fail.New(fail.Invalid, "--path is empty").WithHint("--path '/projects/**'")
		}
		if err := oplog.CheckGlob(p); err != nil {
			return nil, err
		}
	}
	if f.String() == "" {
		return nil, nil
	}
	return &f, nil
}
