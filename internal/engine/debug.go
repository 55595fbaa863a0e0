package engine

import (
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"varve/internal/fail"
	"varve/internal/oplog"
	"varve/internal/segment"
	"varve/internal/segstore"
	"varve/internal/tree"
	"varve/internal/when"
)

// SegmentInfo describes a segment of the log. Bytes by kind are as of the last
// checkpoint.
type SegmentInfo struct {
	Number    uint64    `json:"number"`
	Allocated int64     `json:"allocated"` // bytes on disk
	Data      int64     `json:"data"`
	Nodes     int64     `json:"nodes"`
	Deaths    int64     `json:"deaths"`
	Records   int64     `json:"records"` // headers, summaries, super roots
	FirstLSN  uint64    `json:"first_lsn,omitempty"`
	LastLSN   uint64    `json:"last_lsn,omitempty"`
	FirstTime time.Time `json:"first_time"`
	LastTime  time.Time `json:"last_time"`
}

// Segments lists the segments of the log.
func (e *Engine) Segments() ([]SegmentInfo, error) {
	list, err := e.store.List()
	if err != nil {
		return nil, err
	}
	out := make([]SegmentInfo, 0, len(list))
	for _, s := range list {
		out = append(out, SegmentInfo{Number: s.Number, Allocated: s.Allocated})
	}
	e.ckpt.Lock()
	defer e.ckpt.Unlock()
	for i := range out {
		s := &out[i]
		v, ok, err := e.pool.Get(itemKey(tagSegment, 0, s.Number), nil)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		u, err := parseUsage(s.Number, v)
		if err != nil {
			return nil, err
		}
		s.Data, s.Nodes, s.Deaths, s.Records = u.Data, u.Node, u.Deaths, u.Record
		s.FirstLSN, s.LastLSN = u.FirstLSN, u.LastLSN
		s.FirstTime, s.LastTime = time.Unix(0, u.FirstTime).UTC(), time.Unix(0, u.LastTime).UTC()
	}
	return out, nil
}

// FrameInfo describes a frame, or what is wrong with it.
type FrameInfo struct {
	Segment  uint64    `json:"segment"`
	Block    uint32    `json:"block"`
	Seq      uint64    `json:"seq"`
	Kind     string    `json:"kind"`
	Time     time.Time `json:"time"`
	FirstLSN uint64    `json:"first_lsn"`
	Ops      int       `json:"ops"`
	Blocks   int       `json:"blocks"`          // of payload
	Through  uint64    `json:"durable_through"` // sequence
	Damage   string    `json:"damage,omitempty"`
}

// Frames visits the frames of one segment, damaged ones too.
func (e *Engine) Frames(seg uint64, fn func(FrameInfo) error) error {
	if err := e.hasSegment(seg); err != nil {
		return err
	}
	return segment.Inspect(e.store, e.super.pool, seg, func(f segment.Found) error {
		x := f.Frame
		i := FrameInfo{
			Segment: seg, Block: x.Position.Addr.Block(), Seq: x.Position.Seq, Kind: x.Kind.String(),
			Time: time.Unix(0, x.Time).UTC(), FirstLSN: x.FirstLSN, Ops: x.NumOps, Blocks: x.Blocks, Through: x.Through,
		}
		if f.Err != nil {
			i.Damage = f.Err.Error()
		}
		return fn(i)
	})
}

// hasSegment brings the log's memory to the store and checks that the segment
// is there.
func (e *Engine) hasSegment(seg uint64) error {
	list, err := e.store.List()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(s segstore.Segment) bool { return s.Number == seg }) {
		return fail.New(fail.NotFound, "no segment %d", seg).WithHint("varve debug segments shows what there is")
	}
	return e.storeHas(e.log.LastLSN())
}

// OpDetail is an operation with where its record and payload are.
type OpDetail struct {
	OpInfo
	Segment uint64   `json:"segment"` // of the frame that holds the record
	Block   uint32   `json:"block"`
	Extents []string `json:"extents,omitempty"` // "segment/block+count"
}

// Ops visits every operation that the frames of one segment hold.
func (e *Engine) Ops(seg uint64, fn func(OpDetail) error) error {
	if err := e.hasSegment(seg); err != nil {
		return err
	}
	var dec oplog.Decoder
	var op oplog.Op
	return segment.Inspect(e.store, e.super.pool, seg, func(f segment.Found) error {
		if f.Err != nil {
			return nil
		}
		dec.Reset()
		for lsn, rec := range f.Frame.Records() {
			if err := dec.Decode(rec, lsn, &op); err != nil {
				return err
			}
			a := f.Frame.Position.Addr
			d := OpDetail{OpInfo: Describe(&op), Segment: a.Segment(), Block: a.Block()}
			for _, x := range op.Extents {
				d.Extents = append(d.Extents, fmt.Sprintf("%v+%d", segment.Addr(x.Addr), len(x.CRC)))
			}
			if err := fn(d); err != nil {
				return err
			}
		}
		return nil
	})
}

// NodeInfo describes a tree node.
type NodeInfo struct {
	Addr  string `json:"addr"` // "segment/block", "-" in memory only
	Birth uint64 `json:"birth"`
	Level int    `json:"level"` // 0: a leaf
	Count int    `json:"count"`
	First string `json:"first"` // its first key
}

func nodeInfo(n tree.Node) NodeInfo {
	i := NodeInfo{Addr: "-", Birth: n.Ref.Birth, Level: n.Level, Count: n.Count, First: n.First.String()}
	if n.Ref.Addr != 0 {
		i.Addr = segment.Addr(n.Ref.Addr).String()
	}
	return i
}

// Tree visits the nodes of a dataset's tree at a moment, parents first.
func (e *Engine) Tree(dataset string, w when.Spec, fn func(NodeInfo) error) error {
	m, err := e.Resolve(dataset, w)
	if err != nil {
		return err
	}
	v, err := e.OpenView(m)
	if err != nil {
		return err
	}
	defer v.Close()
	return tree.Walk(v.vers, tree.Key{}, tree.MaxKey, func(n tree.Node) error { return fn(nodeInfo(n)) }, nil)
}

// Node returns the bytes of the tree node at an address, as a hex dump, after
// checking them against the log's checksum of that block.
func (e *Engine) Node(seg uint64, block uint32) (string, error) {
	a := segment.MakeAddr(seg, block)
	page := make([]byte, BlockSize)
	if err := e.readBlocks(a, page); err != nil {
		return "", err
	}
	found := false
	err := segment.Inspect(e.store, e.super.pool, seg, func(f segment.Found) error {
		if f.Err != nil || a < f.Frame.PayloadAddr(0) || a >= f.Frame.PayloadAddr(f.Frame.Blocks) {
			return nil
		}
		i := int(a - f.Frame.PayloadAddr(0))
		for r := range f.Frame.Runs() {
			if r.Kind == segment.Node && i >= r.First && i < r.First+r.N {
				found = true
				if f.Frame.CRC(i) != segment.Checksum(page) {
					return fail.New(fail.Corrupt, "node %v: checksum mismatch", a)
				}
			}
		}
		return nil
	})
	if err == nil && !found {
		err = fail.New(fail.NotFound, "%v is no tree node", a).WithHint("varve debug tree shows where they are")
	}
	return hex.Dump(page), err
}
