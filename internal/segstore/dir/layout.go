package dir

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"strings"

	"varve/internal/fail"
	"varve/internal/segstore"
)

// The file "layout" says how a pool directory is laid out. It is text, five
// lines, numbers in decimal except for the last:
//
//	varve pool layout 1         version; the rest is of that version
//	features 0                  bits that a reader must know
//	segment-size 67108864       bytes
//	capacity 858993459200       bytes that segments may occupy
//	crc32c 1f2e3d4c             of all lines before this one
type layout struct {
	segmentSize int64
	capacity    int64
}

const (
	layoutVersion  = 1
	layoutFeatures = 0 // all that this build knows
	layoutMax      = 4096
	layoutHead     = "varve pool layout "
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (l layout) encode() []byte {
	b := fmt.Appendf(nil, "%s%d\nfeatures %d\nsegment-size %d\ncapacity %d\n",
		layoutHead, layoutVersion, layoutFeatures, l.segmentSize, l.capacity)
	return fmt.Appendf(b, "crc32c %08x\n", crc32.Checksum(b, castagnoli))
}

// decodeLayout reads the layout of the pool in dir. The version comes before
// all else, even the checksum: another version may have another.
func decodeLayout(dir string, b []byte) (layout, error) {
	line, _, _ := strings.Cut(string(b), "\n")
	version, ok := strings.CutPrefix(line, layoutHead)
	if !ok || len(b) > layoutMax {
		return layout{}, damaged(dir)
	}
	if version != fmt.Sprint(layoutVersion) {
		return layout{}, fail.New(fail.Unsupported, "pool %s has layout %.20q; this varve knows layout %d", dir, version, layoutVersion).
			WithHint("use the varve that made it, or a newer one")
	}
	var l layout
	var features uint64
	n, err := fmt.Sscanf(string(b), layoutHead+"1\nfeatures %d\nsegment-size %d\ncapacity %d\n",
		&features, &l.segmentSize, &l.capacity)
	if err != nil || n != 3 {
		return layout{}, damaged(dir)
	}
	body := strings.LastIndex(string(b), "crc32c ")
	if body < 0 || string(b[body:]) != fmt.Sprintf("crc32c %08x\n", crc32.Checksum(b[:body], castagnoli)) {
		return layout{}, damaged(dir)
	}
	if unknown := features &^ layoutFeatures; unknown != 0 {
		return layout{}, fail.New(fail.Unsupported, "pool %s uses features %#x that this varve does not know", dir, unknown).
			WithHint("use a newer varve")
	}
	if segstore.CheckSegmentSize(l.segmentSize) != nil || l.capacity < 0 || !bytes.Equal(b, l.encode()) {
		return layout{}, damaged(dir)
	}
	return l, nil
}

func damaged(dir string) error {
	return fail.New(fail.Corrupt, "the file layout of pool %s is damaged", dir).
		WithHint("its five lines are described in docs/format.md")
}
