package iscsi

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
	"varve/internal/scsi"
	"varve/internal/when"
)

// Prefix begins the names of targets; that of a volume follows.
const Prefix = "iqn.2026-11.varve:"

// Properties of a volume that say how it is served.
const (
	propTarget       = "iscsi-target"        // name of its target
	propLUN          = "iscsi-lun"           // number in it
	propClients      = "iscsi-clients"       // addresses and networks
	propInitiators   = "iscsi-initiators"    // patterns of names
	propUser         = "iscsi-user"          // of the initiator, for CHAP
	propSecret       = "iscsi-secret"        //
	propMutualUser   = "iscsi-mutual-user"   // ours
	propMutualSecret = "iscsi-mutual-secret" //
)

// Volumes is the Targets of a pool: every volume is LUN 0 of a target of its own,
// or as its properties say. Behind a target's name, ":WHEN" or "@WHEN" means the
// volumes as they were then, read-only. Times without a zone are of loc.
func Volumes(e *engine.Engine, loc *time.Location) Targets { return volumes{e, loc} }

type volumes struct {
	e   *engine.Engine
	loc *time.Location
}

// Targets implements Targets.
func (v volumes) Targets(context.Context) ([]Target, error) { return v.all(), nil }

// all makes targets out of the volumes, sorted by name.
func (v volumes) all() []Target {
	byName := make(map[string]*Target)
	for _, d := range v.e.Datasets(false) {
		if d.Kind != "volume" {
			continue
		}
		props, err := v.e.Secrets(d.Name)
		if err != nil {
			continue // destroyed meanwhile
		}
		name := cmp.Or(props[propTarget], Prefix+d.Name)
		t := byName[name]
		if t == nil {
			t = &Target{Name: name}
			byName[name] = t
		}
		t.LUNs = append(t.LUNs, lunOf(d, props))
	}
	list := make([]Target, 0, len(byName))
	for _, t := range byName {
		slices.SortStableFunc(t.LUNs, func(a, b LUN) int {
			return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Volume, b.Volume))
		})
		for i := 1; i < len(t.LUNs); i++ {
			if t.LUNs[i].Number == t.LUNs[i-1].Number {
				t.LUNs[i].Disabled = "its number is that of " + t.LUNs[i-1].Volume
			}
		}
		t.Volume = t.LUNs[0].Volume
		list = append(list, *t)
	}
	slices.SortFunc(list, func(a, b Target) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func lunOf(d engine.DatasetInfo, props map[string]string) LUN {
	l := LUN{
		Volume: d.Name,
		ID:     d.ID,
		Want:   Credentials{props[propUser], props[propSecret]},
		Ours:   Credentials{props[propMutualUser], props[propMutualSecret]},
	}
	l.Number, _ = strconv.Atoi(props[propLUN])
	if (l.Want.User == "") != (l.Want.Secret == "") {
		l.Disabled = "of " + propUser + " and " + propSecret + " only one is set"
	}
	clients := cmp.Or(props[propClients], "127.0.0.1,::1")
	for s := range strings.SplitSeq(clients, ",") {
		if p, err := netip.ParsePrefix(s); err == nil {
			l.Access.Clients = append(l.Access.Clients, p)
		} else if a, err := netip.ParseAddr(s); err == nil {
			l.Access.Clients = append(l.Access.Clients, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	if names := props[propInitiators]; names != "" {
		l.Access.Initiators = strings.Split(names, ",")
	}
	return l
}

// Target implements Targets.
func (v volumes) Target(_ context.Context, name string) (Target, error) {
	all := v.all()
	for _, t := range all {
		if t.Name == name {
			return t, nil
		}
	}
	var none error
	for _, t := range slices.Backward(all) { // a longer name before one that begins it
		rest, ok := strings.CutPrefix(name, t.Name)
		if !ok || rest == "" || rest[0] != ':' && rest[0] != '@' {
			continue
		}
		at, err := v.moment(rest[1:])
		if err != nil {
			none = cmp.Or(none, err)
			continue
		}
		t.Name = name
		for i := range t.LUNs {
			t.LUNs[i].At = &at
		}
		return t, nil
	}
	if none != nil {
		return Target{}, none
	}
	return Target{}, fail.New(fail.NotFound, "there is no target %q", name).WithHint("varve list -t volume shows the volumes; NAME is served as %sNAME", Prefix)
}

// moment parses a WHEN in the name of a target, where initiators make all letters
// small.
func (v volumes) moment(s string) (when.Spec, error) {
	at, err := when.Parse(s, v.loc)
	if err == nil {
		return at, nil
	}
	if at, err2 := when.Parse(strings.ToUpper(s), v.loc); err2 == nil {
		return at, nil
	}
	return at, err
}

// Open implements Targets.
func (v volumes) Open(_ context.Context, l LUN, addr string, kick func()) (scsi.Disk, error) {
	return scsi.OpenVolume(v.e, l.Volume, l.At, engine.Caller{Proto: "iSCSI", Addr: addr}, kick)
}
