package httpapi

import (
	"context"
	"net/http"
	"sync"
	"time"

	"varve/internal/engine"
)

// progressEvery is the least time between two progress messages.
const progressEvery = 200 * time.Millisecond

// CheckMessage is one line of the answer to POST /v1/check. The last one is a
// report or an error.
type CheckMessage struct {
	Type   string              `json:"message_type" enum:"progress,report,error"`
	Done   uint64              `json:"done,omitempty" doc:"In the unit of total"`
	Total  uint64              `json:"total,omitempty"`
	Report *engine.CheckReport `json:"report,omitempty"`
	Error  *Problem            `json:"error,omitempty"`
}

func (s *Server) check() {
	type input struct {
		Data bool `query:"data" doc:"Read and verify every byte of payload too"`
	}
	addStream(s, http.MethodPost, "/v1/check", "check", "Verify the pool while it is served",
		func(ctx context.Context, in *input, send func(CheckMessage)) (CheckMessage, error) {
			report, err := s.pool.Check(ctx, in.Data, seldom(func(done, total uint64) {
				send(CheckMessage{Type: "progress", Done: done, Total: total})
			}))
			return CheckMessage{Type: "report", Report: &report}, err
		})
}

// seldom passes on progress at most every progressEvery.
func seldom[N uint64 | int64](tell func(done, total N)) func(done, total N) {
	var mu sync.Mutex
	var last time.Time
	return func(done, total N) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(last) >= progressEvery {
			last = now
			tell(done, total)
		}
	}
}
