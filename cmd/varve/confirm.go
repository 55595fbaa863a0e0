package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"varve/internal/fail"
)

// confirm asks before something is destroyed. find says, for little, why there is
// nothing to ask about, such as that no such thing exists; it may be nil. Where input
// is no terminal there is nobody to ask, and --yes has to say it; the question, which
// may cost more, is then not even made.
func (a *app) confirm(ctx context.Context, find func() error, question func() (string, error)) error {
	if a.yes {
		return nil
	}
	if find != nil {
		if err := find(); err != nil {
			return err
		}
	}
	if !isTerminal(a.in) {
		return fail.New(fail.Invalid, "this asks first, and there is no terminal to ask on").WithHint("add --yes")
	}
	q, err := question()
	if err != nil {
		return err
	}
	a.ask(q + " [y/N] ")
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(a.in).ReadString('\n') // no answer is no
		answer <- line
	}()
	select {
	case <-ctx.Done():
		return fail.New(fail.Canceled, "interrupted; nothing was done")
	case s := <-answer:
		switch strings.ToLower(strings.TrimSpace(s)) {
		case "y", "yes":
			return nil
		}
		return fail.New(fail.Other, "nothing was done")
	}
}

// ask shows a question on the terminal, wherever stderr goes.
func (a *app) ask(q string) {
	tty, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0)
	if err != nil {
		fmt.Fprint(a.err, q)
		return
	}
	defer tty.Close()
	fmt.Fprint(tty, q)
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
