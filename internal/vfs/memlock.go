package vfs

import (
	"io"
	"os"
	"path"
	"sync"
)

// memLock is a lock on a file of a Mem that somebody holds.
type memLock struct {
	exclusive bool
	holders   int
}

// Lock implements FS.
func (m *Mem) Lock(name string, exclusive bool, note string) (io.Closer, error) {
	name = path.Clean("/" + name)
	file, err := m.Open(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	m.mu.Lock()
	held := m.locks[name]
	if held != nil && (exclusive || held.exclusive) {
		m.mu.Unlock()
		return nil, busy(file, name)
	}
	if held == nil {
		held = &memLock{exclusive: exclusive}
		m.locks[name] = held
	}
	held.holders++
	m.mu.Unlock()
	if exclusive {
		err = writeNote(file, note)
	} else {
		err = file.Truncate(0)
	}
	unlock := &memUnlock{m: m, name: name, lock: held}
	if err != nil {
		unlock.Close()
		return nil, wrap("lock", name, err)
	}
	return unlock, nil
}

// memUnlock gives one hold of a lock up, once.
type memUnlock struct {
	m    *Mem
	name string
	lock *memLock
	once sync.Once
}

func (u *memUnlock) Close() error {
	u.once.Do(func() {
		if u.lock.exclusive {
			u.clearNote()
		}
		u.m.mu.Lock()
		defer u.m.mu.Unlock()
		if u.lock.holders--; u.lock.holders == 0 {
			delete(u.m.locks, u.name)
		}
	})
	return nil
}

// clearNote empties the lock file. It fails only when the power is off, and
// then the lock has ended anyway.
func (u *memUnlock) clearNote() {
	if file, err := u.m.Open(u.name, os.O_RDWR, 0); err == nil {
		_ = file.Truncate(0)
		_ = file.Close()
	}
}
