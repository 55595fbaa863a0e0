// Command fsx does random things to one file, through the system calls that
// programs use, and compares all it reads with what must be there.
//
//	fsx FILE SEED SECONDS
//
// It ends with the number of things done, or at the first wrong byte.
package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxSize = 1 << 20 // bytes of the file
	maxRun  = 64 << 10
)

// file is the file and what it must hold.
type file struct {
	name string
	rng  *rand.Rand
	f    *os.File
	want []byte
	done map[string]int
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fsx:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("usage: fsx FILE SEED SECONDS")
	}
	seed, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	seconds, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	f := &file{name: args[0], rng: rand.New(rand.NewPCG(seed, 0)), done: map[string]int{}}
	if f.f, err = os.OpenFile(f.name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644); err != nil {
		return err
	}
	for end := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(end); {
		if err := f.step(); err != nil {
			return fmt.Errorf("seed %d, after %v: %w", seed, f.done, err)
		}
	}
	if err := f.reopen(); err != nil {
		return err
	}
	if err := f.check(0, maxSize); err != nil {
		return err
	}
	fmt.Println(f.done)
	return f.f.Close()
}

func (f *file) step() error {
	off, n := f.rng.IntN(maxSize-maxRun), 1+f.rng.IntN(maxRun)
	if f.rng.IntN(2) == 0 {
		n = 1 + n%500
	}
	name, act := "read", func() error { return f.check(off, n) }
	switch k := f.rng.IntN(100); {
	case k < 35:
		name, act = "write", func() error { return f.write(off, n) }
	case k < 43:
		name, act = "append", func() error { return f.write(len(f.want), min(n, maxSize-len(f.want))) }
	case k < 51:
		name, act = "truncate", func() error { return f.truncate(off) }
	case k < 58:
		name, act = "map", func() error { return f.mapped(off, n) }
	case k < 61:
		name, act = "sync", f.f.Sync
	case k < 64:
		name, act = "reopen", f.reopen
	case k < 67:
		name, act = "forget", f.forget
	}
	f.done[name]++
	if err := act(); err != nil {
		return fmt.Errorf("%s at %d, %d bytes: %w", name, off, n, err)
	}
	return nil
}

func (f *file) write(off, n int) error {
	f.resize(max(len(f.want), off+n))
	for i := off; i < off+n; i++ {
		f.want[i] = byte(f.rng.Uint32())
	}
	_, err := f.f.WriteAt(f.want[off:off+n], int64(off))
	return err
}

func (f *file) truncate(size int) error {
	f.resize(size)
	return f.f.Truncate(int64(size))
}

func (f *file) resize(size int) {
	if size <= len(f.want) {
		f.want = f.want[:size:size] // bytes beyond are zero when they come again
		return
	}
	f.want = append(f.want, make([]byte, size-len(f.want))...)
}

// check reads a range and what is known to be no part of the file after it.
func (f *file) check(off, n int) error {
	info, err := f.f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != int64(len(f.want)) {
		return fmt.Errorf("a size of %d, want %d", info.Size(), len(f.want))
	}
	got := make([]byte, n)
	read, _ := f.f.ReadAt(got, int64(off)) // the end of the file is no fault
	if want := max(0, min(n, len(f.want)-off)); read != want {
		return fmt.Errorf("%d bytes read, want %d", read, want)
	}
	return f.same(got[:read], off)
}

func (f *file) same(got []byte, off int) error {
	for i, b := range got {
		if b != f.want[off+i] {
			return fmt.Errorf("byte %d is %#x, want %#x", off+i, b, f.want[off+i])
		}
	}
	return nil
}

// mapped reads a range through a mapping, and changes it there.
func (f *file) mapped(off, n int) error {
	page := os.Getpagesize()
	off -= off % page
	if n = min(n, len(f.want)-off); n <= 0 {
		return nil
	}
	m, err := unix.Mmap(int(f.f.Fd()), int64(off), n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	if err := f.same(m, off); err != nil {
		return err
	}
	for range 1 + f.rng.IntN(20) {
		i := f.rng.IntN(n)
		m[i] = byte(f.rng.Uint32())
		f.want[off+i] = m[i]
	}
	if err := unix.Msync(m, unix.MS_SYNC); err != nil {
		return err
	}
	return unix.Munmap(m)
}

func (f *file) reopen() error {
	if err := f.f.Close(); err != nil {
		return err
	}
	var err error
	f.f, err = os.OpenFile(f.name, os.O_RDWR, 0)
	return err
}

// forget makes the kernel read from the server again.
func (f *file) forget() error {
	if err := f.f.Sync(); err != nil {
		return err
	}
	return unix.Fadvise(int(f.f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
