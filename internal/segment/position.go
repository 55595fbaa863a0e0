package segment

// Position returns the last sealed frame: the operations logged from now on,
// and maybe some before, are in frames after it. Unlike Cut it seals nothing.
func (l *Log) Position() Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Appended returns the bytes sealed into frames since the log was opened.
func (l *Log) Appended() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.stats
	return s.Data + s.Node + s.Deaths + s.Super + s.Record
}
