package main

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every command says what it does, at length, and by example.
func TestEveryCommandIsDescribed(t *testing.T) {
	a := &app{out: io.Discard, err: io.Discard}
	var all []*cobra.Command
	var collect func(*cobra.Command)
	collect = func(c *cobra.Command) {
		all = append(all, c)
		for _, sub := range c.Commands() {
			collect(sub)
		}
	}
	collect(a.root())
	if len(all) < 30 {
		t.Errorf("only %d commands", len(all))
	}
	for _, c := range all {
		for what, text := range map[string]string{"Short": c.Short, "Long": c.Long, "Example": c.Example} {
			if strings.TrimSpace(text) == "" {
				t.Errorf("%s has no %s", c.CommandPath(), what)
			}
			for line := range strings.Lines(text) {
				if len(strings.TrimRight(line, "\n")) > 82 {
					t.Errorf("%s: a line of %s is too long: %s", c.CommandPath(), what, line)
				}
			}
		}
		if strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: Short is no heading: %s", c.CommandPath(), c.Short)
		}
		if !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("%s: the examples do not show it", c.CommandPath())
		}
		page, err := manPage(c)
		if err != nil || !bytes.Contains(page, []byte(`.SH DESCRIPTION`)) || !bytes.Contains(page, []byte(`"1" "" "varve"`)) {
			t.Errorf("%s: page %.100q, %v", c.CommandPath(), page, err)
		}
	}
}
