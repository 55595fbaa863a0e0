package oplog

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// What a filter matches, the digest of a run that has it never rules out, also
// when it was put together or read back; and it rules out what it can.
func TestDigestRulesOutNothingThatIsThere(t *testing.T) {
	ruledOut := 0
	rapid.Check(t, func(t *rapid.T) {
		wide := rapid.Bool().Draw(t, "wide")
		var clients []*Client
		for i := range 50 {
			clients = append(clients, &Client{Name: fmt.Sprintf("nfs 10.0.0.%d:9", i)})
		}
		var d, second Digest
		var ops []*Op
		for i := range rapid.IntRange(1, 80).Draw(t, "n") {
			op := &Op{Kind: rapid.SampledFrom([]Kind{Write, WriteFile, Create, Move, Clone, Snapshot}).Draw(t, "kind"), Time: int64(100 + i)}
			span := 3
			if wide {
				span = 50
			}
			pick := func(what string) int { return rapid.IntRange(0, span-1).Draw(t, what) }
			op.Dataset, op.Client, op.Len = uint64(pick("dataset")), clients[pick("client")], uint64(pick("len"))
			if op.Kind == Clone {
				op.Source = uint64(pick("source"))
			}
			if op.Kind.OnFile() {
				op.UID, op.Ino = uint32(pick("uid")), uint64(pick("ino"))
			}
			if op.Kind == Move {
				op.Ino2 = uint64(pick("ino2"))
			}
			ops = append(ops, op)
			if rapid.Bool().Draw(t, "half") {
				d.Add(op)
			} else {
				second.Add(op)
			}
		}
		d.Merge(&second)
		b := d.Append(nil)
		back, err := ParseDigest(b)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(back.Append(nil), b) {
			t.Fatal("a digest changes when it is read back")
		}
		uid := uint32(rapid.IntRange(0, 60).Draw(t, "f.uid"))
		fs := []Filter{
			{Since: rapid.Int64Range(90, 190).Draw(t, "since")},
			{Until: rapid.Int64Range(90, 190).Draw(t, "until")},
			{Kinds: 1 << Move}, {Kinds: 1 << Trim}, {UID: &uid},
			{Client: fmt.Sprintf(".%d:", rapid.IntRange(0, 60).Draw(t, "f.client"))},
			{Inos: []uint64{uint64(rapid.IntRange(0, 60).Draw(t, "f.ino"))}},
			{BytesOver: uint64(rapid.IntRange(1, 60).Draw(t, "over"))},
		}
		dataset := uint64(rapid.IntRange(0, 60).Draw(t, "f.dataset"))
		for _, f := range fs {
			there := false
			for _, op := range ops {
				there = there || f.Match(op) && (dataset == 0 || op.Dataset == dataset || op.Source == dataset || op.Dataset == 0)
			}
			if may := back.MayMatch(&f, dataset); there && !may {
				t.Fatalf("%s of dataset %d is there", f.String(), dataset)
			} else if !may {
				ruledOut++
			}
		}
	})
	if ruledOut < 100 {
		t.Errorf("only %d times was anything ruled out", ruledOut)
	}
}

func FuzzDigest(f *testing.F) {
	var d Digest
	d.Add(&Op{Kind: WriteFile, Time: 5, Dataset: 3, Client: &Client{Name: "nfs x"}, Ino: 7, UID: 1000, Len: 4096})
	f.Add(d.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDigest(b)
		if err != nil {
			return
		}
		d.MayMatch(&Filter{Client: "x", Inos: []uint64{1}}, 7)
		again, err := ParseDigest(d.Append(nil))
		if err != nil || !bytes.Equal(again.Append(nil), d.Append(nil)) {
			t.Fatalf("%x: %v", b, err)
		}
	})
}
