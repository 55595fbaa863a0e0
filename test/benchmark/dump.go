package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"varve/test/daemon"
)

// dumping compares dumps with those that Debian's dump makes of the same tree.
type dumping struct {
	dir    string // has the image, the pool and the program
	rounds int
	bin    string
	image  string
	pool   daemon.Pool
}

func dumpCommand(ctx context.Context, args []string) error {
	c := newCommand("dump", "").withRounds(5, "times that each dump is made")
	files := c.Int("files", 100_000, "files in the tree")
	keep := c.String("keep", "", "directory that keeps tree and pool for the next time")
	if err := c.Parse(args); err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return errors.New("the dump of Debian reads a loop device: run this as root")
	}
	if err := provide(need{"/usr/sbin/dump", "dump"}, need{"/usr/sbin/mke2fs", "e2fsprogs"}, need{"/usr/sbin/losetup", "mount"}); err != nil {
		return err
	}
	d := dumping{rounds: c.rounds, dir: *keep}
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
	if err := d.prepare(ctx, *files); err != nil {
		return err
	}
	return d.measure(ctx)
}

// prepare makes the tree twice: in an ext4 image, and in a share.
func (d *dumping) prepare(ctx context.Context, files int) error {
	done := filepath.Join(d.dir, "prepared")
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	tree := filepath.Join(d.dir, "tree")
	fmt.Fprintf(os.Stderr, "making a tree of %d files, an image of it, and a share\n", files)
	if err := newDumpTree(files).make(inFolder(tree)); err != nil {
		return err
	}
	size := fmt.Sprintf("%dM", 200+files*60/1000) // about twice the tree
	if out, err := exec.CommandContext(ctx, "/usr/sbin/mke2fs", "-q", "-t", "ext4", "-b", "4096", "-N", fmt.Sprint(files*3/2+1000),
		"-d", tree, d.image, size).CombinedOutput(); err != nil {
		return fmt.Errorf("mke2fs: %w\n%s", err, out)
	}
	if err := os.RemoveAll(tree); err != nil {
		return err
	}
	if _, err := d.pool.Run("init", d.pool.Dir); err != nil {
		return err
	}
	if err := loadShare(d.pool.Dir, "home", newDumpTree(files)); err != nil {
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

func (d *dumping) measure(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "/usr/sbin/losetup", "-f", "--show", "-r", d.image).Output()
	if err != nil {
		return fmt.Errorf("losetup: %w", err)
	}
	loop := strings.TrimSpace(string(out))
	defer exec.Command("/usr/sbin/losetup", "-d", loop).Run()
	s, err := d.pool.Serve()
	if err != nil {
		return err
	}
	defer s.Kill()
	if err := s.WaitReady(d.pool.Socket(), 60*time.Second); err != nil {
		return err
	}
	ways := []*way{
		{name: "Debian's dump of ext4", args: []string{"/usr/sbin/dump", "-0", "-f", "/dev/null", loop}},
		{name: "varve dump of a share", args: []string{d.bin, "dump", "-0", "-f", "/dev/null", "home"}},
		{name: "varve dump of the ext4 image", args: []string{d.bin, "dump", "-0", "-f", "/dev/null", d.image}},
	}
	for round := range d.rounds + 1 { // the first one fills the page cache, for all of them
		for _, w := range ways {
			took, err := d.run(ctx, w.args...)
			if err != nil {
				return err
			}
			if round > 0 {
				w.took = append(w.took, took)
				fmt.Fprintf(os.Stderr, "round %d  %-30s %6.2f s\n", round, w.name, took)
			}
		}
	}
	debian, share, image := middle(ways[0].took), middle(ways[1].took), middle(ways[2].took)
	level, err := d.levels(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("\nMedians of %d rounds, alternating, from memory, to /dev/null:\n\n", d.rounds)
	for _, w := range ways {
		fmt.Printf("  %-30s %6.2f s\n", w.name, middle(w.took))
	}
	claims := []claim{
		{"Debian's dump / a share's, level 0", true, 2, debian / share, ""},
		{"Debian's dump / the ext4 image's, level 0", true, 1.5, debian / image, ""},
		{"level 1 of the share after 10 changed files", false, 100, 1000 * level, " ms"},
	}
	if top, _, err := memory(s.PID()); err == nil {
		claims = append(claims, claim{"server's resident memory, at most", false, 0, top, " MiB"})
	}
	fmt.Println()
	for _, c := range claims {
		fmt.Printf("  %-48s %8.2f%s\n", c.what, c.got, c.unit)
	}
	return nil
}

func (d *dumping) run(ctx context.Context, args ...string) (seconds float64, err error) {
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.Env = append(os.Environ(), "VARVE_POOL="+d.pool.Dir)
	start := time.Now()
	if out, err := c.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return time.Since(start).Seconds(), nil
}

// levels makes a base, changes ten files, and dumps level 1, several times.
func (d *dumping) levels(ctx context.Context) (seconds float64, err error) {
	if _, err := d.run(ctx, d.bin, "dump", "-0u", "-f", "/dev/null", "home"); err != nil {
		return 0, err
	}
	var took []float64
	for round := range d.rounds {
		for n := range 10 {
			from := fmt.Sprintf("home:/directory-%05d/some-file-%06d.ext", 0, n+round%2)
			to := fmt.Sprintf("home:/changed-%d", n)
			if _, err := d.run(ctx, d.bin, "cp", "--force", from, to); err != nil {
				return 0, err
			}
		}
		t, err := d.run(ctx, d.bin, "dump", "-1", "-f", "/dev/null", "home")
		if err != nil {
			return 0, err
		}
		took = append(took, t)
		fmt.Fprintf(os.Stderr, "round %d  level 1 %.3f s\n", round+1, t)
	}
	return middle(took), nil
}
