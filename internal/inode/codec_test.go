package inode

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"varve/internal/fail"
	"varve/internal/tree"
)

func drawInode(t *rapid.T) Inode {
	time := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{0, math.MinInt64, math.MaxInt64, 1e18}))
	kind := rapid.SampledFrom([]uint32{ModeFIFO, ModeChar, ModeDir, ModeBlock, ModeFile, ModeLink, ModeSocket})
	return Inode{
		Mode:  kind.Draw(t, "type") | rapid.Uint32Max(modeBits).Draw(t, "mode"),
		Nlink: rapid.Uint32Min(1).Draw(t, "links"),
		UID:   rapid.Uint32().Draw(t, "uid"), GID: rapid.Uint32().Draw(t, "gid"),
		Rdev: rapid.Uint64().Draw(t, "rdev"), Size: rapid.Uint64Max(MaxSize).Draw(t, "size"),
		Blocks: rapid.Uint64().Draw(t, "blocks"), Rough: rapid.Bool().Draw(t, "rough"),
		Atime: time.Draw(t, "atime"), Mtime: time.Draw(t, "mtime"), Ctime: time.Draw(t, "ctime"), Btime: time.Draw(t, "btime"),
		Parent: rapid.Uint64Min(1).Draw(t, "parent"), Entries: rapid.Uint64().Draw(t, "entries"),
		Flags: rapid.Uint32().Draw(t, "flags"), Verifier: rapid.Uint64().Draw(t, "verifier"),
	}
}

func TestInodeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawInode(t)
		v := want.Append(nil)
		if len(v) > inodeSize {
			t.Fatalf("%d bytes are more than buffers have", len(v))
		}
		got, err := Parse(v)
		must(t, err)
		if got != want {
			t.Fatalf("%+v became %+v", want, got)
		}
		for n := range v {
			if _, err := Parse(v[:n]); !fail.Is(err, fail.Corrupt) {
				t.Fatalf("the first %d of %d bytes: %v", n, len(v), err)
			}
		}
		if _, err := Parse(append(v, 0)); !fail.Is(err, fail.Corrupt) {
			t.Fatalf("one more byte: %v", err)
		}
	})
}

func TestInodesThatCannotBe(t *testing.T) {
	good := Inode{Mode: ModeFile | 0o644, Nlink: 1, Parent: Root}
	if _, err := Parse(good.Append(nil)); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Inode){
		"no type":       func(i *Inode) { i.Mode = 0o644 },
		"unknown type":  func(i *Inode) { i.Mode = 0o030644 },
		"beyond a type": func(i *Inode) { i.Mode |= 1 << 20 },
		"no links":      func(i *Inode) { i.Nlink = 0 },
		"no parent":     func(i *Inode) { i.Parent = 0 },
		"too long":      func(i *Inode) { i.Size = MaxSize + 1 },
	} {
		i := good
		change(&i)
		if _, err := Parse(i.Append(nil)); !fail.Is(err, fail.Corrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every field of an Inode has to survive its item, also those yet to come.
func TestInodeItemHasEveryField(t *testing.T) {
	for n := range reflect.TypeFor[Inode]().NumField() {
		i := Inode{Mode: ModeFile, Nlink: 1, Parent: Root, Ctime: 5, Mtime: 5, Atime: 5, Btime: 5}
		f := reflect.ValueOf(&i).Elem().Field(n)
		switch f.Kind() {
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Int64:
			f.SetInt(9)
		default:
			f.SetUint(f.Uint() + 1)
		}
		if got, err := Parse(i.Append(nil)); err != nil || got != i {
			t.Errorf("%s: %+v, %v", reflect.TypeFor[Inode]().Field(n).Name, got, err)
		}
	}
}

// The bytes are on disk: they must not change.
func TestInodeBytes(t *testing.T) {
	i := Inode{
		Mode: ModeFile | 0o644, Nlink: 1, UID: 1000, GID: 100, Size: 300, Blocks: 1, Rough: true,
		Ctime: 64, Mtime: 65, Atime: 63, Btime: 64, Parent: Root, Flags: FlagNodump, Rdev: 7, Verifier: 200,
	}
	const want = "\xa4\x83\x02\x01\xe8\x07\x64\xac\x02\x01" + "\x80\x01\x02\x01\x00" + "\x02\x03\x00\x07\xc8\x01"
	if got := string(i.Append(nil)); got != want {
		t.Errorf("got %x, not %x", got, want)
	}
	e := Entry{Ino: 300, Type: ModeDir >> 12, Name: "sub"}
	if got := string(e.append(nil)); got != "\xac\x02\x04sub" {
		t.Errorf("entry %x", got)
	}
	if got := string(appendHead(nil, "user.a", 300)); got != "\x06user.a\xac\x02" {
		t.Errorf("xattr %x", got)
	}
	p := placesOf(0x0706050403020100)
	for _, x := range []struct {
		key  tree.Key
		want string
	}{
		{Key(9), "9.1000000000000000"},
		{DataKey(9, 77), "9.4d"},
		{entryKey(9, p.entries("sub")+1), "9.297d131db47e2701"},
		{xattrKey(9, p.xattrs("user.a")+0x0203), "9.301d964295f50203"},
		{itemKey(9, targetItem, 3), "9.4000000000000003"},
		{xattrKey(9, 1<<60), "9.4000000000000000"}, // after the last
	} {
		if x.key.String() != x.want {
			t.Errorf("key %v, not %s", x.key, x.want)
		}
	}
}

// From the reference implementation of SipHash-2-4: key 00 01 ... 0f, message
// 00 01 ... n-1.
func TestSipHash(t *testing.T) {
	var message strings.Builder
	for i := range 64 {
		message.WriteByte(byte(i))
	}
	for n, want := range map[int]uint64{
		0: 0x726fdb47dd0e0e31, 1: 0x74f839c593dc67fd, 2: 0x0d6c8009d9a94f5a, 3: 0x85676696d7fb7e2d,
		4: 0xcf2794e0277187b7, 5: 0x18765564cd99a68d, 6: 0xcbc9466e58fee3ce, 7: 0xab0200f58b01d137,
		8: 0x93f5f5799a932462, 9: 0x9e0082df0ba9e4b0, 15: 0xa129ca6149be45e5, 16: 0x3f2acc7f57c29bdb,
		17: 0x699ae9f52cbe4794, 31: 0x32d892fad841c342, 32: 0x7127512f72f27cce, 47: 0xd06c98cd5c0975eb,
	} {
		if got := sipHash(0x0706050403020100, 0x0f0e0d0c0b0a0908, message.String()[:n]); got != want {
			t.Errorf("%d bytes: %#x, not %#x", n, got, want)
		}
	}
}

func TestHashesOfNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := placesOf(rapid.Uint64().Draw(t, "seed"))
		name := rapid.String().Draw(t, "name")
		e, x := p.entries(name), p.xattrs(name)
		if e < 256 || e > maxCookie-255 || e%256 != 0 {
			t.Fatalf("entries begin at cookie %#x", e)
		}
		if x < 1<<16 || x > maxCookie-65535 || x%65536 != 0 {
			t.Fatalf("xattrs begin at %#x", x)
		}
	})
	if (places{seed: 1, bits: 1}).hash(entryItem, 0, "x") != 1 {
		t.Error("a hash of no bits is not 1")
	}
}
