package blockmap

import (
	"context"

	"varve/internal/fail"
)

const dirPiece = 256 << 10 // bytes of a directory read at once

// Directory calls fn with the first n blocks of a directory, in order: p are some of
// them, up to the directory's size and valid until fn returns, and block is the first
// one's number. A hole is Corrupt. An error of fn is returned as it is.
func (m *Map) Directory(ctx context.Context, n uint64, fn func(p []byte, block uint64) error) error {
	var buf []byte
	for at := uint64(0); at < n; {
		run, err := m.NextRun(ctx, at)
		if err != nil {
			return err
		}
		if run.Block != at || run.Count == 0 {
			return fail.New(fail.Corrupt, "directory %d has a hole at its block %d", m.ino, at).WithHint("%s", m.g.Hint)
		}
		count := min(run.Count, max(1, dirPiece/m.g.Block), n-at)
		size := min(count*m.g.Block, m.size-at*m.g.Block)
		if uint64(cap(buf)) < size {
			buf = make([]byte, size)
		}
		if err := m.g.Read(ctx, buf[:size], run.At); err != nil {
			return err
		}
		if err := fn(buf[:size], at); err != nil {
			return err
		}
		at += count
	}
	return nil
}
