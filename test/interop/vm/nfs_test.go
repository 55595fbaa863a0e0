package vm

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	nfs "varve/test/nfsclient"
)

const (
	kills    = 5                // while the guest is busy
	fsxTime  = 90 * time.Second // of random I/O
	busyTime = 6 * time.Minute  // a limit: emulation is slow
)

// TestNFS is the life of a share under the kernel's NFS client: trees are
// copied, programs compiled, repositories and databases kept on it, while the
// server is killed again and again. A hard mount sees no error, and nothing
// differs: in the guest, on the server, and in the past.
func TestNFS(t *testing.T) {
	port := freePort(t)
	s := serve(t, "--nfs", "127.0.0.1:"+port)
	s.varve("share", "create", "home")
	s.varve("set", "home", "keep=none") // a full hour may begin meanwhile
	g := boot(t, buildProgram(t, "fsx"), packTree(t))
	m := &shares{server: s, guest: g, t: t, addr: "127.0.0.1:" + port}
	began := time.Now()
	out := g.do(time.Minute, fmt.Sprintf(`
		mkdir -p /mnt/home /tmp/tree
		tar -C /tmp/tree -xf /usr/local/bin/tree.tar
		modprobe nfsv3
		%s
		uname -r
		find /tmp/tree -type f | wc -l`, m.mount()))
	t.Logf("Linux, files in the tree: %s", strings.Join(strings.Fields(out), ", "))
	m.phase("a tree is copied", m.copyTree)
	m.phase("git, gcc, sqlite and random I/O while the server is killed", m.work)
	m.phase("nothing differs, in the guest and on the server", m.compareAll)
	m.phase("the past", m.past)
	t.Logf("%.0f s of guest time", time.Since(began).Seconds())
	m.phase("stop and check", m.check)
}

// shares is the state of TestNFS.
type shares struct {
	server *server
	guest  *guest
	t      *testing.T
	addr   string
}

func (m *shares) phase(name string, body func()) {
	m.t.Helper()
	began := time.Now()
	body()
	m.t.Logf("%s: ok, %.0f s", name, time.Since(began).Seconds())
}

func (m *shares) mount() string {
	_, port, _ := strings.Cut(m.addr, ":")
	return fmt.Sprintf("mount -t nfs -o vers=3,tcp,port=%s,mountport=%s,mountproto=tcp,nolock,hard 10.0.2.2:/home /mnt/home", port, port)
}

// listAll is a script line like list, of links too: the checksum of a link is
// that of where it leads.
func listAll(dir, name string) string {
	return fmt.Sprintf(`(cd %s
		find . -path ./.snapshot -prune -o -type f -print0 | sort -z | xargs -0r sha256sum
		find . -path ./.snapshot -prune -o -type l -print0 | sort -z | while read -rd '' l; do
			echo "$(readlink -n "$l" | sha256sum | cut -d' ' -f1)  $l"; done) >%s`+"\n", dir, name)
}

func (m *shares) copyTree() {
	const limit = 4 * time.Minute
	m.guest.begin(limit, "cp -a /tmp/tree /mnt/home/tree; sync\n"+
		listAll("/tmp/tree", "/tmp/list.source"))
	before, _ := m.server.status()
	m.server.waitOps(before, 300, limit)
	m.guest.stillBusy()
	m.kill()
	m.guest.finish(limit)
	m.guest.do(limit, "sync; echo 3 >/proc/sys/vm/drop_caches\n"+listAll("/mnt/home/tree", "/tmp/list.copied")+"cmp /tmp/list.source /tmp/list.copied")
	m.server.varve("snapshot", "home@dawn")
}

// kill kills the server, lets its clients wait, and starts it again.
func (m *shares) kill() {
	m.t.Helper()
	m.server.running.Kill()
	time.Sleep(time.Duration(200+rand.IntN(1500)) * time.Millisecond)
	m.server.start()
}

// The jobs that run beside each other, each in a directory of its own.
var jobs = map[string]string{
	// Objects of git are made read-only and written by their owner: not by the
	// superuser, who may everything.
	"git": `
		install -d -o 1000 -g 1000 /mnt/home/git
		cat >/tmp/git.sh <<'END'
set -eu
export HOME=/tmp/githome
mkdir -p $HOME
cd /mnt/home/git
git init -q .
git config user.name tester; git config user.email tester@localhost
cp -r /tmp/tree/net/. src
git add -A
git commit -qm one
for f in $(find src -name '*_test.go' | head -n 60); do echo "// changed" >>$f; done
git mv src/http moved
git commit -qam two
git gc -q --prune=now
git fsck --full --strict
[ "$(git rev-list --count HEAD)" = 2 ]
[ -z "$(git status --porcelain)" ]
git checkout -q HEAD~1
diff -r /tmp/tree/net src
git checkout -q -
END
		setpriv --reuid 1000 --regid 1000 --clear-groups bash /tmp/git.sh`,
	"gcc": `
		mkdir /mnt/home/c
		cd /mnt/home/c
		for i in {1..20}; do
			echo "#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int f$i(int x) { char b[64]; snprintf(b, sizeof b, \"%d\", x * $i); return atoi(b) + (int)strlen(b); }" >f$i.c
		done
		(echo "#include <stdio.h>"; for i in {1..20}; do echo "int f$i(int);"; done
		 echo "int main(void) { int s = 0;"; for i in {1..20}; do echo "s += f$i($i);"; done; echo 'printf("%d\n", s); return 0; }') >main.c
		printf 'p: main.o %s\n\tgcc -o $@ $^\n' "$(echo f{1..20}.o)" >Makefile
		make -s CFLAGS=-O2
		[ "$(./p)" = 2918 ]
		make -s clean 2>/dev/null || rm ./*.o p
		make -s CFLAGS=-O2
		[ "$(./p)" = 2918 ]`,
	"sqlite": `
		mkdir /mnt/home/db
		cd /mnt/home/db
		sqlite3 a.db 'create table t (n integer primary key, v text); create index i on t (v);'
		for i in {1..150}; do
			echo "begin; insert into t (v) select hex(randomblob(100)) from generate_series(1, 20); update t set v = v || 'x' where n % 7 = $i % 7; commit;"
			[ $((i % 30)) != 0 ] || echo "begin; delete from t where n % 11 = 3; vacuum;" | sed 's/begin; //'
		done | sed 's/from generate_series(1, 20)/from (with recursive g(x) as (select 1 union all select x + 1 from g where x < 20) select x from g)/' | sqlite3 -bail a.db
		[ "$(sqlite3 a.db 'pragma integrity_check')" = ok ]
		[ "$(sqlite3 a.db 'select max(n) >= 2500 from t')" = 1 ]`,
	"fsx": `
		mkdir /mnt/home/fsx
		fsx /mnt/home/fsx/a 1 %[1]d &
		one=$!
		fsx /mnt/home/fsx/b 2 %[1]d
		wait $one`,
}

// work runs the jobs while the server is killed and started. The last kill
// comes while they still run.
func (m *shares) work() {
	var script strings.Builder
	for name, job := range jobs {
		if strings.Contains(job, "%[1]d") {
			job = fmt.Sprintf(job, int(fsxTime.Seconds()))
		}
		fmt.Fprintf(&script, "cat >/tmp/job.%s <<'JOBEND'\n%s\nJOBEND\n", name, job)
		fmt.Fprintf(&script, "(SECONDS=0; bash -eu -o pipefail /tmp/job.%[1]s >/tmp/out.%[1]s 2>&1; echo \"$? $SECONDS\" >/tmp/end.%[1]s) &\n", name)
	}
	script.WriteString("wait\nbad=0\n")
	for _, name := range names(jobs) {
		fmt.Fprintf(&script, "read -r status took </tmp/end.%[1]s; echo \"%[1]s: status $status, $took s\"; [ $status = 0 ] || { bad=1; tail -n 20 /tmp/out.%[1]s; }\n", name)
	}
	script.WriteString("sync; exit $bad\n")
	m.guest.begin(busyTime, script.String())
	for range kills {
		before, _ := m.server.status()
		m.server.waitOps(before, 100, time.Minute)
		time.Sleep(time.Duration(rand.IntN(4000)) * time.Millisecond)
		m.guest.stillBusy()
		m.kill()
	}
	m.t.Logf("%d kills; %s", kills, strings.Join(strings.Split(strings.TrimSpace(m.guest.finish(busyTime)), "\n"), "; "))
}

func names(jobs map[string]string) (list []string) {
	for name := range jobs {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// compareAll reads everything from the server again, in the guest, over a new
// mount, and here, from a snapshot, by another client.
func (m *shares) compareAll() {
	const limit = 4 * time.Minute
	m.server.varve("snapshot", "home@evening")
	list := m.guest.do(limit, listAll("/mnt/home", "/tmp/list.cached")+
		"sync; echo 3 >/proc/sys/vm/drop_caches\n"+
		listAll("/mnt/home", "/tmp/list.read")+"diff /tmp/list.cached /tmp/list.read | head -n 20\n"+
		"umount /mnt/home\n"+m.mount()+"\n"+
		listAll("/mnt/home", "/tmp/list.mounted")+"diff /tmp/list.read /tmp/list.mounted | head -n 20\n"+
		"cat /tmp/list.mounted")
	here := m.readHere("/home/.snapshot/evening")
	if got, want := sorted(here), sorted(list); got != want {
		m.t.Errorf("the server's own copy differs: %d files here, %d in the guest, the first: %s",
			strings.Count(got, "\n"), strings.Count(want, "\n"), firstDifference(got, want))
	}
	m.t.Logf("%d files are the same in the guest and here", strings.Count(list, "\n"))
}

func sorted(list string) string {
	lines := strings.Split(strings.TrimSpace(list), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("%q and %q", x[i], y[i])
		}
	}
	return "one ends early"
}

// readHere lists checksums of all files below a path, read over the wire by
// the tests' own client.
func (m *shares) readHere(path string) string {
	conn, err := nfs.Dial(m.addr)
	if err != nil {
		m.t.Fatal(err)
	}
	defer conn.Close()
	c := nfs.Client{Conn: conn}.As(0, 0)
	r := c.Mnt(path)
	if err := r.Want(nfs.OK); err != nil {
		m.t.Fatalf("MNT %s: %v", path, err)
	}
	var out strings.Builder
	m.sums(&out, c, r.FH, ".")
	return out.String()
}

func (m *shares) sums(out *strings.Builder, c nfs.Client, dir nfs.FH, path string) {
	var entries []nfs.Entry
	for cookie, v, eof := uint64(0), (nfs.Verifier{}), false; !eof; {
		r := c.Readdirplus(dir, cookie, v, 32<<10, 128<<10)
		if err := r.Want(nfs.OK); err != nil {
			m.t.Fatalf("READDIRPLUS of %s: %v", path, err)
		}
		entries = append(entries, r.Entries...)
		if eof, v = r.EOF, r.Verf; len(entries) > 0 {
			cookie = entries[len(entries)-1].Cookie
		}
	}
	for _, e := range entries {
		name := path + "/" + e.Name
		switch {
		case e.Name == "." || e.Name == "..":
		case e.Attr.Type == nfs.Dir:
			m.sums(out, c, e.FH, name)
		case e.Attr.Type == nfs.Lnk:
			r := c.Readlink(e.FH)
			if err := r.Want(nfs.OK); err != nil {
				m.t.Fatalf("READLINK of %s: %v", name, err)
			}
			fmt.Fprintf(out, "%x  %s\n", sha256.Sum256([]byte(r.Target)), name)
		default:
			sum := sha256.New()
			for off, eof := uint64(0), false; !eof; {
				r := c.Read(e.FH, off, 1<<20)
				if err := r.Want(nfs.OK); err != nil {
					m.t.Fatalf("READ of %s: %v", name, err)
				}
				sum.Write(r.Data)
				off, eof = off+uint64(len(r.Data)), r.EOF
			}
			fmt.Fprintf(out, "%x  %s\n", sum.Sum(nil), name)
		}
	}
}

// past reads an earlier moment in the guest, where little is left of it in the
// present, by ".snapshot" of several directories and by a mount of its own.
func (m *shares) past() {
	const limit = 3 * time.Minute
	_, port, _ := strings.Cut(m.addr, ":")
	out := m.guest.do(limit, `
		rm -r /mnt/home/tree/crypto
		echo other >/mnt/home/tree/net/net.go
		ls -a /mnt/home | grep -c '^\.snapshot$' || true
		ls /mnt/home/.snapshot /mnt/home/tree/net/.snapshot
		cmp /tmp/tree/net/net.go /mnt/home/tree/net/.snapshot/dawn/net.go
		! touch /mnt/home/.snapshot/dawn/new 2>/dev/null
		! rm /mnt/home/.snapshot/dawn/tree/net/net.go 2>/dev/null`+"\n"+
		listAll("/mnt/home/tree/.snapshot/dawn", "/tmp/list.dawn")+"diff /tmp/list.source /tmp/list.dawn | head -n 20\n"+
		"mkdir /mnt/dawn\n"+strings.Replace(strings.Replace(m.mount(), ":/home ", ":/home@dawn ", 1), "/mnt/home", "/mnt/dawn", 1)+"\n"+
		listAll("/mnt/dawn/tree", "/tmp/list.dawn2")+"diff /tmp/list.source /tmp/list.dawn2 | head -n 20\n"+
		"ls /mnt/home/tree; umount /mnt/dawn /mnt/home; dmesg | grep -iE 'nfs.*(error|fileid changed|not responding, timed)' || true")
	want := "0\n/mnt/home/.snapshot:\ndawn\nevening\n\n/mnt/home/tree/net/.snapshot:\ndawn\nevening\nnet\n"
	if out != want {
		m.t.Errorf("on %s the guest said\n%s\nwant\n%s", port, out, want)
	}
}

func (m *shares) check() {
	if err := m.server.running.Stop(30 * time.Second); err != nil {
		m.t.Error(err)
	}
	m.t.Log(strings.TrimSpace(m.server.varve("check", m.server.Dir, "--data", "--json")))
}

// packTree makes an archive of a part of Go's sources.
func packTree(t *testing.T) string {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	src := filepath.Join(strings.TrimSpace(string(root)), "src")
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, part := range []string{"net", "crypto"} {
		err := filepath.WalkDir(filepath.Join(src, part), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(src, path)
			if err != nil {
				return err
			}
			if err := w.WriteHeader(&tar.Header{Name: rel, Mode: 0o644, Size: int64(len(data))}); err != nil {
				return err
			}
			_, err = w.Write(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "tree.tar")
	if err := os.WriteFile(name, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}
