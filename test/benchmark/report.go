package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// target is what varve is to reach: so many times the best of some peers, or
// of itself at another workload.
type target struct {
	workload string
	times    float64
	peers    []string
	own      string // workload of varve's own to compare with
}

var targets = []target{
	{workload: rndWrite, times: 2.5, peers: []string{nameQcow2}},
	{workload: rndWrite, times: 0.9, peers: []string{nameNbdkit}},
	{workload: flush1, times: 1.8, peers: []string{nameRaw, nameQcow2, nameNbdkit}},
	{workload: flush32, times: 3, peers: []string{nameNbdkit}},
	{workload: rndRead, times: 1.3, peers: []string{nameRaw}},
	{workload: rndRead, times: 1, peers: []string{nameNbdkit}},
	{workload: seqWrite, times: 1.3, peers: []string{nameRaw}},
	{workload: seqRead, times: 1.3, peers: []string{nameRaw}},
	{workload: scatRead, times: 0.8, peers: []string{nameRaw}},
	{workload: snapshot, times: 0.9, own: rndWrite},
	{workload: fourConn, times: 1.2, own: rndWrite},
}

func report(out io.Writer, all results, o options) {
	fmt.Fprintf(out, "\nMedians of %d rounds of %v, %d GiB disk; pool and peers on the same disk.\n", o.rounds, o.second, o.size>>30)
	fmt.Fprintf(out, "Before each measurement, of whomever: sync, then until little is dirty and the disk rests (at most %v).\n", settleLimit)
	for _, k := range o.kinds {
		fmt.Fprintf(out, "FLUSH is durable on %s: %s.\n", k.name, k.flush)
	}
	fmt.Fprintln(out)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WORKLOAD\tSERVER\tIOPS\tMB/s\tp50 us\tp99 us\tVARVE / IT")
	each(func(w workload) {
		mine, served := all.median(w, nameVarve)
		for _, k := range o.kinds {
			r, ok := all.median(w, k.name)
			if !ok {
				continue
			}
			ratio := "-"
			if served {
				ratio = fmt.Sprintf("%.2f", mine.value(w)/r.value(w))
			}
			fmt.Fprintf(t, "%s\t%s\t%.0f\t%.0f\t%.0f\t%.0f\t%s\n", w.name, k.name, r.perSecond, r.bytes/1e6, r.p50, r.p99, ratio)
		}
	})
	t.Flush()
	fmt.Fprintln(out)
	fmt.Fprintln(t, "TARGET\tAT LEAST\tMEASURED\t")
	for _, g := range targets {
		name, ratio, ok := g.measured(all)
		if !ok {
			continue
		}
		verdict := "met"
		if ratio < g.times {
			verdict = "MISSED"
		}
		fmt.Fprintf(t, "%s / %s\t%.2f\t%.2f\t%s\n", g.workload, name, g.times, ratio, verdict)
	}
	t.Flush()
}

// measured returns what varve was compared with and the ratio, unless a side
// was not measured.
func (g target) measured(all results) (name string, ratio float64, ok bool) {
	w, yard := named(g.workload), named(g.workload)
	mine, ok := all.median(w, nameVarve)
	peers := g.peers
	if g.own != "" {
		yard, peers = named(g.own), []string{nameVarve}
	}
	best := 0.0
	for _, p := range peers {
		if r, measured := all.median(yard, p); measured && r.value(yard) > best {
			best, name = r.value(yard), p
		}
	}
	if g.own != "" {
		name = g.own
	}
	return name, mine.value(w) / best, ok && best > 0
}

func each(visit func(w workload)) {
	for _, p := range phases {
		for _, w := range p.workloads {
			visit(w)
		}
	}
}

func named(name string) (found workload) {
	each(func(w workload) {
		if w.name == name {
			found = w
		}
	})
	return found
}
