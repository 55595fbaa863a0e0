// Command benchmark measures varve beside its peers on one machine and one
// disk. Absolute times say little: varve and every peer take turns at each
// workload, several rounds of it, and what counts is the ratio of the medians.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// options are what the command line says.
type options struct {
	rounds int
	second time.Duration  // of one measurement
	size   int64          // of the disk, in bytes
	dir    string         // where pools and files go
	only   *regexp.Regexp // workloads
	kinds  []kind
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "scale" {
		return scale(ctx, args[1:])
	}
	if len(args) > 0 && args[0] == "nfs" {
		return nfsCommand(ctx, args[1:])
	}
	if len(args) > 0 && args[0] == "iscsi" {
		return iscsiCommand(ctx, args[1:])
	}
	if len(args) > 0 && args[0] == "dump" {
		return dumpCommand(ctx, args[1:])
	}
	if len(args) > 0 && args[0] == "space" {
		return space(ctx, args[1:])
	}
	if len(args) > 0 && args[0] == "replay" {
		return replaying(ctx, args[1:])
	}
	if len(args) > 0 && args[0] == "log" {
		return askLog(args[1:])
	}
	if len(args) == 0 || args[0] != "nbd" {
		return errors.New("usage: ./test/bench nbd|nfs|iscsi|scale|space|log|replay|dump [-seconds N] [-rounds N] [-only REGEXP] [-dir DIR]; -help names all flags")
	}
	flags := flag.NewFlagSet("bench nbd", flag.ContinueOnError)
	rounds := flags.Int("rounds", 3, "times that each server runs each workload")
	seconds := flags.Int("seconds", 4, "length of one measurement")
	gigabytes := flags.Int64("size", 2, "size of the disk in GiB")
	only := flags.String("only", "", "run the workloads whose name matches")
	servers := flags.String("servers", "", "run the servers whose name matches")
	dir := flags.String("dir", os.TempDir(), "directory on the disk to measure")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	match, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	who, err := regexp.Compile(*servers)
	if err != nil {
		return err
	}
	if min(*rounds, *seconds) < 1 || *gigabytes < 1 {
		return errors.New("-rounds, -seconds and -size are at least 1")
	}
	o := options{
		rounds: *rounds,
		second: time.Duration(*seconds) * time.Second,
		size:   *gigabytes << 30,
		only:   match,
		kinds:  slices.DeleteFunc(slices.Clone(kinds), func(k kind) bool { return !who.MatchString(k.name) }),
	}
	if err := fit(*dir, o); err != nil {
		return err
	}
	if o.dir, err = os.MkdirTemp(*dir, "varve-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(o.dir)
	return measure(ctx, o)
}

// fit refuses a directory where the figures would mean nothing.
func fit(dir string, o options) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if s.Type == unix.TMPFS_MAGIC {
		return fmt.Errorf("%s is memory, not a disk; give another -dir", dir)
	}
	// One image for each peer, and a log that takes every write of a phase.
	need := 8*o.size + int64(o.rounds)*int64(o.second/time.Second)*(2<<30)
	if free := int64(s.Bavail) * s.Bsize; free < need {
		return fmt.Errorf("%s has %d GiB free, this needs up to %d; give another -dir, or fewer -rounds", dir, free>>30, need>>30)
	}
	return nil
}
