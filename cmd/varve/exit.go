package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/fail"
)

// Exit codes that say something other than what kind of error happened.
const (
	exitUsage    exitCode = 64
	exitDamage   exitCode = 2
	exitPartial  exitCode = 3
	exitWarning  exitCode = 4
	exitCritical exitCode = 5
)

// exitCode is an error that was shown already, or needs no words.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// exitCodes maps each kind of error to the exit code of the process.
var exitCodes = map[fail.Kind]exitCode{
	fail.Other:          1,
	fail.Invalid:        exitUsage,
	fail.NotFound:       10,
	fail.Exists:         14,
	fail.Stale:          10,
	fail.NoSpace:        15,
	fail.ReadOnly:       12,
	fail.Denied:         12,
	fail.Corrupt:        16,
	fail.Busy:           11,
	fail.OutsideHistory: 13,
	fail.BaseMissing:    17,
	fail.Unsupported:    1,
	fail.FailStopped:    16,
	fail.IO:             1,
	fail.NoServer:       18,
	fail.TooBig:         1,
	fail.Canceled:       130,
}

// exitMeanings are all exit codes, in order, as the help shows them.
var exitMeanings = []struct {
	code    exitCode
	meaning string
}{
	{0, "done"},
	{exitCodes[fail.Other], "failed"},
	{exitDamage, "differences, or check or clean found damage"},
	{exitPartial, "partial: restore, undo or replay did what could be done"},
	{exitWarning, "status --check: warning"},
	{exitCritical, "status --check: critical"},
	{exitCodes[fail.NotFound], "no such object"},
	{exitCodes[fail.Busy], "busy"},
	{exitCodes[fail.Denied], "denied, or a write to the past"},
	{exitCodes[fail.OutsideHistory], "outside history"},
	{exitCodes[fail.Exists], "exists already"},
	{exitCodes[fail.NoSpace], "no space"},
	{exitCodes[fail.Corrupt], "corrupt, or stopped after a failed write"},
	{exitCodes[fail.BaseMissing], "base missing"},
	{exitCodes[fail.NoServer], "no server for this pool"},
	{exitUsage, "usage"},
	{exitCodes[fail.Canceled], "interrupted, or the server is shutting down"},
}

// exitTable is set apart by its indentation, in manual pages too.
func exitTable() string {
	var b strings.Builder
	for _, e := range exitMeanings {
		fmt.Fprintf(&b, "    %3d  %s\n", e.code, e.meaning)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// report writes an error for a person and returns the process's exit code.
func (a *app) report(c *cobra.Command, err error) int {
	var code exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case !a.running: // what cobra itself refuses has no kind
		fmt.Fprintf(a.err, "varve: %s; see: %s --help\n", usageText(err), c.CommandPath())
		return int(exitUsage)
	}
	fmt.Fprintf(a.err, "varve: %s\n", a.asGiven(c, err.Error()))
	return int(exitCodes[fail.KindOf(err)])
}

// How cobra words what it refuses of itself.
var (
	flagMissing    = regexp.MustCompile(`^required flag\(s\) "([^"]+)".* not set$`)
	flagsExclusive = regexp.MustCompile(`^if any flags in the group .*; \[(\S+) (\S+)\] were all set$`)
)

// usageText words an error of cobra as the others are, on one line.
func usageText(err error) string {
	text, likely, _ := strings.Cut(err.Error(), "\n\nDid you mean this?\n")
	if names := strings.Fields(likely); len(names) > 0 {
		return text + ", perhaps " + strings.Join(names, " or ")
	}
	if m := flagMissing.FindStringSubmatch(text); m != nil {
		return "--" + m[1] + " is missing"
	}
	if m := flagsExclusive.FindStringSubmatch(text); m != nil {
		return "--" + m[1] + " and --" + m[2] + " exclude each other"
	}
	return text
}
