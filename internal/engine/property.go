package engine

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"varve/internal/fail"
	"varve/internal/keep"
	"varve/internal/oplog"
	"varve/internal/varint"
)

// property is a value and the operation that set it.
type property struct {
	value  string
	number int64 // of one that is a number
	lsn    uint64
}

func newProperty(value string, lsn uint64) property {
	n, _ := strconv.ParseInt(value, 10, 64) // of most it is no number
	return property{value, n, lsn}
}

// pinReset keeps (1), or no longer keeps (-1), what a clone was when it was made,
// if its policy says that it is reset to that. d.mu is held.
func (d *dataset) pinReset(n int) {
	if d.props["on-full"].value != "reset" {
		return
	}
	if n > 0 {
		d.lineAt(d.created.lsn).dataPins.add(d.created.lsn)
	} else {
		d.lineAt(d.created.lsn).dataPins.remove(d.created.lsn)
	}
	if r := d.rootAt(d.created.lsn); r != nil {
		r.snaps += n
	}
}

// maxProperty bounds a property's value: bytes. An item of the pool tree holds
// it.
const maxProperty = 800

// commonProperties are what every dataset can have, each with what its values
// must be.
var commonProperties = map[string]func(string) error{
	"history": checkHistory,
	"keep":    checkSchedule,
	"budget":  checkCount,
	"on-full": oneOf("fail", "reset"),
	"quota":   checkCount,
}

func checkHistory(v string) error {
	_, err := keep.ParseHistory(v)
	return err
}

func checkSchedule(v string) error {
	_, err := keep.ParseSchedule(v)
	return err
}

// shareProperties are what a share can have besides. What they mean is the front
// ends'.
var shareProperties = map[string]func(string) error{
	"clients":      checkClients,
	"access":       oneOf("rw", "ro"),
	"squash":       oneOf("none", "root", "all"),
	"anonuid":      checkID,
	"anongid":      checkID,
	"quota-inodes": checkCount,
}

// volumeProperties are what a volume can have besides. What they mean is the
// front ends'.
var volumeProperties = map[string]func(string) error{
	"sanitize":            oneOf("on", "off"),
	"physical-block":      oneOf("512", "4096"),
	"iscsi-target":        checkTarget,
	"iscsi-lun":           checkLUN,
	"iscsi-clients":       checkClients,
	"iscsi-initiators":    checkPatterns,
	"iscsi-user":          checkUser,
	"iscsi-secret":        checkSecret,
	"iscsi-mutual-user":   checkUser,
	"iscsi-mutual-secret": checkSecret,
}

func oneOf(values ...string) func(string) error {
	return func(v string) error {
		if slices.Contains(values, v) {
			return nil
		}
		return fail.New(fail.Invalid, "%q is not one of %s", v, strings.Join(values, ", "))
	}
}

func checkClients(v string) error {
	for s := range strings.SplitSeq(v, ",") {
		if _, err := netip.ParsePrefix(s); err == nil {
			continue
		}
		if a, err := netip.ParseAddr(s); err != nil || a.Zone() != "" {
			return fail.New(fail.Invalid, "%q is neither an address nor a network", s).WithHint("write clients=127.0.0.1,192.168.7.0/24,fd00::/8")
		}
	}
	return nil
}

func checkID(v string) error {
	if _, err := strconv.ParseUint(v, 10, 32); err != nil {
		return fail.New(fail.Invalid, "%q is not a number of a user or group", v)
	}
	return nil
}

func checkCount(v string) error {
	if _, err := strconv.ParseUint(v, 10, 63); err != nil {
		return fail.New(fail.Invalid, "%q is not a number", v).WithHint("0 is no limit")
	}
	return nil
}

// Set gives a dataset a property; "" takes it away, so that its default holds.
// Invalid, NotFound.
func (e *Engine) Set(c Caller, name, key, value string) (Done, error) {
	op := &oplog.Op{Kind: oplog.Set, Client: e.client(c), Name: key, Value: value}
	return e.change(op, true, func() (*prepared, error) {
		d, err := e.find(name)
		if err != nil {
			return nil, err
		}
		op.Dataset = d.id
		check := commonProperties[key]
		known := slices.Collect(maps.Keys(commonProperties))
		own := shareProperties
		if d.kind == volumeKind {
			own = volumeProperties
			known = append(known, "size")
		}
		known = slices.AppendSeq(known, maps.Keys(own))
		if check == nil {
			check = own[key]
		}
		switch {
		case check == nil:
			slices.Sort(known)
			return nil, fail.New(fail.Invalid, "%s is a %s; it has no property %s", name, d.kind, key).WithHint("it has %s", strings.Join(known, ", "))
		case len(value) > maxProperty:
			return nil, fail.New(fail.TooBig, "a property has at most %d bytes", maxProperty)
		case value == "":
			return nil, nil
		case key == "on-full" && value == "reset" && d.rootAt(d.created.lsn) == nil:
			return nil, fail.New(fail.OutsideHistory, "history does not reach back to when %s was made", name).WithHint("set on-full=reset sooner, or clone anew")
		}
		if err := check(value); err != nil {
			return nil, fail.Wrap(fail.Other, err, "%s", key)
		}
		return nil, nil
	})
}

// setProperty applies Set. The gate is held exclusively.
func (e *Engine) setProperty(d *dataset, op *oplog.Op) {
	d.mu.Lock()
	d.pinReset(-1)
	defer func() {
		d.pinReset(1)
		d.mu.Unlock()
	}()
	props := maps.Clone(d.props)
	if old, ok := props[op.Name]; ok {
		e.record(itemKey(tagProperty, d.id, old.lsn), nil)
		delete(props, op.Name)
	}
	if op.Value != "" {
		if props == nil {
			props = make(map[string]property)
		}
		props[op.Name] = newProperty(op.Value, op.LSN)
		e.record(itemKey(tagProperty, d.id, op.LSN), varint.AppendString(varint.AppendString(nil, op.Name), op.Value))
	}
	d.props = props
	d.propsVersion.Store(op.LSN)
}

func (d *dataset) readProperty(lsn uint64, v []byte) error {
	r := varint.Reader{B: v}
	key, value := r.String(oplog.MaxName), r.String(maxProperty)
	if d.props == nil {
		d.props = make(map[string]property)
	}
	d.props[key] = newProperty(value, lsn)
	return recordEnd(&r, "property", lsn)
}

func (d *dataset) properties() map[string]string {
	if len(d.props) == 0 {
		return nil
	}
	m := make(map[string]string, len(d.props))
	for k, p := range d.props {
		m[k] = p.value
		if isSecret(k) {
			m[k] = hidden
		}
	}
	return m
}

// Properties returns the properties that are set, and a number that changes
// when they do.
func (h *Head) Properties() (map[string]string, uint64) {
	h.e.gate.RLock()
	defer h.e.gate.RUnlock()
	return h.d.properties(), h.d.propsVersion.Load()
}

// PropertiesVersion is the number that Properties returns; cheap.
func (h *Head) PropertiesVersion() uint64 { return h.d.propsVersion.Load() }
