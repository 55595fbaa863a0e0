package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"varve/internal/fail"
	"varve/internal/files"
	"varve/internal/restore"
)

// TestMeter: what an archive will have is told with what it has, and how long it takes
// on; an estimate is never less than what is there.
func TestMeter(t *testing.T) {
	for _, c := range []struct {
		done, total uint64
		took        time.Duration
		want        dumpProgress
	}{
		{0, 4096, 0, dumpProgress{Total: 4096}},
		{1024, 4096, 2 * time.Second, dumpProgress{Bytes: 1024, Total: 4096, Seconds: 2, Left: 6}},
		{4096, 4096, 3 * time.Second, dumpProgress{Bytes: 4096, Total: 4096, Seconds: 3}},
		{5000, 4096, 4 * time.Second, dumpProgress{Bytes: 5000, Total: 5000, Seconds: 4}},
	} {
		m := &meter{total: c.total, done: c.done, exact: true}
		c.want.Type, c.want.Exact = "progress", true
		if got := m.progress(c.took); got != c.want {
			t.Errorf("%+v, not %+v", got, c.want)
		}
	}
	var out, errs bytes.Buffer
	a := &app{json: true, out: &out, err: &errs}
	m := &meter{w: &errs, a: a, every: time.Nanosecond, total: 10, start: time.Now()}
	for range 3 {
		if _, err := m.Write([]byte("abc")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	m.end(nil)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], `{"message_type":"progress","bytes":3,"total":10,"exact":false,`) ||
		!strings.HasPrefix(lines[3], `{"message_type":"progress","bytes":9,"total":9,"exact":true,`) {
		t.Errorf("%q", lines)
	}
}

// TestProgressLine: every line about progress takes the place of the one before, and
// the last one goes before anything else is said; without a terminal, and in --json,
// there is none.
func TestProgressLine(t *testing.T) {
	term, screen := openTerminal(t)
	a := &app{err: screen}
	const lines = "\r\x1b[K1 file, 5 bytes\r\x1b[K20 files, 2K\r\x1b[K"
	ctx, cancel := context.WithCancel(t.Context())
	_, err := a.followCopy(ctx, "go on", func(tell func(files.Progress)) (files.Copied, error) {
		tell(files.Progress{Files: 1, Bytes: 5})
		tell(files.Progress{Files: 20, Bytes: 2048})
		cancel()
		return files.Copied{}, fail.New(fail.Canceled, "interrupted")
	})
	if !fail.Is(err, fail.Canceled) || err.Error() != "after 2K or more in 20 whole files: interrupted; go on" {
		t.Error(err)
	}
	a.progressEnd()
	a.json = true
	a.progress(1, 2)
	a.progressEnd()
	fmt.Fprint(screen, "end")
	var got []byte
	for !bytes.HasSuffix(got, []byte("end")) {
		p := make([]byte, 200)
		n, err := term.Read(p)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p[:n]...)
	}
	if string(got) != lines+"end" {
		t.Errorf("%q", got)
	}
	var file bytes.Buffer
	a = &app{err: &file}
	a.progress(1, 2)
	a.progressEnd()
	if file.Len() > 0 {
		t.Errorf("%q without a terminal", file.String())
	}
}

// openTerminal returns a pseudoterminal: what is written to the screen, term reads.
func openTerminal(t *testing.T) (term, screen *os.File) {
	t.Helper()
	term, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { term.Close() })
	fd := int(term.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		screen, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close() })
	return term, screen
}

// TestPace: how long a restoration takes on is told by the archive's bytes where they are
// known, and by objects where not.
func TestPace(t *testing.T) {
	v := &restoreView{archive: &archiveMeter{total: 4000}, start: time.Now().Add(-10 * time.Second)}
	v.archive.read.Store(1000)
	p := &restore.Progress{Files: 1, Left: 1}
	if got := v.pace(p); got.Read != 1000 || got.Total != 4000 || got.Left < 29 || got.Left > 31 {
		t.Errorf("%+v", got)
	}
	v.archive.total = 0
	if got := v.pace(p); got.Left < 9 || got.Left > 11 {
		t.Errorf("%+v", got)
	}
}

// TestSizeOfFiles: what is read of stdin has no size, whatever is called - too.
func TestSizeOfFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"a", "-"} {
		if err := os.WriteFile(name, make([]byte, 700), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		names []string
		want  uint64
	}{{[]string{"a", "a"}, 1400}, {[]string{"a", "-"}, 0}, {[]string{"a", "b"}, 0}, {[]string{"."}, 0}} {
		if got := sizeOfFiles(c.names); got != c.want {
			t.Errorf("%q: %d, not %d", c.names, got, c.want)
		}
	}
}
