package engine

import (
	"encoding/binary"

	"varve/internal/fail"
	"varve/internal/inode"
	"varve/internal/oplog"
	"varve/internal/tree"
)

// CreateShare makes a share with an empty root directory of that mode and
// owner.
func (e *Engine) CreateShare(c Caller, name string, mode, uid, gid uint32) (Done, error) {
	v := shareValue{mode: mode & 0o7777, uid: uid, gid: gid}
	if err := binary.Read(e.opt.Rand, binary.LittleEndian, &v.seed); err != nil {
		return Done{}, err
	}
	op := &oplog.Op{Kind: oplog.CreateShare, Client: e.client(c), Name: name, Value: v.encode()}
	return e.change(op, false, func() (*prepared, error) {
		if err := e.free(name); err != nil {
			return nil, err
		}
		if len(e.datasets) >= maxDatasets {
			return nil, fail.New(fail.TooBig, "the pool has its %d datasets", maxDatasets)
		}
		op.Dataset = e.nextDataset
		return nil, nil
	})
}

// shareValue is the value of a CreateShare:
//
//	0   seed of the hashes of names u64
//	8   mode u32 | uid u32 | gid u32: of the root directory
//
// little endian.
type shareValue struct {
	seed           uint64
	mode, uid, gid uint32
}

func (v shareValue) encode() string {
	b := binary.LittleEndian.AppendUint64(nil, v.seed)
	for _, x := range []uint32{v.mode, v.uid, v.gid} {
		b = binary.LittleEndian.AppendUint32(b, x)
	}
	return string(b)
}

func parseShareValue(s string) (v shareValue, err error) {
	b := []byte(s)
	if len(b) != 20 {
		return v, fail.New(fail.Corrupt, "a share is made with %d bytes where 20 belong", len(b))
	}
	le := binary.LittleEndian
	return shareValue{le.Uint64(b), le.Uint32(b[8:]), le.Uint32(b[12:]), le.Uint32(b[16:])}, nil
}

// emptyShare is what a new share begins with.
func (e *Engine) emptyShare(op *oplog.Op) (*image, error) {
	v, err := parseShareValue(op.Value)
	if err != nil {
		return nil, err
	}
	im := &image{figures: figures{inodes: 1}, tree: e.cache.Open(tree.Ref{}), seed: v.seed}
	inode.Make(im.tree, v.mode, v.uid, v.gid, op.Time)
	return im, nil
}

// extentBlocks is how package inode counts the blocks of an extent.
func extentBlocks(v []byte) (uint64, error) {
	x, err := parseExtent(tree.Key{}, v)
	return x.count, err
}

// share verifies the names, links and counts of a share's head.
func (c *checker) share(r rootToCheck) error {
	if !r.whole || r.d.kind != shareKind {
		return nil
	}
	found, err := inode.Check(c.ctx, r.vers.Blocking(), r.seed, extentBlocks, func(err error) { c.damage(r.name, err) })
	if unreadable(err) {
		return nil // the walk of its nodes has told
	}
	if err == nil && found.Inodes != uint64(r.inodes) {
		c.damage(r.name, fail.New(fail.Corrupt, "%d inodes where %d are counted", found.Inodes, r.inodes))
	}
	return err
}
