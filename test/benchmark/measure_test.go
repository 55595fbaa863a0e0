package main

import (
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	report := `note: something
{"jobs": [{"error": 0, "read": {"io_bytes": 0}, "write": {"io_bytes": 4096, "bw_bytes": 8192, "iops": 2.5,
 "clat_ns": {"percentile": {"50.000000": 3000, "99.000000": 9000}}}}]}`
	got, err := parse([]byte(report))
	if want := (result{2.5, 8192, 3, 9}); err != nil || got != want {
		t.Fatal(got, err)
	}
	for _, bad := range []string{
		"", "fio: died", "{}",
		strings.Replace(report, `"error": 0`, `"error": 5`, 1),
		strings.Replace(report, "4096", "0", 1),
	} {
		if r, err := parse([]byte(bad)); err == nil {
			t.Errorf("%q passes as %v", bad, r)
		}
	}
}

func TestReport(t *testing.T) {
	all := results{}
	for i, iops := range []float64{90, 10, 100} { // the median is 90
		all.add(rndWrite, nameVarve, result{perSecond: iops})
		all.add(rndWrite, nameQcow2, result{perSecond: float64(30 + i)})
		all.add(rndWrite, nameNbdkit, result{perSecond: 200})
		all.add(seqWrite, nameVarve, result{perSecond: 1, bytes: 10})
		all.add(fourConn, nameVarve, result{perSecond: 180})
	}
	var out strings.Builder
	report(&out, all, options{rounds: 3, second: time.Second, size: 1 << 30, kinds: kinds})
	for _, want := range []string{
		"randwrite-4k / qemu-nbd qcow2     2.50      2.90      met",
		"randwrite-4k / nbdkit file        0.90      0.45      MISSED",
		"randwrite-4k-4conn / randwrite-4k 1.20      2.00      met",
	} {
		if flat := strings.Join(strings.Fields(out.String()), " "); !strings.Contains(flat, strings.Join(strings.Fields(want), " ")) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "NaN") || strings.Contains(out.String(), "seqwrite-1m /") {
		t.Errorf("a ratio to nothing:\n%s", out.String())
	}
}
