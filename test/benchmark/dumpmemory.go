package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"varve/internal/dump"
)

// memory restores an archive of very many names, which is made as it is read, and
// measures how much memory that takes at the most.
func (d *dumping) memory(ctx context.Context) ([]claim, []string, error) {
	var claims []claim
	for _, args := range [][]string{{"-tHf", "-"}, {"-xNf", "-"}} {
		c := exec.CommandContext(ctx, d.bin, append([]string{"restore"}, args...)...)
		c.Stderr = os.Stderr
		in, err := c.StdinPipe()
		if err != nil {
			return nil, nil, err
		}
		start := time.Now()
		if err := c.Start(); err != nil {
			return nil, nil, err
		}
		top := watchMemory(c.Process.Pid)
		err = writeForest(ctx, in, uint32(d.names))
		in.Close()
		if errors.Is(err, syscall.EPIPE) { // -t reads no further than the directories
			err = nil
		}
		if err := errors.Join(err, c.Wait()); err != nil {
			return nil, nil, fmt.Errorf("varve restore %s: %w", args[0], err)
		}
		fmt.Fprintf(os.Stderr, "restore %s of %d names in %.0f s\n", args[0], d.names, time.Since(start).Seconds())
		claims = append(claims, claim{fmt.Sprintf("memory of restore %s, %d names", args[0][:2], d.names), false, 200, top(), " MiB"})
	}
	return claims, nil, nil
}

// watchMemory looks at a process until it ends, and returns what tells its resident memory
// at the most, in MiB. (What wait(2) tells counts what this process had when it forked.)
func watchMemory(pid int) func() float64 {
	done := make(chan float64, 1)
	go func() {
		most := 0.0
		for {
			top, _, err := memory(pid)
			if err != nil {
				done <- most
				return
			}
			most = max(most, top)
			time.Sleep(20 * time.Millisecond)
		}
	}()
	return func() float64 { return <-done }
}

// forest is a dump.Source of directories with ten empty files each, which are all in
// the root: directories have the numbers from 3 on, files those behind them.
type forest struct{ dirs, files uint32 }

const filesOfForest = 10

func writeForest(ctx context.Context, w io.Writer, names uint32) error {
	f := forest{dirs: names / (filesOfForest + 1)}
	f.files = f.dirs * filesOfForest
	o := &dump.Options{Date: 1, Blocking: dump.DefaultBlock}
	plan, err := dump.Examine(ctx, f, dump.Since{}, o)
	if err != nil {
		return err
	}
	_, err = dump.Write(ctx, w, f, plan, o, nil)
	return err
}

func (f forest) firstFile() uint32 { return dump.RootIno + 1 + f.dirs }

// Info implements dump.Source, as all below does.
func (f forest) Info() dump.Info {
	return dump.Info{Kind: "forest", MaxIno: f.firstFile() + f.files - 1}
}

func (f forest) Scan(_ context.Context, want *dump.Map, fn func(*dump.Inode) error) error {
	for ino := uint32(dump.RootIno); ino <= f.Info().MaxIno; ino++ {
		if want != nil && !want.Has(ino) {
			continue
		}
		i := dump.Inode{Ino: ino, Mode: dump.ModeFile | 0o644, Nlink: 1}
		if ino < f.firstFile() {
			i.Mode, i.Size = dump.ModeDir|0o755, 512
		}
		if err := fn(&i); err != nil {
			return err
		}
	}
	return nil
}

func (f forest) Entries(_ context.Context, dir *dump.Inode, fn func(dump.Entry) error) error {
	first, n, kind, form := f.firstFile()+(dir.Ino-dump.RootIno-1)*filesOfForest, uint32(filesOfForest), uint8(8), "some-file-%08d.ext"
	if dir.Ino == dump.RootIno {
		first, n, kind, form = dump.RootIno+1, f.dirs, 4, "directory-%08d"
	}
	for ino := first; ino < first+n && ino <= f.Info().MaxIno; ino++ {
		if err := fn(dump.Entry{Ino: ino, Type: kind, Name: fmt.Sprintf(form, ino)}); err != nil {
			return err
		}
	}
	return nil
}

func (f forest) Parent(context.Context, *dump.Inode) (uint32, error) { return dump.RootIno, nil }

func (f forest) Open(context.Context, *dump.Inode) (dump.File, error) {
	return nil, errors.New("a forest has only empty files")
}

func (f forest) Target(context.Context, *dump.Inode) (string, error) {
	return "", errors.New("a forest has no links")
}

func (f forest) Xattrs(context.Context, *dump.Inode) ([]dump.Xattr, error) { return nil, nil }

func (f forest) Warnings() []string { return nil }
