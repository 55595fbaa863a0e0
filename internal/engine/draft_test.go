package engine_test

import (
	"bytes"
	"context"
	"testing"

	"varve/internal/when"
)

// What a draft gave up before it took its dataset's place was still there in the
// dataset meanwhile: moments of that time stay whole when all is one line again.
func TestDraftLeavesMomentsWhole(t *testing.T) {
	defer recoverStop(t)
	p := newPast(t)
	p.must("destroy", second(p.e.DestroySnapshot(tester, "d", "old")))
	p.forget()
	now := when.Spec{Kind: when.Now}
	m, err := p.e.Resolve("d", now)
	p.must("resolve", err)
	p.read("d", 0, p.want)
	draft, err := p.e.Draft(tester, m, "half")
	p.must("draft", err)
	changed := bytes.Clone(p.want)
	for b := range 20 {
		data := bytes.Repeat([]byte{99}, block)
		p.must("write", draft.WriteAt(data, uint64(b)*block))
		copy(changed[b*block:], data)
	}
	p.must("snapshot", second(p.e.Snapshot(tester, "d", "meanwhile")))
	done, err := draft.Replace(tester, p.e.Status().LastLSN)
	p.must("replace", err)
	draft.Discard()
	p.must("hold", second(p.e.Hold(tester, "d", done.Guard, "tag")))
	p.forget()
	checkClean(t, p.sim)
	p.e.DropViews()
	for _, snap := range []string{"meanwhile", done.Guard} {
		p.shows("d", when.Spec{Kind: when.Snapshot, Name: snap})
	}
	p.must("write", p.zero("d", 255))
	p.want = changed
	copy(p.want[255*block:], make([]byte, block))
	p.shows("d", now)
	p.must("release", second(p.e.Release(tester, "d", done.Guard, "tag")))
	p.must("destroy", second(p.e.DestroySnapshot(tester, "d", "meanwhile")))
	p.forget()
	checkClean(t, p.sim)
	p.must("close", p.e.Close(context.Background()))
}
