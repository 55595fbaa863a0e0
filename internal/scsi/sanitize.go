package scsi

// sanitize is the state of SANITIZE.
type sanitize struct{}

func (u *unit) sanitizing() sense { return senseSanitizing }
