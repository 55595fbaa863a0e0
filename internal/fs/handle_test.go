package fs

import (
	"testing"

	"varve/internal/fail"
)

func testFS() *FS { return &FS{pool: poolNumber("0123-4567")} }

func TestHandle(t *testing.T) {
	f := testFS()
	for _, h := range []Handle{
		{Dataset: 1, Ino: 2}, {Dataset: 1 << 60, Ino: 1<<64 - 1, Moment: 1<<64 - 1}, {Dataset: 3, Ino: 9, SnapDir: true},
	} {
		b := f.Encode(h)
		got, err := f.Decode(b[:])
		if err != nil || got != h {
			t.Errorf("%+v became %+v, %v", h, got, err)
		}
		for i := range b { // any other byte in front makes it no handle, or another's
			for bit := range 8 {
				b[i] ^= 1 << bit
				if got, err := f.Decode(b[:]); err == nil && got == h || i < 8 && err == nil && !(i == 1 && h.Moment == 0) {
					t.Errorf("byte %d bit %d of %+v does not matter: %+v", i, bit, h, got)
				}
				b[i] ^= 1 << bit
			}
		}
		other := &FS{pool: f.pool + 1}
		if _, err := other.Decode(b[:]); CodeOf(err) != CodeBadHandle || !fail.Is(err, fail.Invalid) {
			t.Errorf("of another pool: %v", err)
		}
	}
	for _, b := range [][]byte{nil, make([]byte, HandleSize-1), make([]byte, HandleSize+1), make([]byte, HandleSize)} {
		if _, err := f.Decode(b); CodeOf(err) != CodeBadHandle {
			t.Errorf("%d bytes: %v", len(b), err)
		}
	}
}

// Whatever a client sends is refused, or a handle that encodes to the same.
func FuzzHandle(f *testing.F) {
	x := testFS()
	for _, h := range []Handle{{Dataset: 1, Ino: 2}, {Dataset: 7, Ino: 300, Moment: 812455}, {Dataset: 1, Ino: 2, SnapDir: true}} {
		b := x.Encode(h)
		f.Add(b[:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := x.Decode(b)
		if err != nil {
			if CodeOf(err) != CodeBadHandle {
				t.Errorf("%v", err)
			}
			return
		}
		if again := x.Encode(h); string(again[:]) != string(b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}
