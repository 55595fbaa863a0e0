package plant

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"varve/internal/dump"
)

// Image is an image in memory with some bytes changed, which notes what is read of it.
// Not safe for concurrent use.
type Image struct {
	Base    []byte
	Patches map[int64]byte // by offset, instead of the base's
	Read    [][2]int64     // what was read, if Note
	Note    bool
}

// ReadAt implements io.ReaderAt.
func (m *Image) ReadAt(p []byte, at int64) (int, error) {
	if at < 0 || at >= int64(len(m.Base)) {
		return 0, io.EOF
	}
	n := copy(p, m.Base[at:])
	if m.Note {
		m.Read = append(m.Read, [2]int64{at, at + int64(n)})
	}
	for o, b := range m.Patches {
		if o >= at && o < at+int64(n) {
			p[o-at] = b
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Walked is what Walk found: a hash of everything but the contents of files and where
// those lie, and a hash of the contents.
type Walked struct{ Tree, Contents [32]byte }

// Walk reads all that a source has, at most most bytes of each file. It fails if the
// source goes on longer than its image can justify.
func Walk(src dump.Source, most uint64) (Walked, error) {
	ctx := context.Background()
	tree, contents := sha256.New(), sha256.New()
	var failed error
	note := func(err error) { failed = errors.Join(failed, err) }
	last := uint32(0)
	err := src.Scan(ctx, nil, func(i *dump.Inode) error {
		if i.Ino <= last || i.Ino > src.Info().MaxIno {
			return fmt.Errorf("inode %d after %d, of %d", i.Ino, last, src.Info().MaxIno)
		}
		last = i.Ino
		j := *i
		j.Raw = nil
		fmt.Fprintf(tree, "%+v\n", j)
		xattrs, err := src.Xattrs(ctx, i)
		note(err)
		fmt.Fprintf(tree, "%q\n", xattrs)
		switch i.Mode & dump.ModeType {
		case dump.ModeDir:
			note(src.Entries(ctx, i, func(e dump.Entry) error { fmt.Fprintf(tree, "%+v\n", e); return nil }))
			parent, err := src.Parent(ctx, i)
			note(err)
			fmt.Fprintf(tree, "parent %d\n", parent)
		case dump.ModeLink:
			target, err := src.Target(ctx, i)
			note(err)
			fmt.Fprintf(contents, "%q\n", target)
		case dump.ModeFile:
			note(walkFile(ctx, src, i, most, tree, contents))
		}
		return nil
	})
	return Walked{[32]byte(tree.Sum(nil)), [32]byte(contents.Sum(nil))}, errors.Join(failed, err)
}

func walkFile(ctx context.Context, src dump.Source, i *dump.Inode, most uint64, tree, contents io.Writer) error {
	f, err := src.Open(ctx, i)
	if err != nil {
		return err
	}
	for at := uint64(0); at < i.Size; {
		from, to, err := f.Next(ctx, at)
		if err != nil {
			return err
		}
		if from < at || to < from || to > i.Size || from == to && from != i.Size {
			panic(fmt.Sprintf("inode %d of %d bytes: data in [%d, %d) after %d", i.Ino, i.Size, from, to, at))
		}
		fmt.Fprintf(tree, "%d-%d\n", from, to)
		if n := min(most, to-from); n > 0 {
			p := make([]byte, n)
			if err := f.Read(ctx, p, from); err != nil {
				return err
			}
			contents.Write(p)
			most -= n
		}
		at = to
		if from == to {
			break
		}
	}
	return nil
}
