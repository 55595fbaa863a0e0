// Command saboteur breaks varve on purpose, one fault at a time, and runs the
// tests that must notice. A test that cannot fail is no test: a fault that
// survives fails the run, and so does one that no longer fits the source.
//
// Nothing in the tree is touched: each fault is an overlay for the go command.
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"varve/test/daemon"
)

// edit replaces text that occurs exactly once in a file.
type edit struct {
	file string // from the top of the module
	old  string
	new  string
}

// fault is one way to be wrong.
type fault struct {
	name  string
	what  string // what varve does wrong then
	edits []edit
	tests suite
}

// suite is a set of tests that runs in seconds.
type suite struct {
	pkg string // "./internal/engine"
	run string // pattern of go test -run
	env string // "VARVE_CRASHES=200", several apart by spaces, or none
}

const (
	atOnce   = 2
	patience = 90 * time.Second // for one suite; who hangs longer has noticed too
)

func main() {
	only := flag.String("only", "", "run the faults whose name matches")
	sixth := flag.Int("sixth", -1, "run a sixth of the faults: the first (0) to the last (5), or the seventh for the first again and so on")
	list := flag.Bool("list", false, "list the faults")
	verbose := flag.Bool("v", false, "print what the tests said")
	flag.Parse()
	match, err := regexp.Compile(*only)
	if err != nil {
		fatal(err)
	}
	chosen := slices.DeleteFunc(slices.Concat(poolFaults, damageFaults, frontFaults), func(f fault) bool { return !match.MatchString(f.name) })
	if *sixth >= 0 {
		chosen = every6th(chosen, *sixth%6)
	}
	if *list {
		for _, f := range chosen {
			fmt.Printf("%-28s %s\n", f.name, f.what)
		}
		return
	}
	root, err := daemon.Root()
	if err != nil {
		fatal(err)
	}
	scratch, err := os.MkdirTemp("", "varve-sabotage-")
	if err != nil {
		fatal(err)
	}
	goflags, err := exec.Command("go", "env", "GOFLAGS").Output()
	if err != nil {
		fatal(err)
	}
	s := saboteur{root: root, scratch: scratch, goflags: strings.TrimSpace(string(goflags)), verbose: *verbose}
	ok := len(chosen) > 0 && s.all(chosen)
	os.RemoveAll(scratch)
	if !ok {
		os.Exit(1)
	}
}

// every6th leaves one of six, so that each sixth has faults of every kind: they
// are listed by kind.
func every6th(faults []fault, from int) (out []fault) {
	for i := from; i < len(faults); i += 6 {
		out = append(out, faults[i])
	}
	return out
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "saboteur:", err)
	os.Exit(2)
}

type saboteur struct {
	root, scratch string
	goflags       string // of the user's own
	verbose       bool
}

// control runs every suite without a fault: it must pass, or being caught
// means nothing. It returns the suites that do.
func (s *saboteur) control(faults []fault) (sound []suite) {
	var suites []suite
	for _, f := range faults {
		if !slices.Contains(suites, f.tests) {
			suites = append(suites, f.tests)
		}
	}
	var mu sync.Mutex
	inParallel(len(suites), func(i int) string {
		began := time.Now()
		v := s.test("", suites[i])
		if v.outcome != survived {
			return fmt.Sprintf("UNSOUND  %s -run %s does not pass without a fault: %s\n%s", suites[i].pkg, suites[i].run, cmp.Or(v.by, string(v.outcome)), v.output)
		}
		mu.Lock()
		defer mu.Unlock()
		sound = append(sound, suites[i])
		return fmt.Sprintf("sound    %s -run %s, %.0f s", suites[i].pkg, suites[i].run, time.Since(began).Seconds())
	})
	return sound
}

// all commits the faults and reports whether each was caught by a sound suite.
func (s *saboteur) all(faults []fault) bool {
	sound := s.control(faults)
	var missed []string
	var mu sync.Mutex
	inParallel(len(faults), func(i int) string {
		f := faults[i]
		began := time.Now()
		v := verdict{outcome: unjudged}
		if slices.Contains(sound, f.tests) {
			v = s.commit(f)
		}
		if v.outcome != caught {
			mu.Lock()
			missed = append(missed, f.name)
			mu.Unlock()
			return fmt.Sprintf("%s %s: %s (%s -run %s)\n%s", strings.ToUpper(string(v.outcome)), f.name, f.what, f.tests.pkg, f.tests.run, v.output)
		}
		line := fmt.Sprintf("caught   %-28s by %s, %.0f s", f.name, v.by, time.Since(began).Seconds())
		if s.verbose {
			line += "\n" + v.output
		}
		return line
	})
	fmt.Printf("%d faults, %d caught", len(faults), len(faults)-len(missed))
	if len(missed) > 0 {
		slices.Sort(missed)
		fmt.Printf("; not caught: %s", strings.Join(missed, ", "))
	}
	fmt.Println()
	return len(missed) == 0
}

// inParallel prints what the jobs return, each when it is done.
func inParallel(n int, job func(i int) string) {
	var mu sync.Mutex
	var all sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i := range n {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			line := job(i)
			mu.Lock()
			defer mu.Unlock()
			fmt.Println(line)
		})
	}
	all.Wait()
}

// outcome is how the tests took a fault.
type outcome string

const (
	survived outcome = "survived" // no test failed
	caught   outcome = "caught"
	unfit    outcome = "unfit"    // the old text is not there, or not once
	unbuilt  outcome = "unbuilt"  // it does not compile: no fault but a typo
	unjudged outcome = "unjudged" // its tests fail without it
	testless outcome = "testless" // the pattern matched no test
)

type verdict struct {
	outcome outcome
	by      string // the first test that failed
	output  string
}

// commit applies a fault as an overlay and runs its tests.
func (s *saboteur) commit(f fault) verdict {
	overlay, err := s.overlay(f)
	if err != nil {
		return verdict{outcome: unfit, output: err.Error()}
	}
	return s.test(overlay, f.tests)
}

func (s *saboteur) overlay(f fault) (string, error) {
	replace := map[string]string{}
	for i, e := range f.edits {
		path := filepath.Join(s.root, filepath.FromSlash(e.file))
		from := path
		if earlier, ok := replace[path]; ok {
			from = earlier
		}
		text, err := os.ReadFile(from)
		if err != nil {
			return "", err
		}
		if n := bytes.Count(text, []byte(e.old)); n != 1 {
			return "", fmt.Errorf("%s: the text to replace occurs %d times, want once:\n%s", e.file, n, e.old)
		}
		broken := filepath.Join(s.scratch, fmt.Sprintf("%s-%d.go", f.name, i))
		if err := os.WriteFile(broken, bytes.Replace(text, []byte(e.old), []byte(e.new), 1), 0o600); err != nil {
			return "", err
		}
		replace[path] = broken
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(s.scratch, f.name+".json")
	return overlay, os.WriteFile(overlay, b, 0o600)
}

// event is one line of go test -json.
type event struct {
	Action string
	Test   string
	Output string
}

func (s *saboteur) test(overlay string, t suite) verdict {
	cmd := exec.Command("go", "test", "-json", "-count=1", "-vet=off", "-timeout", patience.String(), "-run", t.run, t.pkg)
	cmd.Dir = s.root
	cmd.Env = append(os.Environ(), strings.Fields(t.env)...)
	cmd.Env = append(cmd.Env, "TMPDIR="+s.scratch) // what failing tests keep goes when we go
	if overlay != "" {
		// Not as an argument: tests that build varve themselves inherit it.
		cmd.Env = append(cmd.Env, "GOFLAGS="+strings.TrimSpace(s.goflags+" -overlay="+overlay))
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return verdict{outcome: unbuilt, output: err.Error()}
	}
	return judge(out, err != nil)
}

func judge(out []byte, failed bool) verdict {
	var said strings.Builder
	saidBy := map[string]string{}
	var v verdict
	tests := 0
	for line := range bytes.Lines(out) {
		var e event
		if json.Unmarshal(line, &e) != nil {
			said.Write(line)
			continue
		}
		said.WriteString(e.Output)
		saidBy[e.Test] += e.Output
		switch {
		case e.Action == "build-fail":
			v.outcome = unbuilt
		case e.Action == "run":
			tests++
		case e.Action == "fail" && e.Test != "" && v.by == "":
			v.by = e.Test
		}
	}
	v.output = lastLines(said.String(), 40)
	switch {
	case v.by != "":
		v.output = lastLines(saidBy[v.by], 40)
	case strings.Contains(said.String(), "panic: test timed out"):
		v.by = "the time limit"
	}
	switch {
	case v.outcome == unbuilt:
	case failed && v.by != "":
		v.outcome = caught
	case failed:
		v.outcome = unbuilt
	case tests == 0:
		v.outcome = testless
	default:
		v.outcome = survived
	}
	return v
}

// lastLines cuts what tests said to its end, where the verdict is.
func lastLines(s string, n int) string {
	lines := strings.SplitAfter(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}
