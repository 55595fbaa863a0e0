package segment

import (
	"math/rand/v2"
	"testing"
	"unsafe"
)

func TestBufferPool(t *testing.T) {
	for _, size := range []int{17 * BlockSize, 257 * BlockSize, maxFrameBlocks * BlockSize} {
		rng := rand.New(rand.NewPCG(1, uint64(size)))
		p := bufferPool{size: size}
		var used [][]byte
		tag := map[*byte]byte{}
		take := func() {
			b := p.get()
			if len(b) != size || uintptr(unsafe.Pointer(&b[0]))%BlockSize != 0 {
				t.Fatalf("%d bytes at %p", len(b), b)
			}
			v := byte(rng.Uint32())
			b[0], b[size-1], tag[&b[0]] = v, v, v
			used = append(used, b)
		}
		giveBack := func() {
			i := rng.IntN(len(used))
			b := used[i]
			if v := tag[&b[0]]; b[0] != v || b[size-1] != v {
				t.Fatal("two have the same memory")
			}
			used[i] = used[len(used)-1]
			used = used[:len(used)-1]
			p.put(b[:BlockSize])
		}
		for range 2000 {
			if len(used) == 0 || len(used) < 60 && rng.IntN(2) == 0 {
				take()
			} else {
				giveBack()
			}
			if p.idle > keepBuffers+60 {
				t.Fatalf("%d idle buffers are kept", p.idle)
			}
		}
		for len(used) > 1 {
			giveBack()
		}
		if p.idle > keepBuffers+arenaSize/size {
			t.Errorf("%d idle buffers are kept", p.idle)
		}
		if len(p.arenas) == 0 {
			t.Error("nothing is kept")
		}
		p.free()
		if len(p.arenas) != 1 {
			t.Errorf("%d arenas for one buffer", len(p.arenas))
		}
		giveBack()
		if len(p.arenas) != 0 || p.idle != 0 {
			t.Errorf("%d arenas are left, with %d buffers", len(p.arenas), p.idle)
		}
	}
}
