package outbox

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// quiet is more than reads wait for: bytes. Below it the socket of a connection
// whose reads wait does not count as readable (SO_RCVLOWAT), so that nobody is
// woken for each piece that comes.
const quiet = 256 << 10

// ReadMany reads some bytes, waiting for the first, from a peer that sends many
// small pieces: it lets up to limit pass until want bytes, fewer than 256 KiB,
// have come, and then takes what there is. Asleep says that they had not come.
// While it waits it keeps a processor of Go's scheduler: few may do so at a time.
func (s *Stream) ReadMany(p []byte, want int, limit time.Duration) (n int, w Waited, err error) {
	s.in.want, s.in.limit = want, limit
	return s.ReadSpin(p, 0)
}

// await is the waiting of ReadMany. The first half is slept through, in naps
// that the kernel makes as long as the timer slack, 50 us; that costs neither
// side anything. For the other half it looks.
func (a *attempt) await(fd int) {
	a.lowAt(fd, quiet)
	now := time.Now()
	until := now.Add(a.limit)
	for {
		have, ok := a.unread(fd)
		switch {
		case !ok || have >= a.want:
			return
		case now.After(until):
			a.waited = Asleep
			return
		case have < a.want/2:
			a.nap.Nsec = 1
			syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&a.nap)), 0, 0)
			now = time.Now()
		default:
			for next := now.Add(time.Microsecond); now.Before(next); {
				now = time.Now()
			}
		}
		a.waited = Spinning
	}
}

// unread returns how many bytes can be read: tcp(7), SIOCINQ.
func (a *attempt) unread(fd int) (n int, ok bool) {
	_, _, err := syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(fd), unix.TIOCINQ, uintptr(unsafe.Pointer(&a.inq)))
	return int(a.inq), err == 0
}

// lowAt sets from how many bytes on a TCP socket counts as readable. Others
// always do from the first.
func (a *attempt) lowAt(fd, n int) {
	if a.low != n {
		a.low = n
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, n)
	}
}
