package nfs3

import (
	"bytes"
	"os"
	"runtime"
	"runtime/pprof"
	"testing"

	"varve/internal/fs"
)

func TestLeakTmp(t *testing.T) {
	calls := allCalls()
	for round := range 3 {
		for i := range 3000 {
			s := newServer(newStill(new(fs.FS)), Options{Workers: 2})
			sc := &script{in: bytes.NewReader(calls[i%len(calls)])}
			c := newConn(s, sc)
			s.conns[c] = struct{}{}
			s.handlers.Add(1)
			c.serve()
			s.handlers.Wait()
			s.workers.stop()
		}
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		t.Log(round, m.HeapAlloc>>10, "KiB", m.HeapObjects, runtime.NumGoroutine(), m.Sys>>20)
	}
	f, _ := os.Create("/tmp/nfs3/heap.prof")
	pprof.WriteHeapProfile(f)
	f.Close()
}
