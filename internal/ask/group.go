package ask

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"varve/internal/fail"
	"varve/internal/files"
	"varve/internal/oplog"
)

// Group is what the operations have in common that are counted together.
type Group struct {
	Key      files.Text `json:"key" doc:"The client without its port, the path or minute; empty: the server itself, or no path"`
	Ops      uint64     `json:"ops"`
	Bytes    uint64     `json:"bytes" doc:"Written or trimmed"`
	FirstLSN uint64     `json:"first_lsn"`
	LastLSN  uint64     `json:"last_lsn"`
	First    time.Time  `json:"first"`
	Last     time.Time  `json:"last"`
	Rest     bool       `json:"rest,omitempty" doc:"All further groups together: there were too many"`
}

// GroupKeys are the words for what operations can be grouped by.
var GroupKeys = []string{"client", "path", "minute"}

// maxGroups bounds how many groups are told apart.
const maxGroups = 200_000

// Groups counts the operations that are wanted by client, path or minute: the
// minutes in order, others by bytes and then operations, the most first. A
// rename counts for its new path.
func (a *Asker) Groups(ctx context.Context, q Query, by string) ([]Group, error) {
	var key func(op *oplog.Op, path, path2 string) string
	switch by {
	case "client":
		key = func(op *oplog.Op, _, _ string) string { return withoutPort(clientName(op)) }
	case "path":
		key = func(_ *oplog.Op, path, path2 string) string { return cmp.Or(path2, path) }
	case "minute":
		key = func(op *oplog.Op, _, _ string) string {
			return time.Unix(0, op.Time).UTC().Truncate(time.Minute).Format(time.RFC3339)
		}
	default:
		return nil, fail.New(fail.Invalid, "operations cannot be grouped by %.40q", by).WithHint("group by client, path or minute")
	}
	if q.Follow {
		return nil, fail.New(fail.Invalid, "what is followed cannot be grouped").WithHint("leave out -f or --group")
	}
	groups := make(map[string]*Group)
	err := a.visit(ctx, q, false, func(op *oplog.Op, path, path2 string) error {
		k := key(op, path, path2)
		g := groups[k]
		if g == nil {
			rest := len(groups) >= maxGroups
			if rest {
				k = "\x00" // no key has that
			}
			if g = groups[k]; g == nil {
				g = &Group{Key: files.Text(k), Rest: rest, FirstLSN: op.LSN, First: time.Unix(0, op.Time).UTC()}
				groups[k] = g
			}
		}
		g.Ops++
		g.Bytes += op.Bytes()
		g.LastLSN, g.Last = op.LSN, time.Unix(0, op.Time).UTC()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return sorted(groups, by), nil
}

func clientName(op *oplog.Op) string {
	if op.Client == nil {
		return ""
	}
	return op.Client.Name
}

// withoutPort leaves out the port of a client that has an address: each of its
// connections has another one.
func withoutPort(client string) string {
	proto, address, _ := strings.Cut(client, " ")
	if a, err := netip.ParseAddrPort(address); err == nil {
		return proto + " " + a.Addr().String()
	}
	return client
}

func sorted(groups map[string]*Group, by string) []Group {
	out := make([]Group, 0, len(groups))
	for _, g := range groups {
		if g.Rest {
			g.Key = ""
		}
		out = append(out, *g)
	}
	slices.SortFunc(out, func(a, b Group) int {
		switch {
		case a.Rest != b.Rest && a.Rest:
			return 1
		case a.Rest != b.Rest:
			return -1
		case by == "minute":
			return cmp.Compare(a.Key, b.Key)
		}
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(b.Ops, a.Ops), cmp.Compare(a.Key, b.Key))
	})
	return out
}
