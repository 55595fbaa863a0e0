package outbox

// Luck decides whether reads look for their data before they sleep. A look costs
// less than waking up; it is a waste when the peer is busy elsewhere, or when
// there are fewer processors than work.
type Luck struct {
	Max  int // the most there can be: hits
	Cost int // of a miss: hits
	Rest int // occasions that are not taken after luck is out

	lost int // of Max
	skip int // occasions until the next try
}

// Try reports whether this occasion is to be taken.
func (l *Luck) Try() bool {
	if l.skip > 0 {
		l.skip--
		return false
	}
	return true
}

// Tell is told how a read that looked fared. It reports whether luck lasts.
func (l *Luck) Tell(w Waited) bool {
	switch w {
	case Spinning:
		l.lost = max(l.lost-1, 0)
	case Asleep:
		if l.lost += l.Cost; l.lost >= l.Max {
			l.lost, l.skip = max(l.Max-l.Cost, 0), l.Rest
			return false
		}
	}
	return true
}
