package chain

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"time"

	"varve/internal/engine"
	"varve/internal/fail"
)

// holdTag is on the snapshots that are the records of dumps.
const holdTag = "dump"

/*
Record is a dump of a share that others can be based on. It is a snapshot of the
moment that was dumped, with a hold, and all that is to be known is in its name:

	dump-LEVEL-DATE[-on-DATE]   dump-0-20261128t051010z, dump-1-20261129t030000z-on-20261128t051010z

The first date is c_date of the archive, the second, of levels above 0, c_ddate: the
date of the base. One without a hold is a dump that is being made, or was given up.
*/
type Record struct {
	Dataset  string    `json:"dataset"`
	Level    int       `json:"level"`
	Date     time.Time `json:"date"`           // c_date: whole seconds
	Base     time.Time `json:"base,omitzero"`  // c_ddate: that of the base; zero at level 0
	Snapshot string    `json:"snapshot"`       // that keeps the moment
	LSN      uint64    `json:"lsn"`            // of the moment
	Moment   time.Time `json:"moment"`         // its time
	Used     int64     `json:"used"`           // bytes that are kept for it alone
	Open     bool      `json:"open,omitempty"` // being made, or given up
}

const stampLayout = "20060102t150405z"

var recordShape = regexp.MustCompile(`^dump-([0-9])-([0-9]{8}t[0-9]{6}z)(?:-on-([0-9]{8}t[0-9]{6}z))?$`)

func recordName(level int, date, base int64) string {
	stamp := func(s int64) string { return time.Unix(s, 0).UTC().Format(stampLayout) }
	if level == 0 {
		return fmt.Sprintf("dump-0-%s", stamp(date))
	}
	return fmt.Sprintf("dump-%d-%s-on-%s", level, stamp(date), stamp(base))
}

// parseRecord reads a record from a snapshot; false if it is none.
func parseRecord(s engine.SnapshotInfo) (Record, bool) {
	m := recordShape.FindStringSubmatch(s.Name)
	if m == nil || (m[1] == "0") != (m[3] == "") {
		return Record{}, false
	}
	r := Record{
		Dataset: s.Dataset, Level: int(m[1][0] - '0'), Snapshot: s.Name, LSN: s.LSN, Moment: s.Time, Used: s.Used,
		Open: !slices.Contains(s.Holds, holdTag),
	}
	var err error
	if r.Date, err = time.Parse(stampLayout, m[2]); err != nil {
		return Record{}, false
	}
	if m[3] != "" {
		if r.Base, err = time.Parse(stampLayout, m[3]); err != nil {
			return Record{}, false
		}
	}
	return r, true
}

// List lists the records of a share, or with "" of all, by share and date.
func (d *Dumps) List(dataset string) ([]Record, error) {
	snapshots, err := d.e.Snapshots(dataset)
	if err != nil {
		return nil, err
	}
	list := []Record{}
	for _, s := range snapshots {
		if r, ok := parseRecord(s); ok {
			list = append(list, r)
		}
	}
	slices.SortStableFunc(list, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Dataset, b.Dataset), a.Date.Compare(b.Date))
	})
	return list, nil
}

// baseFor finds what a level is based on: the newest dump of a lower level.
func baseFor(list []Record, dataset string, level int) (Record, error) {
	var base *Record
	for i, r := range list {
		if !r.Open && r.Level < level && (base == nil || r.Date.After(base.Date)) {
			base = &list[i]
		}
	}
	if base == nil {
		return Record{}, fail.New(fail.BaseMissing, "there is no dump of %s of a level below %d to start from", dataset, level).
			WithHint("make one with varve dump -0 -u %s; varve dump --list shows what there is", dataset)
	}
	return *base, nil
}

// dated finds the record that another one is based on.
func dated(list []Record, r Record) (Record, error) {
	for _, b := range list {
		if !b.Open && b.Date.Equal(r.Base) && b.Level < r.Level {
			return b, nil
		}
	}
	return Record{}, fail.New(fail.BaseMissing, "the dump of %s that %s is based on, of %s, is gone", r.Dataset, r.Snapshot, r.Base.Format(time.RFC3339)).
		WithHint("begin a new chain with varve dump -0 -u %s", r.Dataset)
}

// next returns the date of a dump of a moment: its time, but later than all dumps
// of the share that there are.
func next(list []Record, moment time.Time) int64 {
	date := moment.Unix()
	for _, r := range list {
		date = max(date, r.Date.Unix()+1)
	}
	return date
}

// date gives out a date of a dump of a share, at least least: each only once, also to
// dumps that begin at the same time.
func (d *Dumps) date(dataset string, least int64) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if last, ok := d.dates[dataset]; ok {
		least = max(least, last+1)
	}
	d.dates[dataset] = least
	return least
}
