package restore

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"varve/internal/dump"
)

// Message is one thing that restoring tells while it works: one field is set. Paths
// begin with "./", or are ".", and are Go string literals where they are not plain
// text.
type Message struct {
	Archive    *Summary    `json:"archive,omitempty"`
	Name       *Name       `json:"name,omitempty"`
	Damage     *Damage     `json:"damage,omitempty"`
	Loss       *Loss       `json:"loss,omitempty"`
	Difference *Difference `json:"difference,omitempty"`
	Note       string      `json:"note,omitempty"`
	Progress   *Progress   `json:"progress,omitempty"`
}

// Summary is what the first header of an archive tells.
type Summary struct {
	Date       int64  `json:"date" doc:"Seconds since 1970"`
	Base       int64  `json:"base" doc:"The date of the dump that it goes on from; 0: none"`
	Level      int32  `json:"level"`
	Filesystem string `json:"filesystem,omitempty"`
	Device     string `json:"device,omitempty"`
	Host       string `json:"host,omitempty"`
	Label      string `json:"label,omitempty"`
	Inodes     uint64 `json:"inodes" doc:"How many are in the archive"`
}

// Name is a name in an archive, or one that was restored.
type Name struct {
	Ino  uint32 `json:"ino"`
	Path string `json:"path"`
}

// Loss is what could not be restored, or compared.
type Loss struct {
	Ino    uint32   `json:"ino,omitempty"`
	Paths  []string `json:"paths,omitempty"`
	What   string   `json:"what"`
	Ranges []Range  `json:"ranges,omitempty" doc:"Bytes of the file that are not in the archive: zeros now"`
}

// Difference is one between an archive and a tree.
type Difference struct {
	Ino  uint32 `json:"ino"`
	Path string `json:"path"`
	What string `json:"what"`
}

// Progress is what was done so far.
type Progress struct {
	Files uint64 `json:"files" doc:"Objects of the archive that were restored or compared, directories too"`
	Bytes uint64 `json:"bytes" doc:"Of data"`
	Left  uint64 `json:"left" doc:"Objects that are still to come"`
}

// Result is what became of it. It is durable.
type Result struct {
	Progress
	Losses      uint64 `json:"losses"`
	Damages     uint64 `json:"damages"`
	Differences uint64 `json:"differences"`
	Removed     uint64 `json:"removed" doc:"Names that the last level had, and this one has not"`
	LSN         uint64 `json:"lsn,omitempty" doc:"In a share: the last operation"`
}

// Partial reports whether something of the archive is missing in the tree.
func (r *Result) Partial() bool { return r.Losses > 0 || r.Damages > 0 }

// show makes a path what a Message holds.
func show(path string) string {
	if utf8.ValidString(path) && !strings.HasPrefix(path, `"`) && !strings.ContainsFunc(path, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return path
	}
	return strconv.Quote(path)
}

func summary(h *dump.Header) *Summary {
	return &Summary{
		Date: h.Date, Base: h.DDate, Level: h.Level,
		Filesystem: show(h.Filesys), Device: show(h.Dev), Host: show(h.Host), Label: show(h.Label),
	}
}
