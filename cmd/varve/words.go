package main

import (
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"varve/internal/when"
)

// word is what may be a moment or a time within a sentence.
var word = regexp.MustCompile(`@?[0-9a-z][0-9A-Za-z:._+-]*`)

// asGiven puts what a server says about moments into the words of the command
// line c: the server knows them only in their canonical form. Other times are
// those of the command's zone.
func (a *app) asGiven(c *cobra.Command, message string) string {
	given := map[string]string{}
	note := func(s string) {
		s = strings.TrimPrefix(s, "@")
		if w, err := when.Parse(s, time.Local); err == nil {
			given[w.String()] = "@" + s
		}
	}
	for _, arg := range c.Flags().Args() {
		if _, moments, ok := strings.Cut(arg, "@"); ok {
			from, to, _ := strings.Cut(moments, "..@")
			note(from)
			note(to)
		}
	}
	c.Flags().Visit(func(f *pflag.Flag) { note(f.Value.String()) })
	return word.ReplaceAllStringFunc(message, func(s string) string {
		if words, ok := given[s]; ok {
			return words
		}
		return a.localTimes(s)
	})
}

// localTimes shows the times in UTC of a message in the zone of this command,
// unless what is exact is wanted.
func (a *app) localTimes(message string) string {
	if a.exact {
		return message
	}
	return word.ReplaceAllStringFunc(message, func(s string) string {
		digits := strings.TrimPrefix(s, "@")
		t, err := time.Parse(time.RFC3339Nano, digits)
		if err != nil || !strings.HasSuffix(digits, "Z") {
			return s
		}
		return strings.TrimSuffix(s, digits) + t.Local().Format(time.RFC3339Nano)
	})
}
