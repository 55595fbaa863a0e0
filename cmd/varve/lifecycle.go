package main

import (
	"log/slog"
	"sync"

	"github.com/coreos/go-systemd/v22/daemon"

	"varve/internal/fail"
)

// The phases of a server's life.
const (
	phaseStarting = "starting"
	phaseServing  = "serving"
	phaseStopping = "stopping"
)

// lifecycle is where a server is in its life, for whoever watches it: /healthz
// asks, and the service manager that started it, if one did, is told, by the
// protocol of systemd's sd_notify.
type lifecycle struct {
	log *slog.Logger

	mu    sync.RWMutex
	phase string // "": not even starting
	at    string // what it does in this phase; may be empty
}

// starts says what a server that starts is at.
func (l *lifecycle) starts(at string) { l.enter(phaseStarting, at, "STATUS="+at) }

// serves says that the server does its work from now on.
func (l *lifecycle) serves(at string) { l.enter(phaseServing, at, daemon.SdNotifyReady+"\nSTATUS="+at) }

// stops says that the server begins to end.
func (l *lifecycle) stops(at string) {
	l.enter(phaseStopping, at, daemon.SdNotifyStopping+"\nSTATUS="+at)
}

func (l *lifecycle) enter(phase, at, message string) {
	l.mu.Lock()
	l.phase, l.at = phase, at
	l.mu.Unlock()
	if _, err := daemon.SdNotify(false, message); err != nil {
		l.log.Warn("the service manager was not told", "state", phase, "error", err)
	}
}

// whileServing looks at what there is only while the server does its work:
// that does not end before look does. Else it says what the server is at.
func (l *lifecycle) whileServing(look func() error) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.phase != phaseServing {
		return fail.New(fail.Busy, "%s: %s", l.phase, l.at)
	}
	return look()
}
