package restore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// cutLinux cuts an archive of Linux in two volumes. rest is how many records of the
// last header of the first are in the second.
func cutLinux(b []byte, cut int) (one, two []byte, rest int) {
	le := binary.LittleEndian
	a := newTape("linux", le)
	a.vol, a.n = 2, int64(cut/1024)
	var ino uint32
	for at := 0; at < cut; at += 1024 {
		if le.Uint32(b[at+24:]) != 60012 {
			continue
		}
		ino, rest = le.Uint32(b[at+20:]), -(cut-at)/1024+1
		if kind := le.Uint32(b[at:]); kind == 3 || kind == 6 {
			rest += int(le.Uint32(b[at+160:]))
			continue
		}
		for _, x := range b[at+164 : at+164+int(le.Uint32(b[at+160:]))] {
			rest += int(x)
		}
	}
	a.header(1, ino, inode{}, nil, rest)
	two = append(a.b, b[cut:]...)
	for at := 1024; at < len(two); at += 1024 {
		if le.Uint32(two[at+24:]) == 60012 {
			le.PutUint32(two[at+16:], le.Uint32(two[at+16:])+1)
			le.PutUint32(two[at+28:], le.Uint32(two[at+28:])-1)
		}
	}
	two = append(two, make([]byte, (10240-len(two)%10240)%10240)...)
	return bytes.Clone(b[:cut]), two, rest
}

// aligned is an archive in which blocks of 10 records begin at headers, and within data.
func aligned() (b []byte, contents map[string]string) {
	a := newTape("linux", binary.LittleEndian)
	contents = make(map[string]string)
	all := []uint32{2}
	var root []name
	for ino := uint32(4); ino < 24; ino++ {
		all = append(all, ino)
		root = append(root, name{ino, 8, fmt.Sprintf("file%d", ino)})
	}
	a.begin(all, all)
	a.dir(2, 2, root...)
	for ino := uint32(4); ino < 24; ino++ {
		n := 9 * 1024
		if a.n%10 != 0 {
			n = int(9-a.n%10) * 1024
		} else if ino%5 == 0 {
			n = 49 * 1024
		}
		contents[fmt.Sprintf("file%d", ino)] = noise(n)
		a.file(ino, noise(n))
	}
	return a.end(), contents
}

// TestSqueezedVolumes: volumes of compressed blocks that end at a header and within data.
func TestSqueezedVolumes(t *testing.T) {
	b, contents := aligned()
	headers, within := 0, 0
	for cut := 20 * 1024; cut < len(b)-30*1024; cut += 10240 {
		one, two, rest := cutLinux(b, cut)
		if rest == 0 {
			headers++
		} else if within++; within%4 != 1 {
			continue
		}
		dir := filepath.Join(t.TempDir(), "root")
		s := must(t, Extract, dir, inMemory(squeeze(one), squeeze(two)))
		if whole := judge(t, s, dir, contents, fmt.Sprintf("cut at %d, rest %d", cut, rest)); whole != len(contents) {
			t.Errorf("cut at %d, rest %d: %d of %d files", cut, rest, whole, len(contents))
		}
	}
	if headers == 0 || within == 0 {
		t.Errorf("%d ends at headers, %d within data", headers, within)
	}
}

// TestDamagedVolumes: a volume whose first header is damaged, or before which a whole
// object is missing, costs what is around it and no more.
func TestDamagedVolumes(t *testing.T) {
	b, contents := aligned()
	cuts := map[bool]int{}
	for cut := 20 * 1024; cut < len(b)-30*1024; cut += 10240 {
		_, _, rest := cutLinux(b, cut)
		cuts[rest == 0] = cut
	}
	try := func(what string, least int, v Volumes) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "root")
		s, err := do(t, Extract, dir, true, v)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		if whole := judge(t, s, dir, contents, what); whole < least || len(s.damages) == 0 {
			t.Errorf("%s: %d of %d files; damaged %q", what, whole, len(contents), s.damages)
		}
	}
	for _, cut := range cuts {
		one, two, rest := cutLinux(b, cut)
		two[100] ^= 1
		try(fmt.Sprintf("damaged, rest %d", rest), len(contents)-1, inMemory(one, two))
		one, two, _ = cutLinux(b, cut)
		one, two = squeeze(one), squeeze(two)
		two[100] ^= 1
		try(fmt.Sprintf("damaged and squeezed, rest %d", rest), len(contents)-1, inMemory(one, two))
	}
	one, two, _ := cutLinux(b, cuts[true])
	last := 0
	for at := 0; at < len(one); at += 1024 {
		if binary.LittleEndian.Uint32(one[at+24:]) == 60012 {
			last = at
		}
	}
	try("without the last object of the volume", len(contents)-1, inMemory(one[:last], two))
}

// TestOtherFilesystem: a level of another file system is not restored on a chain.
func TestOtherFilesystem(t *testing.T) {
	rename := func(b []byte) []byte {
		for at := 0; at < len(b); at += 1024 {
			if le := binary.LittleEndian; le.Uint32(b[at+24:]) == 0x19540119 {
				le.PutUint32(b[at+28:], le.Uint32(b[at+28:])+le.Uint32(b[at+696:])-0x61616161)
				copy(b[at+696:], "aaaa")
			}
		}
		return b
	}
	level := func() []byte {
		return next(1, []uint32{2, 8}, []uint32{2}, func(a *tape) { a.dir(2, 2, name{8, 8, "s"}) })
	}
	root := t.TempDir()
	must(t, Update, root, inMemory(zero()))
	if _, err := do(t, Update, root, false, inMemory(rename(level()))); err == nil || !strings.Contains(err.Error(), "what was restored here is of") {
		t.Errorf("%v", err)
	}
	if _, err := do(t, Update, root, true, inMemory(rename(level()))); err != nil {
		t.Errorf("with -y: %v", err)
	}
}

// TestOwnNames: names that -r uses itself are left out, whatever they are of.
func TestOwnNames(t *testing.T) {
	a := newTape("ufs2", binary.LittleEndian)
	all := []uint32{2, 3, 4}
	a.begin(all, all)
	a.dir(2, 2, name{3, 4, stageName}, name{4, 8, "file"})
	a.dir(3, 2)
	a.file(4, "four")
	root := t.TempDir()
	s, err := do(t, Update, root, false, inMemory(a.end()))
	if err != nil || !strings.Contains(strings.Join(s.losses, "\n"), "which varve restore -r uses itself") {
		t.Errorf("%v; lost %q", err, s.losses)
	}
	if got := tree(t, root); got != "file=f" {
		t.Errorf("the tree is %s", got)
	}
}
