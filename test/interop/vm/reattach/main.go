// Command reattach attaches an NBD export to a block device of the Linux kernel
// and keeps it attached: when the connection breaks, requests wait inside the
// kernel while it dials again, and then go on over the new connection.
//
// nbd-client cannot do that: it never sets the kernel's dead connection timeout,
// so requests fail as soon as the last connection is gone, and -persist attaches
// the device anew, under whoever still has it open.
//
//	reattach HOST:PORT EXPORT /dev/nbdN
//
// It prints a line when the device is attached and one for each reattachment,
// and runs until it is killed or the device is detached with nbd-client -d.
package main

import (
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// A request without an answer for so long has lost its connection; the
	// kernel then sends it again over the new one.
	requestTimeout = 10 * time.Second
	// Requests wait so long for a new connection before they fail.
	deadTimeout = 90 * time.Second
	redialEvery = 200 * time.Millisecond
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("reattach: ")
	if len(os.Args) != 4 {
		log.Fatal("usage: reattach HOST:PORT EXPORT /dev/nbdN")
	}
	number, err := strconv.ParseUint(strings.TrimPrefix(os.Args[3], "/dev/nbd"), 10, 32)
	if err != nil {
		log.Fatalf("%s: want /dev/nbdN", os.Args[3])
	}
	log.Fatal(keep(os.Args[1], os.Args[2], uint32(number)))
}

// keep attaches the export and returns only with an error.
func keep(addr, name string, index uint32) error {
	kernel, err := dialKernel()
	if err != nil {
		return err
	}
	session, err := dialExport(addr, name)
	if err != nil {
		return err
	}
	first := *session
	if err := kernel.connect(index, session); err != nil {
		return fmt.Errorf("attaching: %w", err)
	}
	fmt.Println("attached")
	for {
		if err := session.waitBroken(); err != nil {
			return err
		}
		session.close()
		if session, err = redial(addr, name); err != nil {
			return err
		}
		if session.size != first.size {
			return fmt.Errorf("the export was %d bytes and is %d now", first.size, session.size)
		}
		if err := kernel.reconfigure(index, session); err != nil {
			return fmt.Errorf("reattaching: %w", err)
		}
		fmt.Println("reattached")
	}
}

// redial tries until the kernel would have given up.
func redial(addr, name string) (*session, error) {
	for deadline := time.Now().Add(deadTimeout); ; time.Sleep(redialEvery) {
		s, err := dialExport(addr, name)
		if err == nil {
			return s, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("no connection for %v: %w", deadTimeout, err)
		}
	}
}

// waitBroken returns nil when the peer has closed the connection. The kernel
// reads from it meanwhile.
func (s *session) waitBroken() error {
	poll := []unix.PollFd{{Fd: int32(s.file.Fd()), Events: unix.POLLRDHUP}}
	for {
		_, err := unix.Poll(poll, -1)
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return fmt.Errorf("watching the connection: %w", err)
		}
	}
}
