package restore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sample is an archive and what is in its files.
func sample(kind string, o binary.ByteOrder) (b []byte, contents map[string]string) {
	a := newTape(kind, o)
	contents = make(map[string]string)
	all := []uint32{2, 3}
	root, dir := []name{{3, 4, "dir"}}, []name{}
	for ino := uint32(4); ino < 24; ino++ {
		all = append(all, ino)
		n := name{ino, 8, fmt.Sprintf("file%d", ino)}
		data := noise(int(ino*ino) * 150)
		if ino%5 == 0 { // with holes
			data = data[:2048] + strings.Repeat("\x00", 10240) + data[2048:]
		}
		if ino == 9 { // two headers
			data = noise(700 << 10)
		}
		if ino%2 == 0 {
			root = append(root, n)
			contents[n.name] = data
		} else {
			dir = append(dir, n)
			contents["dir/"+n.name] = data
		}
	}
	a.begin(all, all)
	a.dir(2, 2, root...)
	a.dir(3, 2, dir...)
	for ino := uint32(4); ino < 24; ino++ {
		a.file(ino, contents[[]string{"", "dir/"}[ino%2]+fmt.Sprintf("file%d", ino)])
	}
	return a.end(), contents
}

// judge fails the test where a file is not what it was and nothing was said of it.
// It returns how many files are whole.
func judge(t *testing.T, s *told, dir string, contents map[string]string, what string) (whole int) {
	t.Helper()
	silent := 0
	for path, want := range contents {
		b, err := os.ReadFile(filepath.Join(dir, path))
		if err == nil && string(b) == want {
			whole++
		} else if !s.lostPaths["./"+path] && len(s.losses) == 0 || err == nil && !s.lostPaths["./"+path] {
			silent++
			t.Errorf("%s: %s has %d bytes of %d, %v, and nothing was said; lost %q, damaged %q", what, path, len(b), len(want), err, s.losses, s.damages)
		}
	}
	if whole < len(contents) && s.Damages+s.Losses == 0 {
		t.Errorf("%s: %d of %d files, and no damage was said", what, whole, len(contents))
	}
	return whole
}

// TestDamagedHeader: one header that is damaged costs one object, or what is behind it
// of one file, and no more.
func TestDamagedHeader(t *testing.T) {
	for kind, o := range map[string]binary.ByteOrder{"linux": binary.LittleEndian, "ufs2": binary.BigEndian} {
		b, contents := sample(kind, o)
		for at := 0; at < len(b); at += 1024 {
			typ := o.Uint32(b[at:])
			if o.Uint32(b[at+24:]) != 60012 && o.Uint32(b[at+24:]) != 0x19540119 || at/1024 < 3 || typ == 5 {
				continue
			}
			bad := bytes.Clone(b)
			bad[at+33] ^= 0x80
			dir := t.TempDir()
			s, err := do(t, Extract, dir, true, inMemory(bad))
			if err != nil {
				if o.Uint32(b[at+20:]) != 2 || !strings.Contains(err.Error(), "root directory is not in the archive") {
					t.Fatal(err)
				}
				continue
			}
			what := fmt.Sprintf("%s, header %d of type %d", kind, at/1024, typ)
			least := len(contents) - 1
			switch ino := o.Uint32(b[at+20:]); {
			case typ == 6:
				least = len(contents) // only -r needs it
			case typ == 2 && ino <= 3:
				least = 0 // the names are gone
			}
			if whole := judge(t, s, dir, contents, what); whole < least {
				t.Errorf("%s: only %d of %d files; lost %q, damaged %q", what, whole, len(contents), s.losses, s.damages)
			}
			if _, err := do(t, Extract, t.TempDir(), false, inMemory(bad)); err == nil || !strings.Contains(err.Error(), "-y goes on") {
				t.Errorf("%s, without -y: %v", what, err)
			}
		}
	}
}

// TestDamage: bytes that are missing, too many, zeroed, anywhere, also in compressed
// archives: no file is wrong and nothing said of it.
func TestDamage(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 3))
	plain, contents := sample("linux", binary.LittleEndian)
	packed := squeeze(bytes.Clone(plain))
	rounds := 30
	for round := range rounds {
		b, form := bytes.Clone(plain), "plain"
		if round%2 == 1 {
			b, form = bytes.Clone(packed), "compressed"
		}
		var what string
		for range 1 + round%2*r.IntN(2) { // two may make up for each other where nothing is compressed
			at := 1024 + r.IntN(len(b)-1024)
			n := 1 + r.IntN(min(len(b)-at, []int{3, 1000, 5000, 300000}[r.IntN(4)]))
			if r.IntN(2) == 0 && form == "plain" {
				at, n = at/1024*1024, max(1024, n/1024*1024)
			}
			n = min(n, len(b)-at)
			switch r.IntN(3) {
			case 0:
				what += fmt.Sprintf(" %d bytes at %d are missing", n, at)
				b = append(b[:at:at], b[at+n:]...)
			case 1:
				what += fmt.Sprintf(" %d bytes at %d too many", n, at)
				b = append(append(bytes.Clone(b[:at]), noise(n)...), b[at:]...)
			case 2:
				if at = max(at, 10240); form == "compressed" { // what is before that has no checksum
					n = min(n, len(b)-at)
				}
				if form == "plain" { // in data nothing tells that zeros are wrong: so whole headers only
					at = at / 1024 * 1024
					if m := binary.LittleEndian.Uint32(b[at+24:]); m != 60012 {
						continue
					}
					n = 1024
				}
				what += fmt.Sprintf(" %d bytes at %d are zeros", n, at)
				clear(b[at : at+n])
			}
		}
		dir := filepath.Join(t.TempDir(), "root")
		s, err := do(t, Extract, dir, true, inMemory(b))
		if err != nil {
			if !strings.Contains(err.Error(), "root directory is not in the archive") {
				t.Errorf("seed %d, %s,%s: %v", seed, form, what, err)
			}
			continue
		}
		judge(t, s, dir, contents, fmt.Sprintf("seed %d, %s,%s", seed, form, what))
		if t.Failed() {
			return
		}
	}
}

// TestMissingRecords: one record is missing, anywhere: neither what is before it nor
// what is behind is taken for something else.
func TestMissingRecords(t *testing.T) {
	b, contents := sample("ufs2", binary.LittleEndian)
	for at := 12 * 1024; at < len(b)-30*1024; at += 37 * 1024 {
		dir := filepath.Join(t.TempDir(), "root")
		s, err := do(t, Extract, dir, true, inMemory(append(bytes.Clone(b[:at]), b[at+1024:]...)))
		if err != nil {
			t.Fatal(at, err)
		}
		if whole := judge(t, s, dir, contents, fmt.Sprintf("without record %d", at/1024)); whole < len(contents)-2 {
			t.Errorf("without record %d, %d files are whole; lost %q", at/1024, whole, s.losses)
		}
	}
}

// TestTruncated: wherever an archive ends too soon, it is said, and what was before is
// there.
func TestTruncated(t *testing.T) {
	b := twoFiles()
	contents := map[string]string{"one": noise(3000), "two": noise(30000)}
	end := bytes.Index(b, []byte{5, 0, 0, 0}) / 1024 * 1024
	for n := 6 * 1024; n < len(b); n += 509 {
		dir := t.TempDir()
		s, err := do(t, Extract, dir, true, inMemory(b[:n]))
		if err != nil && !strings.Contains(err.Error(), "root directory") {
			t.Fatal(n, err)
		}
		if all := strings.Join(s.damages, "\n"); err == nil && n < end+1024 && !strings.Contains(all, "without an end record") {
			t.Errorf("%d bytes: %q", n, s.damages)
		}
		if err == nil && n < end+1024 {
			judge(t, s, dir, contents, fmt.Sprintf("%d bytes", n))
		}
	}
}

// TestVolumes: volumes that are not those of the archive, or are not there.
func TestVolumes(t *testing.T) {
	b, contents := sample("ufs2", binary.LittleEndian)
	cut := 300 << 10
	volume := func(change func(r []byte)) []byte {
		a := newTape("ufs2", binary.LittleEndian)
		a.vol, a.n = 2, int64(cut/1024)
		var ino, count uint32
		for at := 0; at < cut; at += 1024 { // what the first volume ends within
			if binary.LittleEndian.Uint32(b[at+24:]) == 0x19540119 {
				ino = binary.LittleEndian.Uint32(b[at+20:])
				count = 0
				for _, x := range b[at+164 : at+164+int(binary.LittleEndian.Uint32(b[at+160:]))] {
					count += uint32(x)
				}
				count -= uint32(cut-at)/1024 - 1
			}
		}
		a.header(1, ino, inode{}, nil, int(count), func(r []byte) {
			if change != nil {
				change(r)
			}
		})
		return append(a.b, renumber(b[cut:], 1)...)
	}
	dir := t.TempDir()
	s := must(t, Extract, dir, inMemory(b[:cut], volume(nil)))
	if whole := judge(t, s, dir, contents, "two volumes"); whole != len(contents) {
		t.Errorf("%d of %d files", whole, len(contents))
	}
	for want, change := range map[string]func(r []byte){
		"is volume 3, and 2 is wanted": func(r []byte) { r[12] = 3 },
		"belongs to another dump":      func(r []byte) { r[896]++ },
		"does not go on where":         func(r []byte) { r[912]++ },
	} {
		if _, err := do(t, Extract, t.TempDir(), false, inMemory(b[:cut], volume(change))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	if _, err := do(t, Extract, t.TempDir(), false, inMemory(b[:cut])); err == nil || !strings.Contains(err.Error(), "volume 2 is missing") {
		t.Errorf("no second volume: %v", err)
	}
}

// renumber adds to the numbers of all headers.
func renumber(b []byte, n uint64) []byte {
	b = bytes.Clone(b)
	for at := 0; at < len(b); at += 1024 {
		if le := binary.LittleEndian; le.Uint32(b[at+24:]) == 0x19540119 {
			old := le.Uint64(b[at+912:])
			le.PutUint64(b[at+912:], old+n)
			le.PutUint32(b[at+28:], le.Uint32(b[at+28:])-uint32(n))
		}
	}
	return b
}

// TestNested: an archive in a file of an archive, which damage brings to light, is not
// taken for the archive.
func TestNested(t *testing.T) {
	inner, _ := sample("linux", binary.LittleEndian)
	a := newTape("linux", binary.LittleEndian)
	a.date++
	all := []uint32{2, 4, 5, 6}
	a.begin(all, all)
	a.dir(2, 2, name{4, 8, "file4"}, name{5, 8, "archive"}, name{6, 8, "last"})
	a.file(4, "four")
	at := len(a.b)
	a.object(5, inode{mode: 0o100644}, inner, nil)
	a.file(6, "six")
	b := a.end()
	b[at] ^= 1
	dir := t.TempDir()
	s, err := do(t, Extract, dir, true, inMemory(b))
	if err != nil {
		t.Fatal(err)
	}
	if whole := judge(t, s, dir, map[string]string{"file4": "four", "archive": string(inner), "last": "six"}, "nested"); whole != 2 {
		t.Errorf("%d files are whole; lost %q", whole, s.losses)
	}
}
