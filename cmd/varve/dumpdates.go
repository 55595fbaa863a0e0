package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"varve/internal/fail"
)

// dumpEntry is a line of a dumpdates file, as dump(8) has them:
//
//	name level Sat Nov 28 05:10:28 2026 +0000
type dumpEntry struct {
	name  string
	level int
	date  time.Time
}

const dumpdatesLayout = "Mon Jan _2 15:04:05 2006 -0700"

// readDumpdates reads a dumpdates file; one that is not there has no entries. Nobody
// writes it meanwhile.
func readDumpdates(path string) ([]dumpEntry, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		defer f.Close()
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH)
	}
	if err != nil {
		return nil, fail.Wrap(fail.IO, err, "the record of dumps")
	}
	return parseDumpdates(f, path)
}

func parseDumpdates(r io.Reader, path string) ([]dumpEntry, error) {
	var list []dumpEntry
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		e, ok := parseDumpEntry(lines.Text())
		if !ok {
			return nil, fail.New(fail.Invalid, "%s line %d is no entry of a dump: %.100q", path, n, lines.Text()).
				WithHint("correct or remove the line, or name another file with --dumpdates")
		}
		list = append(list, e)
	}
	if err := lines.Err(); err != nil {
		return nil, fail.Wrap(fail.IO, err, "%s", path)
	}
	return list, nil
}

// parseDumpEntry reads a line from its end: names may hold blanks.
func parseDumpEntry(line string) (dumpEntry, bool) {
	words := strings.Fields(line)
	if len(words) < 7 {
		return dumpEntry{}, false
	}
	zoned := strings.ContainsAny(words[len(words)-1][:1], "+-")
	n, layout := 5, "Mon Jan _2 15:04:05 2006"
	if zoned {
		n, layout = 6, dumpdatesLayout
	}
	if len(words) < n+2 {
		return dumpEntry{}, false
	}
	date, err := time.ParseInLocation(layout, strings.Join(words[len(words)-n:], " "), time.Local)
	level := words[len(words)-n-1]
	if err != nil || len(level) != 1 || level[0] < '0' || level[0] > '9' {
		return dumpEntry{}, false
	}
	name := line
	for range n + 1 {
		name = strings.TrimRight(name, " \t")
		name = name[:strings.LastIndexAny(name, " \t")+1]
	}
	return dumpEntry{strings.TrimSpace(name), int(level[0] - '0'), date}, true
}

func (e dumpEntry) String() string {
	return fmt.Sprintf("%-32s %d %s", e.name, e.level, e.date.Local().Format(dumpdatesLayout))
}

// base returns the date that a level of a file system is based on: that of the
// newest recorded dump of a lower level, or 0 for level 0. BaseMissing.
func (o *dumpOrder) base(name string) (int64, error) {
	if o.level == 0 {
		return 0, nil
	}
	list, err := readDumpdates(o.dumpdates)
	if err != nil {
		return 0, err
	}
	var newest int64
	for _, e := range list {
		if e.name == name && e.level < o.level {
			newest = max(newest, e.date.Unix())
		}
	}
	if newest == 0 {
		return 0, fail.New(fail.BaseMissing, "%s has no entry for %s of a level below %d", o.dumpdates, name, o.level).
			WithHint("make a base with varve dump -0 -u")
	}
	return newest, nil
}

// recordDump makes the entry of a dump, in place of that of the same level. Others
// that do so at the same time wait for each other.
func recordDump(path, name string, level int, date time.Time) error {
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err == nil {
		defer lock.Close()
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		return fail.Wrap(fail.IO, err, "the record of dumps").WithHint("the archive is whole, but no dump can be based on it; name a file with --dumpdates")
	}
	list, err := parseDumpdates(lock, path)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, e := range list {
		if e.name != name || e.level != level {
			fmt.Fprintln(&b, e)
		}
	}
	fmt.Fprintln(&b, dumpEntry{name, level, date})
	return replaceLocked(path, lock, b.String())
}

// replaceLocked writes a file anew that is open and locked. It stays the same
// file, so that whoever waits for the lock has it; the new bytes come first, and
// what is too much goes last.
func replaceLocked(path string, f *os.File, text string) error {
	backup := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".old")
	old, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(backup, old, 0o600)
	}
	if err == nil {
		_, err = f.WriteAt([]byte(text), 0)
	}
	if err == nil {
		err = f.Truncate(int64(len(text)))
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return fail.Wrap(fail.IO, err, "the record of dumps")
	}
	os.Remove(backup)
	return nil
}
