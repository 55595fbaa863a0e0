package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"varve/internal/fail"
	"varve/internal/restore"
)

// restoreView shows what restoring tells: names and differences are data, the rest
// is not.
type restoreView struct {
	a       *app
	op      restore.Op
	archive *archiveMeter
	names   *rows[restore.Name]
	start   time.Time
	every   time.Duration // between two lines about progress; 0: nobody looks
	shown   time.Time     // of the progress
	last    restore.Progress
}

var archiveNameColumns = []column[restore.Name]{
	{"ino", true, func(n restore.Name) string { return strconv.FormatUint(uint64(n.Ino), 10) }},
	{"path", false, func(n restore.Name) string { return n.Path }},
}

func (a *app) newRestoreView(op restore.Op, m *archiveMeter) (*restoreView, error) {
	v := &restoreView{a: a, op: op, archive: m, start: time.Now(), every: a.progressEvery()}
	var err error
	v.names, err = newRows(a, archiveNameColumns, nil)
	if err == nil && op != restore.List {
		v.names.untitled()
	}
	return v, err
}

// message is a line of --json.
type message struct {
	Type string `json:"message_type"`
	restore.Message
	Pace   *restorePace    `json:"pace,omitempty"` // with progress
	Result *restore.Result `json:"result,omitempty"`
}

// restorePace is how fast progress is made.
type restorePace struct {
	Read    uint64  `json:"read"`    // bytes of the archive
	Total   uint64  `json:"total"`   // of it; 0 if nobody knows, as of a pipe
	Seconds float64 `json:"seconds"` // since the beginning
	Left    float64 `json:"left"`    // seconds, at the rate so far
}

// pace tells it by what was read of the archive, or else by objects.
func (v *restoreView) pace(p *restore.Progress) restorePace {
	took := time.Since(v.start)
	out := restorePace{Read: v.archive.read.Load(), Total: v.archive.total, Seconds: took.Seconds()}
	if out.Total != 0 {
		out.Left = timeLeft(out.Read, out.Total, took)
	} else {
		out.Left = timeLeft(p.Files, p.Files+p.Left, took)
	}
	return out
}

func (v *restoreView) say(m restore.Message) error {
	if m.Progress != nil {
		return v.progress(m.Progress)
	}
	if v.a.json {
		return v.a.writeJSON(message{Type: kindOfMessage(&m), Message: m})
	}
	v.a.progressEnd()
	switch {
	case m.Name != nil:
		return v.names.add(*m.Name)
	case m.Difference != nil:
		return v.a.write(fmt.Sprintf("%s: %s\n", m.Difference.Path, m.Difference.What))
	case m.Archive != nil:
		v.about(m.Archive)
	case m.Damage != nil:
		v.a.say("varve: damage: %s", m.Damage)
	case m.Loss != nil:
		v.a.say("varve: lost: %s", lossText(m.Loss))
	case m.Note != "":
		v.a.say("varve: %s", m.Note)
	}
	return nil
}

func kindOfMessage(m *restore.Message) string {
	switch {
	case m.Archive != nil:
		return "archive"
	case m.Name != nil:
		return "name"
	case m.Damage != nil:
		return "damage"
	case m.Loss != nil:
		return "loss"
	case m.Difference != nil:
		return "difference"
	}
	return "note"
}

func (v *restoreView) about(s *restore.Summary) {
	since := ""
	if s.Base != 0 {
		since = ", since " + v.a.time(time.Unix(s.Base, 0))
	}
	of := s.Filesystem
	if s.Device != "" && s.Device != s.Filesystem {
		of = strings.TrimSpace(of + " " + s.Device)
	}
	if s.Host != "" {
		of += " on " + s.Host
	}
	v.a.say("level %d dump of %s%s: %s, %s", s.Level, v.a.time(time.Unix(s.Date, 0)), since, of, plural(s.Inodes, "inode"))
}

func lossText(l *restore.Loss) string {
	var b strings.Builder
	if len(l.Paths) > 0 {
		b.WriteString(strings.Join(l.Paths, ", ") + ": ")
	}
	b.WriteString(l.What)
	for _, r := range l.Ranges {
		fmt.Fprintf(&b, " [%d, %d)", r.From, r.To)
	}
	return b.String()
}

// progress tells how far it is: on a terminal, or in --json.
func (v *restoreView) progress(p *restore.Progress) error {
	v.last = *p
	if v.every == 0 || time.Since(v.shown) < v.every {
		return nil
	}
	v.shown = time.Now()
	pace := v.pace(p)
	if v.a.json {
		return v.a.writeJSON(message{Type: "progress", Message: restore.Message{Progress: p}, Pace: &pace})
	}
	v.a.showProgress("%s of %d, %s, %s left", plural(p.Files, "file"), p.Files+p.Left, v.a.amount(p.Bytes), seconds(pace.Left))
	return nil
}

// end says what became of it, also before an error.
func (v *restoreView) end(r restore.Result, err error) error {
	v.a.progressEnd()
	if fail.Is(err, fail.Canceled) && v.last.Files > 0 && !v.a.json {
		v.summary(restore.Result{Progress: v.last})
	}
	if err = v.names.end(err); err != nil {
		return err
	}
	if v.a.json {
		if err := v.a.writeJSON(message{Type: "result", Result: &r}); err != nil {
			return err
		}
	} else {
		v.summary(r)
	}
	switch {
	case r.Partial():
		return exitPartial
	case r.Differences > 0:
		return exitDamage
	}
	return nil
}

func (v *restoreView) summary(r restore.Result) {
	switch v.op {
	case restore.Extract, restore.Update:
		removed := ""
		if r.Removed > 0 {
			removed = ", removed " + plural(r.Removed, "name")
		}
		v.a.say("restored %s with %s%s", plural(r.Files, "file"), v.a.amount(r.Bytes), removed)
	case restore.Compare:
		v.a.say("compared %s with %s: %s", plural(r.Files, "file"), v.a.amount(r.Bytes), plural(r.Differences, "difference"))
	}
	if r.Partial() {
		v.a.say("varve: not everything could be read: %s, %s", plural(r.Damages, "damaged place"), plural(r.Losses, "loss"))
	}
}
