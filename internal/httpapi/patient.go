package httpapi

import (
	"io"
	"net/http"
	"sync"
	"time"

	"varve/internal/fail"
)

// patient reads a request's body that may come slowly, from a tape or a pipe: each
// part of it may take its time. What is done once the body has ended, or when nobody
// reads on, may take any time.
type patient struct {
	r       io.Reader
	control *http.ResponseController
	each    time.Duration // for one read

	mu      sync.Mutex
	stopped bool
}

func newPatient(body io.Reader, control *http.ResponseController) *patient {
	return &patient{r: body, control: control, each: lineTimeout}
}

// Read implements io.Reader.
func (p *patient) Read(b []byte) (int, error) {
	if !p.bound(time.Now().Add(p.each)) {
		return 0, fail.New(fail.Canceled, "given up")
	}
	n, err := p.r.Read(b)
	if err != nil {
		// Once the body has ended net/http waits for the caller to go away. A bound on
		// that, as the next Read after the end would leave behind, cancels what is
		// still done.
		p.bound(time.Time{})
	}
	return n, err
}

// bound limits the reads that come and the one that waits; false if all are given up.
func (p *patient) bound(deadline time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopped {
		p.control.SetReadDeadline(deadline)
	}
	return !p.stopped
}

// stop ends a Read that waits, and all that come.
func (p *patient) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	p.control.SetReadDeadline(time.Unix(1, 0))
}
