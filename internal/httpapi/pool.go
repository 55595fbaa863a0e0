// Package httpapi is the control plane: an HTTP API on the pool's unix
// socket, described by its own /openapi.json, and the Go client that the
// command line uses. It judges nothing itself; it carries words to the engine
// and answers back.
//
//	GET    /v1/status
//	PATCH  /v1/pool                          {capacity}
//	GET    /v1/datasets                      ?destroyed=
//	GET    /v1/datasets/{name}
//	PATCH  /v1/datasets/{name}               {size} or {property, value}
//	DELETE /v1/datasets/{name}               ?now=
//	POST   /v1/datasets/{name}/rename        {name}
//	POST   /v1/datasets/{name}/undestroy     {name}
//	POST   /v1/datasets/{name}/clone         {when, name, properties}
//	POST   /v1/datasets/{name}/rollback      {when, force}
//	POST   /v1/datasets/{name}/undo          {since, until, filter, ...}    a stream of progress
//	POST   /v1/datasets/{name}/replay        {from, to, only, exclude, name, ...}  a stream of progress
//	POST   /v1/datasets/{name}/prune         {before, dry_run}
//	POST   /v1/datasets/{name}/reclaimable   {snapshots}
//	GET    /v1/datasets/{name}/moment        ?when=
//	GET    /v1/datasets/{name}/diff          ?from=&to=                     a stream of changes of a volume
//	GET    /v1/datasets/{name}/files         ?path=&when=&self=             a stream of entries
//	GET    /v1/datasets/{name}/files/bytes   ?path=&when=                   the bytes of a file
//	GET    /v1/datasets/{name}/files/diff    ?path=&from=&to=               a stream of differences
//	GET    /v1/datasets/{name}/files/versions ?path=&all=                   a stream of versions
//	GET    /v1/datasets/{name}/files/deleted ?path=                         a stream of names
//	POST   /v1/datasets/{name}/replay-from   ?at=&new=                      a file of operations as the body
//	POST   /v1/datasets/{name}/files/copy    {path, when, to, to_path, force}  a stream of progress
//	POST   /v1/datasets/{name}/files/rollback {path, when}                  a stream of progress
//	POST   /v1/datasets/{name}/dumps         {when, level, ...}             an archive
//	POST   /v1/datasets/{name}/dumps/plan    {when, level, ...}
//	POST   /v1/datasets/{name}/dumps/{snapshot}/keep
//	POST   /v1/datasets/{name}/files/restore-archive ?op=&path=&want=&volume=...   an archive -> messages
//	DELETE /v1/datasets/{name}/dumps/{snapshot}
//	GET    /v1/dumps                         ?dataset=
//	GET    /v1/datasets/{name}/tree          ?when=                         a stream of nodes
//	POST   /v1/datasets/{name}/snapshots     {name, when, expires}
//	PATCH  /v1/datasets/{name}/snapshots/{snapshot} {expires}
//	DELETE /v1/datasets/{name}/snapshots/{snapshot}
//	POST   /v1/datasets/{name}/snapshots/{snapshot}/holds {tag}
//	DELETE /v1/datasets/{name}/snapshots/{snapshot}/holds/{tag}
//	GET    /v1/snapshots                     ?dataset=
//	POST   /v1/snapshots                     {name, expires}                of all datasets
//	GET    /v1/log                           ?dataset=&since=&until=&filter=&follow=  a stream of operations
//	GET    /v1/log/groups                    ?dataset=&since=&until=&filter=&by=      a stream of groups
//	GET    /v1/log/export                    ?dataset=&since=&until=&filter=          a file of operations
//	GET    /v1/checkpoints
//	GET    /v1/segments
//	GET    /v1/segments/{segment}/frames     a stream of frames
//	GET    /v1/segments/{segment}/ops        a stream of operations
//	GET    /v1/segments/{segment}/nodes/{block}
//	POST   /v1/shares                        {name, mode, uid, gid}
//	POST   /v1/volumes                       {name, size}
//	POST   /v1/check                         ?data=                         a stream of progress
//	POST   /v1/prune                         {before, dry_run}              of all datasets
//	POST   /v1/clean                                                        a stream of progress
//	POST   /v1/clock/confirm
//
// Streams are NDJSON; see stream.go.
package httpapi

import (
	"context"
	"io"
	"time"

	"varve/internal/ask"
	"varve/internal/engine"
	"varve/internal/when"
)

// Pool is what the API serves. All methods are safe for concurrent use;
// changes are durable when they return; errors are *fail.Error.
type Pool interface {
	Status() engine.Status
	Datasets(destroyed bool) []engine.DatasetInfo
	Dataset(name string) (engine.DatasetInfo, error)
	Snapshots(dataset string) ([]engine.SnapshotInfo, error) // "" = of all datasets

	CreateVolume(c engine.Caller, name string, size uint64) (engine.Done, error)          // size in bytes
	CreateShare(c engine.Caller, name string, mode, uid, gid uint32) (engine.Done, error) // of its root directory
	Set(c engine.Caller, dataset, property, value string) (engine.Done, error)            // value "": its default holds again
	Resize(c engine.Caller, dataset string, size uint64) (engine.Done, error)             // size in bytes; it only grows
	Snapshot(c engine.Caller, dataset, name string, also ...engine.Also) (engine.Done, error)
	SnapshotAt(c engine.Caller, dataset, name string, w when.Spec, also ...engine.Also) (engine.Done, error)
	SnapshotAll(c engine.Caller, name string, also ...engine.Also) (engine.Done, error)
	DestroySnapshot(c engine.Caller, dataset, name string) (engine.Done, error)
	Hold(c engine.Caller, dataset, snapshot, tag string) (engine.Done, error)
	Release(c engine.Caller, dataset, snapshot, tag string) (engine.Done, error)
	Clone(c engine.Caller, src string, w when.Spec, name string, also ...engine.Also) (engine.Done, error)
	Rollback(c engine.Caller, dataset string, w when.Spec, force bool) (engine.Done, error) // Busy names the writers
	Destroy(c engine.Caller, dataset string, now bool) (engine.Done, error)
	Undestroy(c engine.Caller, dataset, newName string) (engine.Done, error) // newName "" = its old one
	Rename(c engine.Caller, name, newName string) (engine.Done, error)

	SetCapacity(bytes uint64) (engine.CapacityDone, error)                                      // 0: the default
	Prune(c engine.Caller, dataset string, o engine.PruneOptions) ([]engine.PruneReport, error) // "" = all datasets
	Reclaimable(dataset string, snapshots []string) (bytes int64, err error)
	Expire(c engine.Caller, dataset, snapshot string, at time.Time) (engine.Done, error) // the zero time: never
	ConfirmClock(c engine.Caller) (engine.Done, error)
	// Clean reports progress as Check does.
	Clean(ctx context.Context, progress func(done, total int64)) (engine.CleanReport, error)

	Resolve(dataset string, w when.Spec) (engine.Moment, error)
	// Check verifies the pool, with data every payload byte too. Progress is
	// in the same unit as total and may be called from any goroutine, until
	// Check returns.
	Check(ctx context.Context, data bool, progress func(done, total uint64)) (engine.CheckReport, error)

	// What follows visits things in order, until fn's first error, which is
	// returned. fn may take its time.

	Diff(ctx context.Context, dataset string, from, to when.Spec, fn func(engine.Change) error) (a, b engine.Moment, err error)
	Checkpoints() []engine.CheckpointInfo
	Segments() ([]engine.SegmentInfo, error)
	Frames(segment uint64, fn func(engine.FrameInfo) error) error
	Ops(segment uint64, fn func(engine.OpDetail) error) error
	Tree(dataset string, w when.Spec, fn func(engine.NodeInfo) error) error
	Node(segment uint64, block uint32) (dump string, err error)
}

// Asker answers what the log says. All methods are safe for concurrent use.
type Asker interface {
	Ask(ctx context.Context, q ask.Query, fn func(*ask.Item) error) error
	Groups(ctx context.Context, q ask.Query, by string) ([]ask.Group, error)
	Export(ctx context.Context, q ask.Query, out io.Writer) (ask.Exported, error)
	Deleted(ctx context.Context, share, path string, fn func(*ask.Deleted) error) error
}

// ServerStatus is the answer of GET /v1/status.
type ServerStatus struct {
	Pool   engine.Status `json:"pool"`
	Server ServerInfo    `json:"server"`
}

// ServerInfo describes the process that serves the pool.
type ServerInfo struct {
	PID       int       `json:"pid"`
	Version   string    `json:"version"`
	Dir       string    `json:"dir"` // of the pool, absolute
	Addresses []Address `json:"addresses"`
	Clients   []Session `json:"clients"`
}

// Address is where a protocol listens.
type Address struct {
	Proto string `json:"proto"` // "nbd", "nfs", "http"
	Addr  string `json:"addr"`  // "127.0.0.1:10809", "unix:/srv/pool/nbd.sock"
	URI   string `json:"uri"`   // as clients write it; for NBD, of no export, and for NFS, of a share if there is one
}

// Session is a client connected to an export.
type Session struct {
	Proto    string    `json:"proto"`
	Addr     string    `json:"addr"`
	Export   string    `json:"export"`
	Since    time.Time `json:"since"`
	Requests uint64    `json:"requests"`
	Bytes    uint64    `json:"bytes"`
}
