package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// How the machine is made to settle before a measurement.
const (
	settleLook  = 200 * time.Millisecond
	settleLimit = 10 * time.Second // on a machine that never rests
	settleDirty = 4 << 10          // KiB in the page cache that may wait for the disk
)

// settle returns when what earlier measurements left unwritten is on the disk
// and the disk rests, so that nobody pays for his neighbour.
func settle() error {
	unix.Sync()
	last := ""
	for deadline := time.Now().Add(settleLimit); time.Now().Before(deadline); time.Sleep(settleLook) {
		dirty, err := dirtyKiB()
		if err != nil {
			return err
		}
		disks, err := os.ReadFile("/proc/diskstats")
		if err != nil {
			return err
		}
		if dirty <= settleDirty && string(disks) == last {
			return nil
		}
		last = string(disks)
	}
	return nil
}

// dirtyKiB returns how much of the page cache waits for the disk, or is on its
// way there.
func dirtyKiB() (int64, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	total := int64(0)
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] != "Dirty:" && f[0] != "Writeback:" {
			continue
		}
		kib, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/meminfo: %w", err)
		}
		total += kib
	}
	return total, nil
}
