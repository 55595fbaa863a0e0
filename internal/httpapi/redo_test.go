package httpapi

import (
	"context"
	"encoding/json"
	"testing"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/httpapi/httpapitest"
	"varve/internal/oplog"
	"varve/internal/redo"
	"varve/internal/when"
)

// Undo and replay carry over what was asked, and what came of it.
func TestRedo(t *testing.T) {
	p := &httpapitest.Pool{}
	dir, _ := serve(t, p)
	c, ctx := NewClient(dir), context.Background()
	if _, err := c.CreateVolume(ctx, "a", 4096); err != nil {
		t.Fatal(err)
	}
	uid := uint32(7)
	until := when.Spec{Kind: when.Now}
	o := redo.UndoOptions{
		Options: redo.Options{OnConflict: redo.Cascade, Taint: redo.ByPath, DryRun: true},
		Since:   when.Spec{Kind: when.LSN, LSN: 1}, Until: &until, Match: &oplog.Filter{Client: "10.0.0.9", UID: &uid},
	}
	r, err := c.Undo(ctx, "a", o)
	if err != nil || !r.DryRun || !r.Partial || len(r.Clashes) != 1 || len(r.Changes) != 1 || r.LSN != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if got := p.Undone; got.Since != o.Since || *got.Until != until || got.Match.String() != o.Match.String() || got.OnConflict != redo.Cascade || got.Taint != redo.ByPath {
		t.Errorf("the pool was asked %+v", got)
	}
	w := redo.ReplayOptions{From: o.Since, To: until, Only: &oplog.Filter{BytesOver: 5}, Exclude: o.Match, Name: "b"}
	r, err = c.Replay(ctx, "a", w)
	if err != nil || r.Name != "b" || r.Guard == "" || r.LSN == 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if got := p.Replayed; got.From != w.From || got.To != w.To || got.Only.String() != w.Only.String() || got.Exclude.String() != w.Exclude.String() || got.Name != "b" {
		t.Errorf("the pool was asked %+v", got)
	}
	if last := p.Callers()[len(p.Callers())-1]; last.Proto != "api" || last == (engine.Caller{}) {
		t.Errorf("by %+v", last)
	}
	for _, x := range []struct {
		refuse error
		report bool // comes with it
	}{
		{fail.New(fail.Busy, "a has a writer"), false},
		{fail.Wrap(fail.Other, redo.Conflict("the name is taken"), "create at lsn 7"), true},
	} {
		p.Refuse = x.refuse
		if r, err := c.Replay(ctx, "a", w); err == nil || err.Error() != x.refuse.Error() || (r != nil) != x.report {
			t.Errorf("%v: %+v, %v", x.refuse, r, err)
		}
	}
	p.Refuse = nil
	for _, x := range [][2]string{
		{"undo", `{}`},
		{"undo", `{"since":"@10x-ago"}`},
		{"undo", `{"since":"@lsn:1","until":"@10x-ago"}`},
		{"undo", `{"since":"@lsn:1","filter":"nothing"}`},
		{"undo", `{"since":"@lsn:1","on_conflict":"nothing"}`},
		{"undo", `{"since":"@lsn:1","taint":"nobody"}`},
		{"replay", `{"from":"@lsn:1"}`},
		{"replay", `{"from":"@lsn:1","name":"c","only":"op=nothing"}`},
		{"replay", `{"from":"@lsn:1","name":"c","exclude":"uid=me"}`},
		{"replay", `{"from":"@lsn:1","name":"c","to":"@10x-ago"}`},
	} {
		resp := raw(t, dir, "POST", "/v1/datasets/a/"+x[0], x[1])
		var got Problem
		if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || resp.StatusCode < 400 || got.Kind != "invalid" {
			t.Errorf("%s %s: %d %+v, %v", x[0], x[1], resp.StatusCode, got, err)
		}
	}
}
