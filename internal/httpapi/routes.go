package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/when"
)

// reply and none are what huma wants around a body and in place of an input.
type reply[T any] struct{ Body T }
type none struct{}

// ByName is exported because huma fills no others that are embedded.
type ByName struct {
	Name string `path:"name" doc:"The dataset"`
}

// BySnapshot is exported for the same reason.
type BySnapshot struct {
	ByName
	Snapshot string `path:"snapshot"`
}

func (s *Server) routes() {
	s.reads()
	s.changes()
	s.properties()
	s.snapshots()
	s.holds()
	s.history()
	s.shares()
	s.dumpRoutes()
	s.retention()
	s.debug()
	s.check()
	s.redos()
}

func (s *Server) reads() {
	add(s, "GET", "/v1/status", "status", "State of the pool and of its server",
		func(context.Context, *none) (ServerStatus, error) {
			return ServerStatus{Pool: s.pool.Status(), Server: s.info()}, nil
		})
	add(s, "GET", "/v1/datasets", "list-datasets", "All datasets, or the destroyed ones that can come back",
		func(_ context.Context, in *struct {
			Destroyed bool `query:"destroyed"`
		}) ([]engine.DatasetInfo, error) {
			return orEmpty(s.pool.Datasets(in.Destroyed)), nil
		})
	add(s, "GET", "/v1/datasets/{name}", "show-dataset", "One dataset",
		func(_ context.Context, in *ByName) (engine.DatasetInfo, error) {
			return s.pool.Dataset(in.Name)
		})
	add(s, "GET", "/v1/datasets/{name}/moment", "resolve", "The moment that a WHEN names",
		func(_ context.Context, in *struct {
			ByName
			When string `query:"when" required:"true" example:"@10m-ago" doc:"A time without a zone is in the server's"`
		}) (engine.Moment, error) {
			w, err := when.Parse(in.When, time.Local)
			if err != nil {
				return engine.Moment{}, err
			}
			return s.pool.Resolve(in.Name, w)
		})
}

func (s *Server) changes() {
	add(s, "POST", "/v1/volumes", "create-volume", "Make a volume: a disk, all zeros, thin",
		func(ctx context.Context, in *struct {
			Body struct {
				Name string `json:"name"`
				Size uint64 `json:"size" doc:"Bytes"`
			}
		}) (engine.Done, error) {
			return s.pool.CreateVolume(callerFrom(ctx), in.Body.Name, in.Body.Size)
		})
	add(s, "DELETE", "/v1/datasets/{name}", "destroy-dataset", "Destroy a dataset; with now it cannot come back",
		func(ctx context.Context, in *struct {
			ByName
			Now bool `query:"now" doc:"Free it at once"`
		}) (engine.Done, error) {
			return s.pool.Destroy(callerFrom(ctx), in.Name, in.Now)
		})
	add(s, "POST", "/v1/datasets/{name}/rename", "rename-dataset", "Give a dataset another name",
		func(ctx context.Context, in *struct {
			ByName
			Body struct {
				Name string `json:"name"`
			}
		}) (engine.Done, error) {
			return s.pool.Rename(callerFrom(ctx), in.Name, in.Body.Name)
		})
	add(s, "POST", "/v1/datasets/{name}/undestroy", "undestroy-dataset", "Bring a destroyed dataset back",
		func(ctx context.Context, in *struct {
			ByName
			Body struct {
				Name string `json:"name,omitempty" doc:"A new name; empty for its old one"`
			}
		}) (engine.Done, error) {
			return s.pool.Undestroy(callerFrom(ctx), in.Name, in.Body.Name)
		})
	add(s, "POST", "/v1/datasets/{name}/clone", "clone", "Make a new dataset whose line forks from a moment of this one",
		func(ctx context.Context, in *struct {
			ByName
			Body struct {
				When string `json:"when" example:"@10m-ago"`
				Name string `json:"name" doc:"Of the new dataset"`

				Properties map[string]string `json:"properties,omitempty" doc:"Of the new dataset: such as budget and on-full"`
			}
		}) (engine.Done, error) {
			w, err := when.Parse(in.Body.When, time.Local)
			if err != nil {
				return engine.Done{}, err
			}
			return s.pool.Clone(callerFrom(ctx), in.Name, w, in.Body.Name, engine.Also{Properties: in.Body.Properties})
		})
	add(s, "POST", "/v1/datasets/{name}/rollback", "rollback", "Make the head equal to a moment; later moments stay history",
		func(ctx context.Context, in *struct {
			ByName
			Body struct {
				When  string `json:"when" example:"@10m-ago"`
				Force bool   `json:"force,omitempty" doc:"Disconnect writers first"`
			}
		}) (engine.Done, error) {
			w, err := when.Parse(in.Body.When, time.Local)
			if err != nil {
				return engine.Done{}, err
			}
			return s.pool.Rollback(callerFrom(ctx), in.Name, w, in.Body.Force)
		})
}

func (s *Server) properties() {
	add(s, "PATCH", "/v1/pool", "set-pool", "Change how much the pool may occupy",
		func(_ context.Context, in *struct {
			Body struct {
				Capacity uint64 `json:"capacity" doc:"Bytes; 0 for the default: 80 % of what would be free without the pool"`
			}
		}) (engine.CapacityDone, error) {
			return s.pool.SetCapacity(in.Body.Capacity)
		})
	add(s, "POST", "/v1/shares", "create-share", "Make a share: an empty directory",
		func(ctx context.Context, in *struct {
			Body struct {
				Name string  `json:"name"`
				Mode *uint32 `json:"mode,omitempty" maximum:"4095" doc:"Of the root directory; 493, which is 0755, unless given"`
				UID  *uint32 `json:"uid,omitempty" doc:"Its owner; the caller unless given"`
				GID  *uint32 `json:"gid,omitempty"`
			}
		}) (engine.Done, error) {
			who, mode := whoCalls(ctx), uint32(0o755)
			for _, x := range []struct{ given, to *uint32 }{{in.Body.Mode, &mode}, {in.Body.UID, &who.uid}, {in.Body.GID, &who.gid}} {
				if x.given != nil {
					*x.to = *x.given
				}
			}
			return s.pool.CreateShare(who.Caller, in.Body.Name, mode, who.uid, who.gid)
		})
	add(s, "PATCH", "/v1/datasets/{name}", "set", "Grow a volume, or set a property",
		func(ctx context.Context, in *struct {
			ByName
			Body struct {
				Size     uint64 `json:"size,omitempty" doc:"Bytes of a volume; never fewer than there are"`
				Property string `json:"property,omitempty" example:"clients"`
				Value    string `json:"value,omitempty" doc:"Empty: the property's default holds again"`
			}
		}) (engine.Done, error) {
			b := in.Body
			switch {
			case b.Property != "" && b.Size == 0:
				return s.pool.Set(callerFrom(ctx), in.Name, b.Property, b.Value)
			case b.Property != "" || b.Value != "":
				return engine.Done{}, fail.New(fail.Invalid, "a size and a property cannot be set in one request")
			}
			return s.pool.Resize(callerFrom(ctx), in.Name, b.Size)
		})
}

func (s *Server) snapshots() {
	add(s, "GET", "/v1/snapshots", "list-snapshots", "Snapshots of one dataset or of all",
		func(_ context.Context, in *struct {
			Dataset string `query:"dataset" doc:"Empty for all"`
		}) ([]engine.SnapshotInfo, error) {
			list, err := s.pool.Snapshots(in.Dataset)
			return orEmpty(list), err
		})
	add(s, "POST", "/v1/snapshots", "snapshot-all", "Name the present moment of every dataset: one moment",
		func(ctx context.Context, in *struct {
			Body struct {
				Name    string `json:"name" doc:"Of the snapshots"`
				Expires string `json:"expires,omitempty" doc:"When they go by themselves: never unless given, an age, or a time"`
			}
		}) (engine.Done, error) {
			return s.snapshotAll(ctx, in.Body.Name, in.Body.Expires)
		})
	add(s, "POST", "/v1/datasets/{name}/snapshots", "snapshot", "Name a moment of a dataset and keep it",
		func(ctx context.Context, in *struct {
			ByName
			Body struct {
				Name    string `json:"name" doc:"Of the snapshot"`
				When    string `json:"when,omitempty" doc:"A past moment; empty for the present one"`
				Expires string `json:"expires,omitempty" doc:"When it goes by itself: never unless given, an age, or a time"`
			}
		}) (engine.Done, error) {
			w, err := optional(in.Body.When)
			if err != nil {
				return engine.Done{}, err
			}
			return s.snapshot(ctx, in.Name, in.Body.Name, w, in.Body.Expires)
		})
	add(s, "DELETE", "/v1/datasets/{name}/snapshots/{snapshot}", "destroy-snapshot", "Destroy a snapshot",
		func(ctx context.Context, in *BySnapshot) (engine.Done, error) {
			return s.pool.DestroySnapshot(callerFrom(ctx), in.Name, in.Snapshot)
		})
}

func (s *Server) holds() {
	add(s, "POST", "/v1/datasets/{name}/snapshots/{snapshot}/holds", "hold", "Forbid destroying a snapshot, by a tag",
		func(ctx context.Context, in *struct {
			BySnapshot
			Body struct {
				Tag string `json:"tag"`
			}
		}) (engine.Done, error) {
			return s.pool.Hold(callerFrom(ctx), in.Name, in.Snapshot, in.Body.Tag)
		})
	add(s, "DELETE", "/v1/datasets/{name}/snapshots/{snapshot}/holds/{tag}", "release", "Take a tag off a snapshot",
		func(ctx context.Context, in *struct {
			BySnapshot
			Tag string `path:"tag"`
		}) (engine.Done, error) {
			return s.pool.Release(callerFrom(ctx), in.Name, in.Snapshot, in.Tag)
		})
}

// optional reads a WHEN that may be missing.
func optional(s string) (*when.Spec, error) {
	if s == "" {
		return nil, nil
	}
	w, err := when.Parse(s, time.Local)
	return &w, err
}

// orEmpty makes a list that is empty arrive as [] and not as null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// add registers one operation. A change is logged with its caller, whether it
// succeeded or not.
func add[I, O any](s *Server, method, path, id, summary string, do func(context.Context, *I) (O, error)) {
	addQuery(s, method, path, id, summary, func(ctx context.Context, in *I) (O, error) {
		out, err := do(ctx, in)
		if method != http.MethodGet {
			s.logChange(ctx, id, *in, err)
		}
		return out, err
	})
}

// addQuery registers one operation that is no change, whatever its method.
func addQuery[I, O any](s *Server, method, path, id, summary string, do func(context.Context, *I) (O, error)) {
	op := huma.Operation{Method: method, Path: path, OperationID: id, Summary: summary}
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*reply[O], error) {
		out, err := do(ctx, in)
		if err != nil {
			return nil, problem(err)
		}
		return &reply[O]{Body: out}, nil
	})
}
