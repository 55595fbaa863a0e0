package inode

import (
	"context"
	"encoding/binary"
	"maps"
	"reflect"
	"slices"
	"testing"

	"varve/internal/fail"
	"varve/internal/tree"
)

func FuzzInode(f *testing.F) {
	f.Fuzz(func(t *testing.T, v []byte) {
		i, err := Parse(v)
		if err != nil {
			if !fail.Is(err, fail.Corrupt) {
				t.Fatal(err)
			}
			return
		}
		if again, err := Parse(i.Append(nil)); err != nil || again != i {
			t.Fatalf("%+v became %+v, %v", i, again, err)
		}
	})
}

// items is a share as a map, for trees that no one would write.
type items map[tree.Key][]byte

func (m items) Get(k tree.Key, dst []byte) ([]byte, bool, error) {
	v, ok := m[k]
	return append(dst[:0], v...), ok, nil
}

func (m items) Scan(lo, hi tree.Key, fn func(tree.Key, []byte) bool) error {
	keys := slices.SortedFunc(maps.Keys(m), func(a, b tree.Key) int {
		return slices.Compare(a[:], b[:])
	})
	for _, k := range keys {
		if !k.Less(lo) && k.Less(hi) && !fn(k, m[k]) {
			break
		}
	}
	return nil
}

// parseItems reads items: inode u8 | type u8 | low bits u64 | length u16 |
// value. Big endian, as the keys.
func parseItems(b []byte) items {
	m := items{}
	for len(b) >= 12 && len(m) < 500 {
		k := itemKey(uint64(b[0]), uint64(b[1]&15), binary.BigEndian.Uint64(b[2:])&lowMask)
		n := min(int(binary.BigEndian.Uint16(b[10:])), len(b)-12, tree.MaxValue)
		m[k] = b[12 : 12+n]
		b = b[12+n:]
	}
	return m
}

// Whatever is in a tree, reading it ends, and fails with nothing but Corrupt,
// Stale and Invalid. What a check does not object to can be read.
func FuzzItems(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		const seed = 1
		m := parseItems(b)
		objections := 0
		_, err := Check(context.Background(), m, seed, blocksIn, func(err error) {
			if !fail.Is(err, fail.Corrupt) {
				t.Errorf("the check says %v", err)
			}
			objections++
		})
		must(t, err)
		judge := func(err error) {
			kind := fail.KindOf(err)
			if err != nil && (objections == 0 || kind != fail.Corrupt && kind != fail.Stale && kind != fail.Invalid) {
				t.Errorf("%d objections, but %v", objections, err)
			}
		}
		for ino := range uint64(12) {
			i, err := Load(m, ino)
			if objections == 0 && fail.Is(err, fail.Stale) {
				continue
			}
			judge(err)
			if i.Mode&ModeType == ModeLink {
				_, err = Target(m, ino)
				judge(err)
			}
			judge(List(m, ino, 0, func(e Entry) bool {
				got, ok, err := Lookup(m, seed, ino, e.Name)
				judge(err)
				if objections == 0 && (!ok || !reflect.DeepEqual(got, e)) {
					t.Errorf("listed %+v, found %+v %v", e, got, ok)
				}
				return true
			}))
			judge(Xattrs(m, ino, func(name string, size int) bool {
				v, ok, err := Xattr(m, seed, ino, name)
				judge(err)
				if objections == 0 && (!ok || len(v) != size) {
					t.Errorf("listed %q with %d bytes, found %d, %v", name, size, len(v), ok)
				}
				return true
			}))
		}
	})
}
