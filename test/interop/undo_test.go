package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	nfs "varve/test/nfsclient"
)

// undone is what varve undo --json answers.
type undone struct {
	Ops, Repeated, Skipped, Bytes, Changed, LSN uint64
	LeftOut                                     uint64 `json:"left_out"`
	OutBytes                                    uint64 `json:"left_out_bytes"`
	Seconds                                     float64
	Partial                                     bool
	Guard                                       string
	Conflicts                                   []struct{ Path, Cause string }
}

func (l *lake) undo(args ...string) (u undone) {
	l.t.Helper()
	out := l.varve(append([]string{"undo", "--json", "--yes"}, args...)...)
	if err := json.Unmarshal([]byte(out), &u); err != nil {
		l.t.Fatal(err)
	}
	return u
}

// from is a client with an address of its own.
func (s *shore) from(t *testing.T, addr string) (nfs.Client, nfs.FH) {
	t.Helper()
	c := nfs.Client{Conn: s.connect(t, addr)}.As(0, 0)
	return c, must(t, c.Mnt("/home")).FH
}

// tour is the commands that a section of docs/operations.md shows, in order, as their
// arguments, with another moment than the one there.
func tour(t *testing.T, heading, moment, other string) (commands [][]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for n, block := range strings.Split(section, "\n```") {
		if code, ok := strings.CutPrefix(block, "sh\n"); ok && n%2 == 1 {
			for line := range strings.Lines(code) {
				line, _, _ = strings.Cut(line, "#")
				commands = append(commands, strings.Fields(strings.ReplaceAll(line, moment, other))[1:])
			}
		}
	}
	return commands
}

const (
	drillDirs  = 20
	drillFiles = 100 // in each
)

// drill is a share on which two clients work.
type drill struct {
	*shore
	t      *testing.T
	dirs   []nfs.FH
	before map[string][]byte // what the files were, by path
}

func drilled(t *testing.T) *drill {
	d := &drill{shore: newShore(t), t: t, before: map[string][]byte{}}
	d.set("home", "clients=127.0.0.0/8", "squash=none")
	c, root := d.from(t, "127.0.0.2")
	for i := range drillDirs {
		d.dirs = append(d.dirs, made(t, c.Mkdir(root, fmt.Sprintf("dir%d", i), nfs.Mode(0o755))))
	}
	d.each(func(rng *rand.Rand, i, k int) {
		p := make([]byte, 500+rng.IntN(9000))
		for j := range p {
			p[j] = byte(rng.Uint32())
		}
		name := fmt.Sprintf("doc%d.txt", k)
		write(t, c, made(t, c.Create(d.dirs[i], name, nfs.Mode(0o644))), 0, p, nfs.Unstable)
		d.mu(func() { d.before[fmt.Sprintf("dir%d/%s", i, name)] = p })
	})
	return d
}

var drillMu sync.Mutex

func (d *drill) mu(fn func()) {
	drillMu.Lock()
	defer drillMu.Unlock()
	fn()
}

// each runs fn for every file, several at a time.
func (d *drill) each(fn func(rng *rand.Rand, dir, k int)) {
	var wg sync.WaitGroup
	for i := range drillDirs {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			for k := range drillFiles {
				fn(rng, i, k)
			}
		})
	}
	wg.Wait()
}

// tree reads all files below a directory.
func tree(t *testing.T, c nfs.Client, dir nfs.FH, path string, all map[string][]byte) {
	t.Helper()
	for _, name := range names(t, c, dir) {
		h := found(t, c, dir, name)
		if attr(t, c, h).Type == nfs.Dir {
			tree(t, c, h, path+name+"/", all)
		} else {
			all[path+name] = content(t, c, h)
		}
	}
}

func sameTree(t *testing.T, got, want map[string][]byte) {
	t.Helper()
	for path, p := range want {
		if q, ok := got[path]; !ok {
			t.Fatalf("%s is missing", path)
		} else if !bytes.Equal(p, q) {
			t.Fatalf("%s is not what it was", path)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Fatalf("there is %s", path)
		}
	}
}

// TestRansomware: one client encrypts and renames 2,000 files while another goes on
// working, also in the same blocks. What the first did is undone; what the other did
// stays, byte for byte.
func TestRansomware(t *testing.T) {
	d := drilled(t)
	good, root := d.from(t, "127.0.0.2")
	evil, _ := d.from(t, "127.0.0.3")
	want := map[string][]byte{}
	for path, p := range d.before {
		want[path] = bytes.Clone(p)
	}
	log := file(t, good, root, "log", strings.Repeat(".", 100_000))
	want["log"] = bytes.Repeat([]byte{'.'}, 100_000)
	lsn := d.lastLSN()

	var wg sync.WaitGroup
	wg.Go(func() { // the other client's work: new files, and its bytes of a file that both write
		mine := made(t, good.Mkdir(root, "work", nfs.Mode(0o755)))
		for i := range 300 {
			name, text := fmt.Sprintf("n%d", i), []byte(fmt.Sprint("note ", i))
			write(t, good, made(t, good.Create(mine, name, nfs.Mode(0o644))), 0, text, nfs.Unstable)
			want["work/"+name] = text
			write(t, good, log, uint64(i*300), []byte("good"), nfs.Unstable)
			copy(want["log"][i*300:], "good")
		}
	})
	wg.Go(func() {
		for i := range 300 {
			write(t, evil, log, uint64(i*300+150), []byte("EVIL"), nfs.Unstable)
		}
	})
	d.each(func(rng *rand.Rand, i, k int) {
		name := fmt.Sprintf("doc%d.txt", k)
		p := make([]byte, len(d.before[fmt.Sprintf("dir%d/%s", i, name)])+rng.IntN(100))
		for j := range p {
			p[j] = byte(rng.Uint32())
		}
		write(t, evil, found(t, evil, d.dirs[i], name), 0, p, nfs.FileSync)
		must(t, evil.Rename(d.dirs[i], name, d.dirs[i], name+".locked"))
	})
	file(t, evil, root, "README.txt", "pay")
	wg.Wait()
	hit := map[string][]byte{}
	tree(t, good, root, "", hit)

	// What the tour in the documentation says, in its order.
	steps := tour(t, "Undoing what somebody did", "1h-ago", fmt.Sprint("@lsn:", lsn))
	if len(steps) != 4 {
		t.Fatalf("the tour has %d steps: %q", len(steps), steps)
	}
	if out := d.varve(steps[0]...); !strings.Contains(out, "nfs 127.0.0.3 ") {
		t.Errorf("%q does not show who it was:\n%s", steps[0], out)
	}
	d.varve(steps[1]...)
	if evil.Mnt("/home").Want(nfs.OK) == nil {
		t.Errorf("after %q the intruder may go on", steps[1])
	}
	dry := d.varve(steps[2]...)
	for _, want := range []string{"removed   /README.txt", "restored  /dir0/doc0.txt", "/dir0/doc0.txt.locked", "restored  /log"} {
		if !strings.Contains(dry, want) {
			t.Errorf("%q does not show %q", steps[2], want)
		}
	}
	still := map[string][]byte{}
	tree(t, good, root, "", still)
	sameTree(t, still, hit)
	begun := time.Now()
	u := d.undo(steps[3][1:]...)
	took := time.Since(begun)
	now := map[string][]byte{}
	tree(t, good, root, "", now)
	sameTree(t, now, want)
	if u.Partial || len(u.Conflicts) > 0 || u.LeftOut < 4000 || u.Changed != 2002 {
		t.Errorf("%+v", u)
	}
	t.Logf("undid %d operations (%d bytes), repeated %d (%d bytes), restored %d files, in %v", u.LeftOut, u.OutBytes, u.Repeated, u.Bytes, u.Changed, took)

	// Handles from before still work; the undo is undone by a rollback to its guard.
	write(t, good, log, 99_000, []byte("on"), nfs.FileSync)
	d.varve("rollback", "home@"+u.Guard, "--yes")
	then := map[string][]byte{}
	tree(t, good, root, "", then)
	sameTree(t, then, hit)
	d.finish()
}

// TestWrongRemoval: somebody removes a tree in the middle of other work.
func TestWrongRemoval(t *testing.T) {
	d := drilled(t)
	c, root := d.from(t, "127.0.0.2")
	want := map[string][]byte{}
	for path, p := range d.before {
		want[path] = p
	}
	lsn := d.lastLSN()
	for i := range drillDirs {
		for _, name := range names(t, c, d.dirs[i]) {
			must(t, c.Remove(d.dirs[i], name))
			if i == 3 {
				file(t, c, root, "new-"+name, name)
				want["new-"+name] = []byte(name)
			}
		}
		must(t, c.Rmdir(root, fmt.Sprintf("dir%d", i)))
	}
	u := d.undo("home", "--since", fmt.Sprint("@lsn:", lsn), "--op", "remove,rmdir")
	now := map[string][]byte{}
	tree(t, c, root, "", now)
	sameTree(t, now, want)
	if u.LeftOut != drillDirs*drillFiles+drillDirs || u.Partial {
		t.Errorf("%+v", u)
	}
	d.finish()
}

// TestDatabaseBeforeUpdate: a database lies on a volume. A wrong UPDATE is undone
// by a clone of the moment before it, and on the volume itself, and the database
// finds both whole.
func TestDatabaseBeforeUpdate(t *testing.T) {
	l := newLake(t)
	uri := l.volume("disk0", "16M")
	db := filepath.Join(t.TempDir(), "db")
	sql := func(script string) string {
		t.Helper()
		return do(t, "/usr/bin/python3", "-c", `import sqlite3, sys
c = sqlite3.connect(sys.argv[1])
c.execute("pragma journal_mode=delete")
for s in sys.argv[2].split(";"):
    for row in c.execute(s): print(*row)
c.commit()`, db, script)
	}
	store := func() { // the file system of a database that keeps it on a raw disk
		t.Helper()
		do(t, "qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", db, uri)
	}
	const whole = "pragma integrity_check; select count(*), sum(amount) from account"
	sql("create table account(id integer primary key, amount integer, note text)")
	for i := range 4 {
		sql(fmt.Sprintf("with recursive n(i) as (select 1 union all select i+1 from n where i<1000) insert into account(amount,note) select i+%d, hex(randomblob(50)) from n", i))
		store()
	}
	want := sql(whole)
	lsn := l.lastLSN()
	sql("update account set amount = 0")
	store()
	if sql(whole) == want {
		t.Fatal("the update did nothing")
	}
	fetch := func(from string) {
		t.Helper()
		size := sql("select page_count*page_size from pragma_page_count(), pragma_page_size()")
		do(t, "nbdcopy", l.URI(from), db+".raw")
		p, err := os.ReadFile(db + ".raw")
		if err != nil {
			t.Fatal(err)
		}
		var n int
		fmt.Sscan(size, &n)
		if err := os.WriteFile(db, p[:n], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l.varve("clone", fmt.Sprint("disk0@lsn:", lsn), "before")
	fetch("before")
	if got := sql(whole); got != want {
		t.Errorf("the clone has %q, want %q", got, want)
	}
	u := l.undo("disk0", "--since", fmt.Sprint("@lsn:", lsn))
	fetch("disk0")
	if got := sql(whole); got != want || u.Repeated != 0 {
		t.Errorf("after the undo there is %q, want %q: %+v", got, want, u)
	}
}
