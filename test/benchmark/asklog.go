package main

import (
	"context"
	crand "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"varve/internal/engine"
	"varve/internal/fs"
	"varve/internal/oplog"
	"varve/internal/segstore/compact"
	"varve/internal/segstore/dir"
	"varve/internal/vfs"
	"varve/test/daemon"
)

// askLog measures queries of a long log: bench log. The operations are done
// inside a process of this program (bench log -generate), as fast as they go;
// the queries go to a server that was just started, over its socket.
func askLog(_ context.Context, args []string) (err error) {
	c := newCommand("log", "")
	ops := c.Int("ops", 10_000_000, "operations in the log")
	pool := c.String("pool", "", "ask this pool, made by -generate before, and keep it")
	generate := c.String("generate", "", "only make a pool of that name")
	cost := c.Bool("cost", false, "only measure what identities and digests cost those who write")
	if err := c.Parse(args); err != nil {
		return err
	}
	if *generate != "" {
		return generateLog(*generate, *ops)
	}
	temp, err := os.MkdirTemp(c.dir, "varve-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	if *cost {
		return identityCost(temp, min(*ops, 300_000))
	}
	if *pool == "" {
		*pool = filepath.Join(temp, "pool")
		if err := generateLog(*pool, *ops); err != nil {
			return err
		}
	}
	bin, err := daemon.Build(temp)
	if err != nil {
		return err
	}
	return queries(bin, *pool, *ops)
}

// generateLog makes a pool with a share "home" on which that many operations
// were done, by 50 clients, on up to a million files in a thousand directories.
func generateLog(path string, ops int) error {
	if err := dir.Make(vfs.OS(), path, 64<<20, 40<<30); err != nil {
		return err
	}
	if err := inStore(path, func(store *compact.Store) error { return engine.Format(store, time.Now(), crand.Reader) }); err != nil {
		return err
	}
	return inPool(path, func(e *engine.Engine, f *fs.FS) error {
		begun := time.Now()
		l := loader{f: f, rnd: rand.New(rand.NewPCG(1, 2)), data: make([]byte, 4096)}
		err := l.begin(e)
		if err == nil {
			err = l.run(ops)
		}
		fmt.Printf("%d operations in %.1f s: %.0f a second\n", ops, time.Since(begun).Seconds(), float64(ops)/time.Since(begun).Seconds())
		return err
	})
}

type loader struct {
	f     *fs.FS
	rnd   *rand.Rand
	calls []*fs.Call
	dirs  []fs.Handle
	files []loaded
	n     int
	data  []byte
}

type loaded struct {
	h    fs.Handle
	dir  int
	name string
}

func (l *loader) begin(e *engine.Engine) error {
	root, err := newShare(e, l.f, "home", 0o777)
	if err != nil {
		return err
	}
	for i := range 50 {
		l.calls = append(l.calls, &fs.Call{Client: &oplog.Client{Name: fmt.Sprintf("nfs 10.0.0.%d:900", i)}})
	}
	for i := range 1000 {
		m, err := l.f.Mkdir(l.calls[0], root, fmt.Sprintf("dir%03d", i), fs.SetAttr{})
		if err != nil {
			return err
		}
		l.dirs = append(l.dirs, m.Handle)
	}
	return nil
}

// run does operations: of ten about four make files, three change attributes,
// one renames, one writes and one removes.
func (l *loader) run(ops int) error {
	for i := range ops {
		if err := l.one(); err != nil {
			return err
		}
		if (i+1)%1_000_000 == 0 {
			fmt.Fprintf(os.Stderr, "%d operations\n", i+1)
		}
	}
	return nil
}

func (l *loader) one() (err error) {
	c := l.calls[l.rnd.IntN(len(l.calls))]
	do := l.rnd.IntN(10)
	if len(l.files) == 0 || do < 4 && len(l.files) < 1_000_000 {
		d := l.rnd.IntN(len(l.dirs))
		l.n++
		name := "file-number-" + strconv.Itoa(l.n)
		m, err := l.f.Create(c, l.dirs[d], name, fs.SetAttr{}, true, nil)
		l.files = append(l.files, loaded{m.Handle, d, name})
		return err
	}
	i := l.rnd.IntN(len(l.files))
	x := &l.files[i]
	switch {
	case do < 7:
		mode := uint32(0o600 + l.rnd.IntN(0o100))
		_, _, err = l.f.Setattr(c, x.h, fs.SetAttr{Mode: &mode})
	case do < 8:
		d := l.rnd.IntN(len(l.dirs))
		_, _, _, err = l.f.Rename(c, l.dirs[x.dir], x.name, l.dirs[d], x.name)
		x.dir = d
	case do < 9:
		_, _, err = l.f.Write(c, x.h, l.data, 0)
	default:
		_, _, err = l.f.Remove(c, l.dirs[x.dir], x.name)
		l.files[i] = l.files[len(l.files)-1]
		l.files = l.files[:len(l.files)-1]
	}
	return err
}

// queries asks a server that was just started, with nothing of the pool in
// memory where this may be brought about.
func queries(bin, pool string, ops int) error {
	var claims []claim
	for _, q := range []struct {
		what  string
		args  []string
		limit float64
	}{
		{"no path matches", []string{"--path", "/nothing/**"}, 10},
		{"no path matches, again", []string{"--path", "/nothing/**"}, 10},
		{"one client, not there", []string{"--client", "10.9.9.9"}, 10},
		{"grouped by client", []string{"--group", "client"}, 20},
	} {
		p := daemon.Pool{Bin: bin, Dir: pool}
		cold := dropCaches()
		d, err := p.Serve()
		if err != nil {
			return err
		}
		if err := d.WaitReady(p.Socket(), time.Minute); err != nil {
			d.Kill()
			return err
		}
		begun := time.Now()
		out, err := p.Run(append([]string{"log", "home", "-H"}, q.args...)...)
		took := time.Since(begun)
		if err = errors.Join(err, d.Stop(60*time.Second)); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%s: %.2f s, %d lines, page cache dropped: %v\n", q.what, took.Seconds(), strings.Count(out, "\n"), cold)
		claims = append(claims, claim{fmt.Sprintf("query of %d operations: %s", ops, q.what), false, q.limit, took.Seconds(), " s"})
	}
	printClaims(os.Stdout, claims, nil)
	return nil
}

// dropCaches drops the page cache, where it may.
func dropCaches() bool {
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0) == nil
}

// identityCost compares the operations a second of this build with those of one
// whose records have no client, user and group, and whose segments no digests.
func identityCost(temp string, ops int) error {
	root, err := daemon.Root()
	if err != nil {
		return err
	}
	if err := withoutIdentity(root, temp); err != nil {
		return err
	}
	builds := []string{filepath.Join(temp, "with"), filepath.Join(temp, "without")}
	for i, bin := range builds {
		args := []string{"build", "-o", bin}
		if i == 1 {
			args = append(args, "-overlay", filepath.Join(temp, "overlay.json"))
		}
		c := exec.Command("go", append(args, "./test/benchmark")...)
		c.Dir, c.Stderr = root, os.Stderr
		if err := c.Run(); err != nil {
			return err
		}
	}
	var costs []float64
	for turn := range costTurns {
		var rates [2]float64
		for i := range builds {
			if turn%2 == 1 {
				i = 1 - i // so that neither always comes after the other
			}
			if rates[i], err = generated(builds[i], filepath.Join(temp, "pool"), ops); err != nil {
				return err
			}
		}
		fmt.Fprintf(os.Stderr, "turn %d: %.0f operations a second, without identities and digests %.0f\n", turn+1, rates[0], rates[1])
		costs = append(costs, 100*(1-rates[0]/rates[1]))
	}
	printClaims(os.Stdout, []claim{{"cost of identities and digests, of the operations a second", false, 6, middle(costs), " %"}}, nil)
	return nil
}

// costTurns is how often the builds are compared; the middle counts.
const costTurns = 7

// generated is how many operations a second a build of this program logs.
func generated(bin, pool string, ops int) (rate float64, err error) {
	c := exec.Command(bin, "log", "-generate", pool, "-ops", strconv.Itoa(ops))
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err == nil {
		_, text, _ := strings.Cut(string(out), " s: ")
		_, err = fmt.Sscanf(text, "%f", &rate)
	}
	return rate, errors.Join(err, os.RemoveAll(pool))
}

// withoutIdentity writes an overlay for go build in which records of operations
// have no client, user and group, and segments no digests.
func withoutIdentity(root, temp string) error {
	overlay := struct{ Replace map[string]string }{make(map[string]string)}
	for _, x := range []struct{ file, old, new string }{
		{"oplog/codec.go", "e.number(op.Client)", "e.number(nil)"},
		{"oplog/file.go", "dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(op.UID)), uint64(op.GID))", ""},
		{"oplog/file.go", "op.UID, op.GID = uvarint32(r), uvarint32(r)", ""},
		{"engine/engine.go", "\tr.e.digests.open.Add(r.op)\n", ""},
	} {
		path := filepath.Join(root, "internal", x.file)
		from := path
		if done, ok := overlay.Replace[path]; ok {
			from = done
		}
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if strings.Count(string(text), x.old) != 1 {
			return fmt.Errorf("%s has not exactly one %q", x.file, x.old)
		}
		overlay.Replace[path] = filepath.Join(temp, strings.ReplaceAll(x.file, "/", "-"))
		if err := os.WriteFile(overlay.Replace[path], []byte(strings.Replace(string(text), x.old, x.new, 1)), 0o600); err != nil {
			return err
		}
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(temp, "overlay.json"), text, 0o600)
}
