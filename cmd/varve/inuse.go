package main

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// inUseBy names the process that listens on a TCP address, as far as /proc tells
// this user: "qemu-nbd (pid 17)", or "".
func inUseBy(address string) string {
	addr, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return ""
	}
	want := addr.AddrPort()
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, _ := os.ReadFile(table) // what cannot be read names nobody
		for line := range strings.Lines(string(text)) {
			if at, inode, ok := parseListener(line); ok && inTheWay(at, want) {
				if who := owner(inode); who != "" {
					return who
				}
			}
		}
	}
	return ""
}

// parseListener reads a line of /proc/net/tcp or tcp6:
//
//	sl  local_address rem_address   st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode
//	 0: 0100007F:2A39 00000000:0000 0A 00000000:00000000 00:00000000 00000000   0       0 25541
//
// An address is words of 32 bits in the order of this machine, which is little
// endian. State 0A is listening.
func parseListener(line string) (at netip.AddrPort, inode string, ok bool) {
	f := strings.Fields(line)
	if len(f) < 10 || f[3] != "0A" {
		return at, "", false
	}
	digits, port, _ := strings.Cut(f[1], ":")
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil || len(digits) != 8 && len(digits) != 32 {
		return at, "", false
	}
	ip := make([]byte, len(digits)/2)
	for i := range ip {
		b, err := strconv.ParseUint(digits[2*i:2*i+2], 16, 8)
		if err != nil {
			return at, "", false
		}
		ip[i^3] = byte(b)
	}
	addr, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), f[9], true
}

// inTheWay says whether a listener keeps others from an address. One for all
// addresses does so for each, and the other way round.
func inTheWay(at, want netip.AddrPort) bool {
	a, w := at.Addr(), want.Addr().Unmap()
	return at.Port() == want.Port() && (a == w || a.IsUnspecified() || !w.IsValid() || w.IsUnspecified())
}

// owner names a process that has a socket open.
func owner(inode string) string {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err != nil || target != "socket:["+inode+"]" {
			continue
		}
		process := filepath.Dir(filepath.Dir(fd))
		name, err := os.ReadFile(filepath.Join(process, "comm"))
		if err != nil {
			continue
		}
		return fmt.Sprintf("%s (pid %s)", bytes.TrimSpace(name), filepath.Base(process))
	}
	return ""
}
