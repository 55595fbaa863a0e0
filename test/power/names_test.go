package power

import (
	"math/rand/v2"
	"testing"

	nfs "varve/test/nfsclient"
)

// image is what a server that forgets nothing would show.
func (t *tree) image() found {
	links := map[*object]uint32{}
	for _, o := range t.slots {
		links[o]++
	}
	f := found{}
	for slot, o := range t.slots {
		if o == nil {
			continue
		}
		s := seen{kind: o.kind, id: o.id, version: o.version, nlink: links[o], fh: o.fh}
		if o.kind == nfs.Dir {
			s.nlink = 2
		}
		if o.kind == nfs.Lnk {
			s.size = uint64(len("to ")) + digits(o.id)
		}
		f[slot] = s
	}
	return f
}

func digits(n uint32) (d uint64) {
	for ; n > 0; n /= 10 {
		d++
	}
	return d
}

// grown is a tree after many answered changes, with some that are not.
func grown(seed uint64, answered, open int) *tree {
	t := newTree([]nfs.FH{"a", "b", "c"})
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range answered {
		c := t.next(rng, uint32(i))
		fh := nfs.FH("")
		if len(c.set) == 1 && c.set[0].from == nil && c.what != "LINK" {
			fh = nfs.FH(rune(c.set[0].to.id))
		}
		t.answered(c, fh)
	}
	for i := range open {
		t.next(rng, uint32(answered+i))
	}
	return t
}

// TestJudgeAccepts: any of the unanswered changes may have been done.
func TestJudgeAccepts(t *testing.T) {
	for seed := range uint64(200) {
		n := grown(seed, 300, 12)
		rng := rand.New(rand.NewPCG(seed, 1))
		var done []*change
		for c := range n.open {
			if rng.IntN(2) == 0 {
				n.apply(c, true)
				done = append(done, c)
			}
		}
		f := n.image()
		for _, c := range done {
			n.apply(c, false)
		}
		open, err := n.judge(f)
		if err != nil || len(open) != 12 {
			t.Fatalf("seed %d: %d open, %v", seed, len(open), err)
		}
		if err := n.same(f, map[int]bool{}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestJudgeRefuses: whatever a server may have done wrong is found.
func TestJudgeRefuses(t *testing.T) {
	caught := map[string]int{}
	for seed := range uint64(300) {
		n := grown(seed, 300, 0)
		before := n.image()
		rng := rand.New(rand.NewPCG(seed, 1))
		c := n.next(rng, 1)
		n.answered(c, "")
		if _, err := n.judge(before); err == nil {
			t.Fatalf("seed %d: a %s that was answered is lost, and passes", seed, c.what)
		}
		caught[c.what]++

		half := n.next(rng, 2) // not answered
		f := n.image()
		n.apply(half, true)
		whole := n.image()
		n.apply(half, false)
		if len(half.set) == 2 {
			f[half.set[1].slot] = whole[half.set[1].slot] // a RENAME that forgot to remove the old name
			if _, err := n.judge(f); err == nil {
				t.Fatalf("seed %d: half a %s passes", seed, half.what)
			}
			caught["half"]++
		}
		for slot := range whole {
			for name, spoil := range map[string]func(*seen){
				"nlink": func(s *seen) { s.nlink++ }, "version": func(s *seen) { s.version-- }, "identity": func(s *seen) { s.id++ },
				"type": func(s *seen) { s.kind++ }, "handle": func(s *seen) { s.fh += "x" },
			} {
				if name == "handle" && n.slots[slot] != nil && n.slots[slot].fh == "" {
					continue // nobody knows it yet
				}
				bad := n.image()
				s, there := bad[slot]
				if !there {
					continue
				}
				spoil(&s)
				bad[slot] = s
				if _, err := n.judge(bad); err == nil {
					t.Fatalf("seed %d: a wrong %s passes", seed, name)
				}
			}
			break
		}
		for slot, o := range n.slots {
			if o == nil && !n.held[slot] {
				bad := n.image()
				bad[slot] = seen{kind: nfs.Reg, id: 1, version: 1, nlink: 1}
				if _, err := n.judge(bad); err == nil {
					t.Fatalf("seed %d: a name that nobody made passes", seed)
				}
				break
			}
		}
	}
	for _, what := range []string{"CREATE", "MKDIR", "SYMLINK", "MKNOD", "LINK", "RENAME", "REMOVE", "RMDIR", "SETATTR", "half"} {
		if caught[what] == 0 {
			t.Errorf("no lost %s was tried: %v", what, caught)
		}
	}
}
