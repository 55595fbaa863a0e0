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

// property is a value and what its item of the pool tree is called.
type property struct {
	value  string
	number int64  // of one that is a number
	item   uint64 // the operation that set it, or, of one that a clone was made with, madeWith and which
}

const madeWith = 1 << 63

func newProperty(value string, item uint64) property {
	n, _ := strconv.ParseInt(value, 10, 64) // of most it is no number
	return property{value, n, item}
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
	"iscsi-write-cache":   oneOf("on", "off"),
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
		if err := d.kind.mayHave(name, key, value); err != nil {
			return nil, err
		}
		if key == "on-full" && value == "reset" && d.rootAt(d.created.lsn) == nil {
			return nil, fail.New(fail.OutsideHistory, "history does not reach back to when %s was made", name).WithHint("set on-full=reset sooner, or clone anew")
		}
		return nil, nil
	})
}

// mayHave judges a property of a dataset of this kind; "" takes it away.
func (k datasetKind) mayHave(name, key, value string) error {
	check := commonProperties[key]
	known := slices.Collect(maps.Keys(commonProperties))
	own := shareProperties
	if k == volumeKind {
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
		return fail.New(fail.Invalid, "%s is a %s; it has no property %s", name, k, key).WithHint("it has %s", strings.Join(known, ", "))
	case len(value) > maxProperty:
		return fail.New(fail.TooBig, "a property has at most %d bytes", maxProperty)
	case value == "":
		return nil
	}
	if err := check(value); err != nil {
		return fail.Wrap(fail.Other, err, "%s", key)
	}
	return nil
}

// appendProperties brings the properties that a clone is made with into the value
// of its operation: lines of key=value, by key.
func (k datasetKind) appendProperties(name string, properties map[string]string) (string, error) {
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		value := properties[key]
		if err := k.mayHave(name, key, value); err != nil {
			return "", err
		}
		if value != "" {
			lines = append(lines, key+"="+value)
		}
	}
	return strings.Join(lines, "\n"), nil
}

// makeWith gives a clone the properties that its operation names. The gate is held
// exclusively.
func (e *Engine) makeWith(d *dataset, op *oplog.Op) error {
	if op.Value == "" {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, line := range strings.Split(op.Value, "\n") {
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return fail.New(fail.Corrupt, "%v: property %q", op, line)
		}
		e.putProperty(d, key, value, madeWith+uint64(i))
	}
	d.propsVersion.Store(op.LSN)
	d.pinReset(1)
	return nil
}

// setProperty applies Set. The gate is held exclusively.
func (e *Engine) setProperty(d *dataset, op *oplog.Op) {
	d.mu.Lock()
	d.pinReset(-1)
	defer func() {
		d.pinReset(1)
		d.mu.Unlock()
	}()
	e.putProperty(d, op.Name, op.Value, op.LSN)
	d.propsVersion.Store(op.LSN)
}

// putProperty sets a property of d, or takes it away. d.mu is held.
func (e *Engine) putProperty(d *dataset, key, value string, item uint64) {
	props := maps.Clone(d.props)
	if old, ok := props[key]; ok {
		e.record(itemKey(tagProperty, d.id, old.item), nil)
		delete(props, key)
	}
	if value != "" {
		if props == nil {
			props = make(map[string]property)
		}
		props[key] = newProperty(value, item)
		e.record(itemKey(tagProperty, d.id, item), varint.AppendString(varint.AppendString(nil, key), value))
	}
	d.props = props
}

func (d *dataset) readProperty(item uint64, v []byte) error {
	r := varint.Reader{B: v}
	key, value := r.String(oplog.MaxName), r.String(maxProperty)
	if d.props == nil {
		d.props = make(map[string]property)
	}
	d.props[key] = newProperty(value, item)
	return recordEnd(&r, "property", item)
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
