package interop

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"varve/internal/dump"
)

// headerOf finds the header of a path in an archive.
func headerOf(t *testing.T, archive, path string) dump.Header {
	t.Helper()
	b, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	heads := make(map[uint32]dump.Header)
	names := make(map[uint32]map[string]uint32)
	for at := 0; at+dump.RecordSize <= len(b); {
		var h dump.Header
		if _, err := h.Decode(b[at : at+dump.RecordSize]); err != nil {
			t.Fatalf("byte %d: %v", at, err)
		}
		if h.TapeA != int64(at/dump.RecordSize) {
			t.Fatalf("record %d says that it is record %d", at/dump.RecordSize, h.TapeA)
		}
		at += dump.RecordSize
		data := at
		switch h.Type {
		case dump.TypeBits, dump.TypeClri:
			at += int(h.Count) * dump.RecordSize
		case dump.TypeInode, dump.TypeAddr:
			for _, a := range h.Addr[:h.Count] {
				at += int(a) * dump.RecordSize
			}
		}
		if h.Type != dump.TypeInode || h.Flags&dump.FlagXattrs != 0 {
			continue
		}
		heads[h.Ino] = h
		if h.Mode&dump.ModeType == dump.ModeDir {
			names[h.Ino] = entries(b[data : data+int(h.Size)])
		}
	}
	ino := uint32(dump.RootIno)
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if name != "" {
			ino = names[ino][name]
		}
	}
	h, ok := heads[ino]
	if !ok {
		t.Fatalf("%s is not in the archive", path)
	}
	return h
}

func entries(b []byte) map[string]uint32 {
	out := make(map[string]uint32)
	for len(b) > 0 {
		n := int(binary.LittleEndian.Uint16(b[4:]))
		out[string(b[8:8+int(b[7])])] = binary.LittleEndian.Uint32(b)
		b = b[n:]
	}
	return out
}
