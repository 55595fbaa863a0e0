// Command benchmark measures varve beside its peers on one machine and one
// disk. Absolute times say little: varve and every peer take turns at each
// workload, several rounds of it, and what counts is the ratio of the medians.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

var benchmarks = map[string]func(ctx context.Context, args []string) error{
	"nbd":    nbdCommand,
	"nfs":    nfsCommand,
	"iscsi":  iscsiCommand,
	"scale":  scale,
	"space":  space,
	"log":    askLog,
	"replay": replaying,
	"dump":   dumpCommand,
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
	if len(args) > 0 && benchmarks[args[0]] != nil {
		return benchmarks[args[0]](ctx, args[1:])
	}
	return errors.New("usage: ./test/bench nbd|nfs|iscsi|scale|space|log|replay|dump [-seconds N] [-rounds N] [-only REGEXP] [-dir DIR]; -help names all flags")
}
