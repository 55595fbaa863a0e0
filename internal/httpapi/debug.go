package httpapi

import (
	"context"
	"fmt"

	"varve/internal/engine"
)

// BySegment is exported because huma fills no others that are embedded.
type BySegment struct {
	Segment uint64 `path:"segment" minimum:"1" maximum:"17592186044415" doc:"Its number"`
}

// NodeDump is a tree node, for people.
type NodeDump struct {
	Addr string `json:"addr"` // "segment/block"
	Dump string `json:"dump"` // hexadecimal
}

// debug shows how the log and the trees lie on the disk.
func (s *Server) debug() {
	add(s, "GET", "/v1/segments", "list-segments", "The segments of the log",
		func(context.Context, *none) ([]engine.SegmentInfo, error) {
			list, err := s.pool.Segments()
			return orEmpty(list), err
		})
	addItems(s, "/v1/segments/{segment}/frames", "list-frames", "The frames of a segment, damaged ones too",
		func(_ context.Context, in *BySegment, item func(engine.FrameInfo) error) ([]engine.Moment, error) {
			return nil, s.pool.Frames(in.Segment, item)
		})
	addItems(s, "/v1/segments/{segment}/ops", "list-ops", "The operations whose records a segment holds",
		func(_ context.Context, in *BySegment, item func(engine.OpDetail) error) ([]engine.Moment, error) {
			return nil, s.pool.Ops(in.Segment, item)
		})
	add(s, "GET", "/v1/segments/{segment}/nodes/{block}", "show-node", "The bytes of a tree node",
		func(_ context.Context, in *struct {
			BySegment
			Block uint64 `path:"block" maximum:"1048575" doc:"Where it is in the segment"`
		}) (NodeDump, error) {
			dump, err := s.pool.Node(in.Segment, uint32(in.Block))
			return NodeDump{Addr: fmt.Sprintf("%d/%d", in.Segment, in.Block), Dump: dump}, err
		})
	type treeInput struct {
		ByName
		When string `query:"when" default:"@now"`
	}
	addItems(s, "/v1/datasets/{name}/tree", "show-tree", "The nodes of a dataset's tree at a moment, parents first",
		func(_ context.Context, in *treeInput, item func(engine.NodeInfo) error) ([]engine.Moment, error) {
			w, m, err := s.resolve(in.Name, in.When)
			if err != nil {
				return nil, err
			}
			return []engine.Moment{m}, s.pool.Tree(in.Name, w, item)
		})
}
