package redo

// LimitLeft makes the bound on what is remembered less, until it is called again.
func LimitLeft(n int) (restore func()) {
	was := maxLeft
	maxLeft = n
	return func() { maxLeft = was }
}
