package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/when"
)

func (a *app) debug() *cobra.Command {
	return group(&cobra.Command{
		Use:   "debug",
		Short: "Look at the log and the trees as they lie on the disk",
		Long: `Look at the log and the trees as they lie on the disk. The log is made of
numbered segments; a segment holds frames, and those hold operations, payload
and tree nodes. A place is SEGMENT/BLOCK, in blocks of 4096 bytes.`,
		Example: `  varve debug segments
  varve debug tree disk0`,
	}, a.debugSegments(), a.debugFrames(), a.debugOps(), a.debugTree(), a.debugNode())
}

func (a *app) debugSegments() *cobra.Command {
	return &cobra.Command{
		Use:   "segments",
		Short: "List the segments of the log",
		Long: `List the segments of the log, and the bytes of each kind that the last
checkpoint counted in them.

Columns for -o: number, allocated, data, nodes, deaths, records, first, last,
from, to. FIRST and LAST are operations, FROM and TO their times.`,
		Example: "  varve debug segments",
		Args:    need(),
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := a.client().Segments(c.Context())
			if err != nil {
				return err
			}
			if a.json {
				return a.writeJSON(map[string]any{"segments": list})
			}
			type seg = engine.SegmentInfo
			size := func(name string, value func(seg) int64) column[seg] {
				return column[seg]{name, true, func(s seg) string { return a.size(uint64(max(0, value(s)))) }}
			}
			return table(a, []column[seg]{
				{"number", true, func(s seg) string { return number(s.Number) }},
				size("allocated", func(s seg) int64 { return s.Allocated }),
				size("data", func(s seg) int64 { return s.Data }),
				size("nodes", func(s seg) int64 { return s.Nodes }),
				size("deaths", func(s seg) int64 { return s.Deaths }),
				size("records", func(s seg) int64 { return s.Records }),
				{"first", true, func(s seg) string { return number(s.FirstLSN) }},
				{"last", true, func(s seg) string { return number(s.LastLSN) }},
				{"from", false, func(s seg) string { return a.time(s.FirstTime) }},
				{"to", false, func(s seg) string { return a.time(s.LastTime) }},
			}, nil, list)
		},
	}
}

func (a *app) debugFrames() *cobra.Command {
	return &cobra.Command{
		Use:   "frames SEGMENT",
		Short: "List the frames of a segment",
		Long: `List everything in a segment that is or claims to be a frame of this pool, damaged
ones too. Behind the last frame that counts there may be what a crash left.

Columns for -o: block, seq, kind, time, lsn, ops, blocks, durable, damage. DURABLE
is the last frame that was known to be durable when this one was written.`,
		Example:           "  varve debug frames 2",
		Args:              need("SEGMENT"),
		ValidArgsFunction: a.completeArgs(a.segments),
		RunE: func(c *cobra.Command, args []string) error {
			n, err := parseSegment(args[0])
			if err != nil {
				return err
			}
			type frame = engine.FrameInfo
			count := func(n uint64) string { return strconv.FormatUint(n, 10) }
			out, err := newRows(a, []column[frame]{
				{"block", true, func(f frame) string { return count(uint64(f.Block)) }},
				{"seq", true, func(f frame) string { return number(f.Seq) }},
				{"kind", false, func(f frame) string { return f.Kind }},
				{"time", false, func(f frame) string { return a.time(f.Time) }},
				{"lsn", true, func(f frame) string { return number(f.FirstLSN) }},
				{"ops", true, func(f frame) string { return count(uint64(f.Ops)) }},
				{"blocks", true, func(f frame) string { return count(uint64(f.Blocks)) }},
				{"durable", true, func(f frame) string { return number(f.Through) }},
				{"damage", false, func(f frame) string { return f.Damage }},
			}, nil)
			if err != nil {
				return err
			}
			return out.end(a.client().Frames(c.Context(), n, out.add))
		},
	}
}

func (a *app) debugOps() *cobra.Command {
	return &cobra.Command{
		Use:   "ops SEGMENT",
		Short: "List the operations whose records a segment holds",
		Long: `List the operations whose records a segment holds, with where record and payload
are. Frames that are damaged are left out.

Columns for -o: those of "varve log", block, extents. BLOCK is that of the frame;
EXTENTS are SEGMENT/BLOCK+COUNT of the payload.`,
		Example:           "  varve debug ops 2",
		Args:              need("SEGMENT"),
		ValidArgsFunction: a.completeArgs(a.segments),
		RunE: func(c *cobra.Command, args []string) error {
			n, err := parseSegment(args[0])
			if err != nil {
				return err
			}
			type op = engine.OpDetail
			cols := append(opColumns(a, func(o op) engine.OpInfo { return o.OpInfo }),
				column[op]{"block", true, func(o op) string { return strconv.FormatUint(uint64(o.Block), 10) }},
				column[op]{"extents", false, func(o op) string { return strings.Join(o.Extents, " ") }})
			out, err := newRows(a, cols, []string{"block", "lsn", "op", "dataset", "offset", "length", "name", "at", "extents"})
			if err != nil {
				return err
			}
			return out.end(a.client().Ops(c.Context(), n, out.add))
		},
	}
}

func (a *app) debugTree() *cobra.Command {
	return &cobra.Command{
		Use:   "tree DATASET[@WHEN]",
		Short: "List the nodes of a dataset's tree",
		Long: `List the nodes of a dataset's tree as it was at a moment, parents before their
children. One that is in memory only has the place "-".

Columns for -o: place, birth, level, count, first. Leaves have level 0; FIRST is
the first key.`,
		Example: `  varve debug tree disk0
  varve debug tree disk0@monday`,
		Args:              need("DATASET[@WHEN]"),
		ValidArgsFunction: a.completeArgs(a.moments),
		RunE: func(c *cobra.Command, args []string) error {
			at, err := parseAddress(args[0])
			if err != nil {
				return err
			}
			w := when.Spec{Kind: when.Now}
			if at.When != nil {
				w = *at.When
			}
			type node = engine.NodeInfo
			out, err := newRows(a, []column[node]{
				{"place", false, func(n node) string { return n.Addr }},
				{"birth", true, func(n node) string { return number(n.Birth) }},
				{"level", true, func(n node) string { return strconv.Itoa(n.Level) }},
				{"count", true, func(n node) string { return strconv.Itoa(n.Count) }},
				{"first", false, func(n node) string { return n.First }},
			}, nil)
			if err != nil {
				return err
			}
			moments, err := a.client().Tree(c.Context(), at.Dataset, w, out.add)
			if err = out.end(err); err != nil {
				return err
			}
			a.echoAll(moments)
			return nil
		},
	}
}

func (a *app) debugNode() *cobra.Command {
	return &cobra.Command{
		Use:   "node SEGMENT/BLOCK",
		Short: "Dump a tree node",
		Long: `Dump the bytes of the tree node at a place, which "varve debug tree" lists, after
they were verified.`,
		Example: "  varve debug node 2/17",
		Args:    need("SEGMENT/BLOCK"),
		RunE: func(c *cobra.Command, args []string) error {
			seg, block, _ := strings.Cut(args[0], "/")
			n, err := parseSegment(seg)
			if err != nil {
				return err
			}
			b, err := strconv.ParseUint(block, 10, 32)
			if err != nil {
				return fail.New(fail.Invalid, "%q is no place of a node", args[0]).WithHint("write SEGMENT/BLOCK, such as 2/17")
			}
			node, err := a.client().Node(c.Context(), n, uint32(b))
			if err != nil {
				return err
			}
			if a.json {
				return a.writeJSON(node)
			}
			return a.write(fmt.Sprintf("%s\n%s", node.Addr, node.Dump))
		},
	}
}

func parseSegment(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 {
		return 0, fail.New(fail.Invalid, "%q is no number of a segment", s).WithHint("varve debug segments lists them")
	}
	return n, nil
}
