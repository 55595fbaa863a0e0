package httpapi

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"varve/internal/dump"
	"varve/internal/fail"
	"varve/internal/files"
	"varve/internal/httpapi/httpapitest"
	"varve/internal/restore"
)

// emptyTree is an archive of a root without names.
func emptyTree() []byte {
	var b []byte
	n := int64(0)
	header := func(h dump.Header) {
		h.Magic, h.Date, h.Volume, h.TapeA, h.Flags = dump.MagicUFS2, 1, 1, n, 2
		r := make([]byte, dump.RecordSize)
		h.Encode(r, binary.LittleEndian)
		b, n = append(b, r...), n+1
	}
	data := func(p []byte) {
		b, n = append(b, append(p, make([]byte, dump.RecordSize-len(p))...)...), n+1
	}
	header(dump.Header{Type: dump.TypeTape, Count: 1})
	for _, t := range []dump.Type{dump.TypeClri, dump.TypeBits} {
		header(dump.Header{Type: t, Count: 1})
		data([]byte{2})
	}
	h := dump.Header{Type: dump.TypeInode, Ino: 2, Mode: 0o40755, Size: 512, Count: 1}
	h.Addr[0] = 1
	header(h)
	data([]byte("\x02\x00\x00\x00\x0c\x00\x04\x01.\x00\x00\x00\x02\x00\x00\x00\xf4\x01\x04\x02..\x00\x00"))
	header(dump.Header{Type: dump.TypeEnd})
	return b
}

func volumesOf(list ...io.Reader) restore.Volumes {
	return func(n int) (restore.Volume, error) {
		if n >= len(list) {
			return restore.Volume{}, io.EOF
		}
		return restore.Volume{ReadCloser: io.NopCloser(list[n]), Name: "given"}, nil
	}
}

// brokenReader gives some bytes and fails.
type brokenReader struct{ io.Reader }

func (b brokenReader) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = errors.New("the tape tore")
	}
	return n, err
}

// TestRestoreArchive: an archive is sent, in its volumes, while messages come back; and
// what goes wrong at either end is told.
func TestRestoreArchive(t *testing.T) {
	dir, _ := serve(t, &httpapitest.Pool{})
	c := NewClient(dir)
	whole := emptyTree()
	long := bytes.Repeat([]byte("x"), 5<<20) // after the end: nobody wants it
	run := func(ctx context.Context, v restore.Volumes, names ...string) (restore.Result, []restore.Message, error) {
		t.Helper()
		var got []restore.Message
		o := restore.Options{Op: restore.Extract, Names: true, Say: func(m restore.Message) error {
			got = append(got, m)
			return nil
		}}
		r, err := c.RestoreArchive(ctx, files.Place{Share: "a", Path: "/"}, names, v, o)
		return r, got, err
	}
	ctx := context.Background()
	for what, v := range map[string]restore.Volumes{
		"one volume":  volumesOf(bytes.NewReader(whole)),
		"longer":      volumesOf(io.MultiReader(bytes.NewReader(whole), bytes.NewReader(long))),
		"two volumes": volumesOf(bytes.NewReader(whole), bytes.NewReader(long)),
	} {
		r, got, err := run(ctx, v, "first", "second")
		if err != nil || r.Partial() || len(got) == 0 || got[0].Archive == nil || got[0].Archive.Inodes != 1 {
			t.Errorf("%s: %+v, %v, %v", what, r, got, err)
		}
	}
	for what, c := range map[string]struct {
		v    restore.Volumes
		kind fail.Kind
		want string
	}{
		"cut off":     {volumesOf(bytes.NewReader(whole[:5000])), fail.Corrupt, "first at byte 5000"},
		"no archive":  {volumesOf(bytes.NewReader(long)), fail.Corrupt, "first does not begin with a header"},
		"no volume":   {func(int) (restore.Volume, error) { return restore.Volume{}, fail.New(fail.NotFound, "no such file") }, fail.NotFound, "no such file"},
		"a torn tape": {volumesOf(brokenReader{bytes.NewReader(whole[:3000])}), fail.IO, "the tape tore"},
	} {
		if _, _, err := run(ctx, c.v, "first"); !fail.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, _, err := run(ctx, volumesOf(bytes.NewReader(whole))); !fail.Is(err, fail.Invalid) {
		t.Errorf("no names of volumes: %v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	r, w := io.Pipe()
	defer w.Close()
	if _, _, err := run(ctx, volumesOf(r), "first"); !fail.Is(err, fail.Canceled) {
		t.Errorf("given up: %v", err)
	}
}

// TestReceivedVolumes: what is no sequence of pieces is refused.
func TestReceivedVolumes(t *testing.T) {
	for body, want := range map[string]string{
		"\x03\x00\x00\x00abc\x00\x00\x00\x00": "abc",
		"\x00\x00\x00\x00":                    "",
		"":                                    "did not come whole",
		"\x03\x00\x00\x00ab":                  "did not come whole",
		"\x03\x00\x00\x00abc\x00":             "did not come whole",
		"\x01\x00\x10\x00" + "a":              "a piece of a volume has 1048577 bytes",
	} {
		v := &receivedVolumes{body: strings.NewReader(body), names: []string{"one"}}
		volume, err := v.next(0)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(volume)
		if got := string(b); err == nil && got != want || err != nil && !strings.Contains(err.Error(), want) || err != nil && want == "abc" {
			t.Errorf("%q: %q, %v", body, b, err)
		}
	}
}
