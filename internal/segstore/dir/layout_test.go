package dir

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"varve/internal/fail"
)

// sealed adds the checksum to the lines of a layout.
func sealed(lines string) []byte {
	return fmt.Appendf([]byte(lines), "crc32c %08x\n", crc32.Checksum([]byte(lines), castagnoli))
}

func TestLayout(t *testing.T) {
	const body = "varve pool layout 1\nfeatures 0\nsegment-size 65536\ncapacity 1048576\n"
	l, err := decodeLayout("p", sealed(body))
	if err != nil || l != (layout{65536, 1048576}) {
		t.Fatalf("%+v, %v", l, err)
	}
	if !bytes.Equal(l.encode(), sealed(body)) {
		t.Errorf("encoded as %q", l.encode())
	}
	replaced := func(old, new string) []byte { return sealed(strings.Replace(body, old, new, 1)) }
	for _, c := range []struct {
		name string
		b    []byte
		kind fail.Kind
		says string
	}{
		{"empty", nil, fail.Corrupt, "damaged"},
		{"other file", []byte("#!/bin/sh\n"), fail.Corrupt, "damaged"},
		{"other version", []byte("varve pool layout 2\nall is different"), fail.Unsupported, `layout "2"; this varve knows layout 1`},
		{"unknown features", replaced("features 0", "features 5"), fail.Unsupported, "features 0x5"},
		{"no checksum", []byte(body), fail.Corrupt, "damaged"},
		{"segment size", replaced("65536", "65537"), fail.Corrupt, "damaged"},
		{"segment size 0", replaced("65536", "0"), fail.Corrupt, "damaged"},
		{"negative capacity", replaced("1048576", "-1"), fail.Corrupt, "damaged"},
		{"capacity too large", replaced("1048576", "99999999999999999999"), fail.Corrupt, "damaged"},
		{"other spelling", replaced("features 0", "features  0"), fail.Corrupt, "damaged"},
		{"more lines", sealed(body + "colour blue\n"), fail.Corrupt, "damaged"},
		{"trailing bytes", append(sealed(body), '\n'), fail.Corrupt, "damaged"},
		{"too long", sealed(body + strings.Repeat("\n", layoutMax)), fail.Corrupt, "damaged"},
	} {
		_, err := decodeLayout("p", c.b)
		if !fail.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v of kind %v", c.name, err, fail.KindOf(err))
		}
	}
	for i := range sealed(body) {
		b := sealed(body)
		b[i] ^= 1
		if _, err := decodeLayout("p", b); err == nil {
			t.Errorf("a flipped bit in byte %d was not seen", i)
		}
	}
}

func TestHintChecksum(t *testing.T) {
	b := encodeHint([]byte("segment 7"))
	got, err := decodeHint(append(b, "left from a longer one"...))
	if err != nil || string(got) != "segment 7" {
		t.Fatalf("%q, %v", got, err)
	}
	for i := range b {
		torn := bytes.Clone(b)
		torn[i] ^= 1
		if _, err := decodeHint(torn); !fail.Is(err, fail.NotFound) {
			t.Errorf("a flipped bit in byte %d: %v", i, err)
		}
		if _, err := decodeHint(b[:i]); !fail.Is(err, fail.NotFound) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
}

func FuzzLayout(f *testing.F) {
	f.Add(layout{64 << 20, 1 << 40}.encode())
	f.Add([]byte("varve pool layout 2\n"))
	f.Add(sealed("varve pool layout 1\nfeatures 1\nsegment-size 65536\ncapacity 1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := decodeLayout("p", b)
		if err == nil && !bytes.Equal(l.encode(), b) {
			t.Errorf("%q means %+v, which is written as %q", b, l, l.encode())
		}
		if err != nil && fail.KindOf(err) != fail.Corrupt && fail.KindOf(err) != fail.Unsupported {
			t.Errorf("%v", err)
		}
	})
}

func FuzzHint(f *testing.F) {
	f.Add(encodeHint([]byte("segment 7")))
	f.Add(encodeHint(nil))
	f.Add([]byte{0, 0, 0, 0, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		hint, err := decodeHint(b)
		if err == nil && !bytes.HasPrefix(b, encodeHint(hint)) {
			t.Errorf("%x means %x", b, hint)
		}
	})
}
