package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"varve/test/daemon"
)

// dumping compares dumps with those that Debian's dump makes of the same tree.
type dumping struct {
	dir    string // has the image, the pool and the program
	rounds int
	files  int // in the tree
	names  int // in the archive of memory
	bin    string
	image  string
	pool   daemon.Pool
}

func dumpCommand(ctx context.Context, args []string) error {
	c := newCommand("dump", "").withRounds(5, "times that each dump is made").withOnly("run the parts whose name matches: level0, levels, memory")
	var d dumping
	c.IntVar(&d.files, "files", 100_000, "files in the tree")
	c.IntVar(&d.names, "names", 10_000_000, "names in the archive of the part memory")
	c.StringVar(&d.dir, "keep", "", "directory that keeps tree and pool for the next time")
	if err := c.Parse(args); err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return errors.New("the dump of Debian reads a loop device: run this as root")
	}
	if err := provide(need{"/usr/sbin/dump", "dump"}, need{"/usr/sbin/mke2fs", "e2fsprogs"}, need{"/usr/sbin/losetup", "mount"}); err != nil {
		return err
	}
	d.rounds = c.rounds
	type part struct {
		name string
		run  func(context.Context) ([]claim, []string, error)
	}
	parts := []part{{"level0", d.level0}, {"levels", d.levels}, {"memory", d.memory}}
	parts = slices.DeleteFunc(parts, func(p part) bool { return !c.only.MatchString(p.name) })
	if len(parts) == 0 {
		return errors.New("there are the parts level0, levels and memory")
	}
	if d.dir == "" {
		var err error
		if d.dir, err = os.MkdirTemp(c.dir, "varve-bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(d.dir)
	} else if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return err
	}
	var err error
	if d.bin, err = daemon.Build(d.dir); err != nil {
		return err
	}
	d.image = filepath.Join(d.dir, "tree.img")
	d.pool = daemon.Pool{Bin: d.bin, Dir: filepath.Join(d.dir, "pool")}
	for _, p := range parts {
		claims, notes, err := p.run(ctx)
		if err != nil {
			return err
		}
		printClaims(os.Stdout, claims, notes)
	}
	return nil
}

// level0 compares with Debian's dump.
func (d *dumping) level0(ctx context.Context) ([]claim, []string, error) {
	if err := d.prepare(ctx); err != nil {
		return nil, nil, err
	}
	return d.measure(ctx)
}

// prepare makes the tree twice: in an ext4 image, and in a share.
func (d *dumping) prepare(ctx context.Context) error {
	done := filepath.Join(d.dir, "prepared")
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	tree := filepath.Join(d.dir, "tree")
	fmt.Fprintf(os.Stderr, "making a tree of %d files, an image of it, and a share\n", d.files)
	if err := newDumpTree(d.files).make(inFolder(tree)); err != nil {
		return err
	}
	size := fmt.Sprintf("%dM", 200+d.files*60/1000) // about twice the tree
	if out, err := exec.CommandContext(ctx, "/usr/sbin/mke2fs", "-q", "-t", "ext4", "-b", "4096", "-N", fmt.Sprint(d.files*3/2+1000),
		"-d", tree, d.image, size).CombinedOutput(); err != nil {
		return fmt.Errorf("mke2fs: %w\n%s", err, out)
	}
	if err := os.RemoveAll(tree); err != nil {
		return err
	}
	if _, err := d.pool.Run("init", d.pool.Dir); err != nil {
		return err
	}
	if err := loadShare(d.pool.Dir, "home", newDumpTree(d.files)); err != nil {
		return err
	}
	return os.WriteFile(done, nil, 0o644)
}

// way is one way to dump, and how long it took, in seconds.
type way struct {
	name string
	args []string
	took []float64
}

func (d *dumping) measure(ctx context.Context) ([]claim, []string, error) {
	out, err := exec.CommandContext(ctx, "/usr/sbin/losetup", "-f", "--show", "-r", d.image).Output()
	if err != nil {
		return nil, nil, fmt.Errorf("losetup: %w", err)
	}
	loop := strings.TrimSpace(string(out))
	defer exec.Command("/usr/sbin/losetup", "-d", loop).Run()
	s, err := d.serve(d.pool)
	if err != nil {
		return nil, nil, err
	}
	defer s.Kill()
	ways := []*way{
		{name: "Debian's dump of ext4", args: []string{"/usr/sbin/dump", "-0", "-f", "/dev/null", loop}},
		{name: "varve dump of a share", args: []string{d.bin, "dump", "-0", "-f", "/dev/null", "home"}},
		{name: "varve dump of the ext4 image", args: []string{d.bin, "dump", "-0", "-f", "/dev/null", d.image}},
	}
	for round := range d.rounds + 1 { // the first one fills the page cache, for all of them
		for _, w := range ways {
			took, err := d.run(ctx, d.pool, w.args...)
			if err != nil {
				return nil, nil, err
			}
			if round > 0 {
				w.took = append(w.took, took)
				fmt.Fprintf(os.Stderr, "round %d  %-30s %6.2f s\n", round, w.name, took)
			}
		}
	}
	debian, share, image := middle(ways[0].took), middle(ways[1].took), middle(ways[2].took)
	notes := []string{fmt.Sprintf("Medians of %d rounds, alternating, from memory, to /dev/null:\n", d.rounds)}
	for _, w := range ways {
		notes = append(notes, fmt.Sprintf("  %-30s %6.2f s", w.name, middle(w.took)))
	}
	claims := []claim{
		{"Debian's dump / a share's, level 0", true, 2, debian / share, ""},
		{"Debian's dump / the ext4 image's, level 0", true, 1.5, debian / image, ""},
	}
	if top, _, err := memory(s.PID()); err == nil {
		claims = append(claims, claim{"server's resident memory", false, 200, top, " MiB"})
	}
	return claims, notes, nil
}

func (d *dumping) serve(pool daemon.Pool) (*daemon.Server, error) {
	s, err := pool.Serve()
	if err != nil {
		return nil, err
	}
	if err := s.WaitReady(pool.Socket(), 60*time.Second); err != nil {
		s.Kill()
		return nil, err
	}
	return s, nil
}

func (d *dumping) run(ctx context.Context, pool daemon.Pool, args ...string) (seconds float64, err error) {
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.Env = append(os.Environ(), "VARVE_POOL="+pool.Dir)
	start := time.Now()
	if out, err := c.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return time.Since(start).Seconds(), nil
}
