package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// options are what the command line says; each benchmark has those that it
// asked for.
type options struct {
	rounds int
	second time.Duration  // of one measurement
	size   int64          // of the disk, in bytes
	dir    string         // where pools and files go
	only   *regexp.Regexp // workloads, or parts
	who    *regexp.Regexp // servers
	kinds  []kind
}

// command is the command line of a benchmark: the flags that several have, and
// what else it adds to the set.
type command struct {
	*flag.FlagSet
	options
}

// newCommand has -dir alone, whose usage may end in something to know.
func newCommand(name, more string) *command {
	all := regexp.MustCompile("")
	c := &command{flag.NewFlagSet("bench "+name, flag.ContinueOnError), options{only: all, who: all}}
	c.StringVar(&c.dir, "dir", os.TempDir(), "directory on the disk to measure"+more)
	return c
}

const eachServer = "times that each server runs each workload"

func (c *command) withRounds(value int, usage string) *command {
	c.rounds = value
	c.count("rounds", value, usage, func(n int) { c.rounds = n })
	return c
}

func (c *command) withSeconds(value int) *command {
	set := func(n int) { c.second = time.Duration(n) * time.Second }
	set(value)
	c.count("seconds", value, "length of one measurement", set)
	return c
}

// count adds a flag that is at least 1.
func (c *command) count(name string, value int, usage string, set func(int)) {
	c.Func(name, fmt.Sprintf("%s (default %d)", usage, value), func(s string) error {
		n, err := strconv.Atoi(s)
		if err == nil && n < 1 {
			err = errors.New("it is at least 1")
		}
		set(n)
		return err
	})
}

func (c *command) withOnly(what string) *command {
	c.match("only", what, &c.only)
	return c
}

func (c *command) withServers() *command {
	c.match("servers", "run the servers whose name matches", &c.who)
	return c
}

func (c *command) match(name, usage string, to **regexp.Regexp) {
	c.Func(name, usage, func(s string) (err error) {
		*to, err = regexp.Compile(s)
		return err
	})
}

// home makes a directory for all that the benchmark makes, on a disk that has so
// many bytes free, and puts it in the place of what -dir said.
func (c *command) home(need int64) (leave func(), err error) {
	if err := onDisk(c.dir, need); err != nil {
		return nil, err
	}
	if c.dir, err = os.MkdirTemp(c.dir, "varve-bench-"); err != nil {
		return nil, err
	}
	return func() { os.RemoveAll(c.dir) }, nil
}

// onDisk refuses a directory where the figures would mean nothing, or where the
// bytes do not fit.
func onDisk(dir string, need int64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if s.Type == unix.TMPFS_MAGIC {
		return fmt.Errorf("%s is memory, not a disk; give another -dir", dir)
	}
	if free := int64(s.Bavail) * s.Bsize; free < need {
		return fmt.Errorf("%s has %d GiB free, this needs up to %d; give another -dir, or let it do less", dir, free>>30, need>>30)
	}
	return nil
}
