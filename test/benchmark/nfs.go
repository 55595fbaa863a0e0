package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"varve/test/daemon"
)

// What nfsbench works on.
const (
	nfsFile    = 512 << 20 // bytes of the file that is read and written
	nfsFiles   = 30_000    // files created, looked at and removed in a round
	nfsEntries = 100_000   // files of the directory that is listed
	nfsMany    = "/many"   // that directory
)

const nameGanesha = "nfs-ganesha"

var nfsServers = []string{nameVarve, nameGanesha}

//go:embed nfsbench.c
var nfsbenchSource string

// nfsWorkload is one way to use a share, and how many times ganesha varve is
// to be at it.
type nfsWorkload struct {
	workload
	times  float64
	before []string                      // an earlier call of nfsbench that it needs, once
	call   func(n *nfs, at int) []string // of nfsbench, in a round
	late   bool                          // after all rounds of what is not
}

var (
	nfsFill   = []string{"fill", strconv.Itoa(nfsFile)}
	nfsCreate = []string{"create", nfsMany, "0", strconv.Itoa(nfsEntries)}
)

// Files are removed in the end only: for minutes ext4 does not use the inode of
// a removed file again and passes over them one by one, so that ganesha's
// figures for create would fall to a tenth.
var nfsWorkloads = []nfsWorkload{
	{workload{name: "seqwrite-1m", bytes: true}, 1, nfsFill, forSeconds("seqwrite"), false},
	{workload{name: "seqread-1m", bytes: true}, 1, nfsFill, forSeconds("seqread"), false},
	{workload{name: "randwrite-4k"}, 3, nfsFill, forSeconds("randwrite"), false},
	{workload{name: "randread-4k"}, 2, nfsFill, forSeconds("randread"), false},
	{workload{name: "create"}, 2, nil, ofRound("create", "0"), false},
	{workload{name: "stat"}, 2.5, nil, ofRound("stat"), false},
	{workload{name: "readdirplus"}, 2, nfsCreate, forSeconds("list", nfsMany, strconv.Itoa(nfsEntries)), false},
	{workload{name: "remove"}, 2, nil, ofRound("remove"), true},
}

func forSeconds(args ...string) func(*nfs, int) []string {
	return func(n *nfs, _ int) []string {
		return append(slices.Clone(args), strconv.Itoa(int(n.second/time.Second)))
	}
}

// ofRound works on the files of a round.
func ofRound(what string, more ...string) func(*nfs, int) []string {
	return func(_ *nfs, at int) []string {
		return slices.Concat([]string{what, fmt.Sprintf("/round%d", at)}, more, []string{strconv.Itoa(nfsFiles)})
	}
}

// nfs measures varve's file shares beside ganesha's, and how varve bears a
// million files.
type nfs struct {
	options
	bin   string // varve
	bench string // nfsbench
}

func nfsCommand(ctx context.Context, args []string) error {
	c := newCommand("nfs", ", with 30 GiB free").withRounds(3, eachServer).withSeconds(4).withOnly("run the workloads whose name matches; stat and remove need create").withServers()
	million := c.Int("million", 1_000_000, "files of the last workload; 0 leaves it out")
	if err := c.Parse(args); err != nil {
		return err
	}
	if *million < 0 || *million > 0 && *million < 10_000 {
		return errors.New("-million is 0 or at least 10000")
	}
	if err := provide(need{"cc", "gcc"}, need{"/usr/include/stdlib.h", "libc6-dev"}, need{"/usr/include/nfsc/libnfs.h", "libnfs-dev"},
		need{"ganesha.nfsd", "nfs-ganesha"}, need{ganeshaVFS, "nfs-ganesha-vfs"}, need{"rpcbind", "rpcbind"}); err != nil {
		return err
	}
	leave, err := c.home(30 << 30)
	if err != nil {
		return err
	}
	defer leave()
	n := &nfs{options: c.options}
	if n.bench, err = compile(ctx, n.dir); err != nil {
		return err
	}
	if n.who.MatchString(nameVarve) {
		home := filepath.Join(n.dir, "bin") // beside the servers' own folders, which have their names
		if err := os.Mkdir(home, 0o755); err != nil {
			return err
		}
		if n.bin, err = daemon.Build(home); err != nil {
			return err
		}
	}
	return n.measure(ctx, *million)
}

func (n *nfs) measure(ctx context.Context, million int) error {
	all := results{}
	notes, err := n.compare(ctx, all)
	if err != nil {
		return err
	}
	var claims []claim
	if len(all) > 0 {
		claims = nfsReport(os.Stdout, all)
	}
	if million > 0 && n.who.MatchString(nameVarve) && n.only.MatchString("million") {
		more, said, err := n.million(ctx, million)
		if err != nil {
			return fmt.Errorf("million: %w", err)
		}
		claims, notes = append(claims, more...), append(notes, said...)
	}
	printClaims(os.Stdout, claims, notes)
	return nil
}

func compile(ctx context.Context, dir string) (string, error) {
	bin := filepath.Join(dir, "nfsbench")
	cmd := exec.CommandContext(ctx, "cc", "-O2", "-x", "c", "-o", bin, "-", "-lnfs")
	cmd.Stdin = strings.NewReader(nfsbenchSource)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cc: %w\n%s", err, out)
	}
	return bin, nil
}

// call runs nfsbench on a server.
func (n *nfs) call(ctx context.Context, s *server, args ...string) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, n.bench, append([]string{s.uri}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return result{}, fmt.Errorf("nfsbench %s on %s: %w: %s", strings.Join(args, " "), s.name, err, errs.Bytes())
	}
	return parseNFS(out.String())
}

func parseNFS(out string) (result, error) {
	var name string
	var ops, moved, seconds float64
	if _, err := fmt.Sscan(out, &name, &ops, &moved, &seconds); err != nil {
		return result{}, fmt.Errorf("nfsbench said %q: %w", out, err)
	}
	if ops <= 0 || seconds <= 0 {
		return result{}, fmt.Errorf("nfsbench measured nothing: %q", out)
	}
	return result{perSecond: ops / seconds, bytes: moved / seconds}, nil
}

// compare lets the servers take turns at each workload.
func (n *nfs) compare(ctx context.Context, all results) (notes []string, err error) {
	work := slices.DeleteFunc(slices.Clone(nfsWorkloads), func(w nfsWorkload) bool { return !n.only.MatchString(w.name) })
	if len(work) == 0 {
		return nil, nil
	}
	var servers []*server
	defer func() {
		err = errors.Join(err, stopAll(servers))
	}()
	for _, name := range nfsServers {
		if !n.who.MatchString(name) {
			continue
		}
		start := startGanesha
		if name == nameVarve {
			start = n.startVarve
		}
		s, err := start(ctx, filepath.Join(n.dir, name))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		servers = append(servers, s)
		if err := n.prepare(ctx, s, work); err != nil {
			return nil, err
		}
	}
	for _, late := range []bool{false, true} {
		for round := range n.rounds {
			for _, w := range work {
				if w.late != late {
					continue
				}
				for s := range inTurn(servers, round) {
					if err := n.turn(ctx, s, w, round, all); err != nil {
						return nil, err
					}
				}
			}
		}
	}
	for _, s := range servers {
		top, now, err := s.memory()
		if err != nil {
			return nil, err
		}
		notes = append(notes, fmt.Sprintf("%s: at most %.0f MiB resident, %.0f at the end", s.name, top, now))
	}
	return notes, nil
}

func (n *nfs) prepare(ctx context.Context, s *server, work []nfsWorkload) error {
	var done []string
	for _, w := range work {
		if w.before == nil || slices.Contains(done, w.before[0]) {
			continue
		}
		if _, err := n.call(ctx, s, w.before...); err != nil {
			return err
		}
		done = append(done, w.before[0])
	}
	return nil
}

func (n *nfs) turn(ctx context.Context, s *server, w nfsWorkload, round int, all results) error {
	if err := settle(); err != nil {
		return err
	}
	got, err := n.call(ctx, s, w.call(n, round)...)
	if err != nil {
		return err
	}
	all.add(w.name, s.name, got)
	fmt.Fprintf(os.Stderr, "round %d  %-14s %-12s %9.0f /s %7.0f MB/s\n", round+1, w.name, s.name, got.perSecond, got.bytes/1e6)
	return nil
}

// nfsReport prints the medians and returns what they are to be.
func nfsReport(out io.Writer, all results) (claims []claim) {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nWORKLOAD\tSERVER\tPER SECOND\tMB/s\tVARVE / IT")
	for _, w := range nfsWorkloads {
		mine, served := all.median(w.workload, nameVarve)
		for _, name := range nfsServers {
			one, ok := all.median(w.workload, name)
			if !ok {
				continue
			}
			ratio := "-"
			if served {
				ratio = fmt.Sprintf("%.2f", mine.value(w.workload)/one.value(w.workload))
			}
			fmt.Fprintf(t, "%s\t%s\t%.0f\t%.0f\t%s\n", w.name, name, one.perSecond, one.bytes/1e6, ratio)
		}
		if it, ok := all.median(w.workload, nameGanesha); ok && served {
			claims = append(claims, claim{w.name + " / " + nameGanesha, true, w.times, mine.value(w.workload) / it.value(w.workload), ""})
		}
	}
	t.Flush()
	return claims
}

// freePort returns a port of the loopback address that nobody listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
