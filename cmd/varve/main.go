// Command varve serves a pool of shares and disks that can be rewound, and is the client
// that controls such a server. Each command has its file; what they do is done
// by the packages below internal/.
package main

import (
	"context"
	"os"
	"os/signal"
)

func main() { os.Exit(run()) }

// run executes the command line of this process and returns its exit code.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	root := a.root()
	cmd, err := root.ExecuteContextC(ctx)
	return a.report(cmd, err)
}
