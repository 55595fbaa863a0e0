package oplog

import (
	"encoding/binary"
	"math"
	"slices"

	"varve/internal/fail"
	"varve/internal/varint"
)

// Digest is what a run of operations, a segment's, has in it, so that whoever
// looks for something can leave the run out without reading it. It may say that
// something is there which is not, and never the other way round. Its bytes, u =
// unsigned varint:
//
//	first time u | last time u | kinds u64 | most bytes of one operation u |
//	least inode u | greatest inode u |
//	datasets u | each u | uids u | each u | clients u | each: length u | name |
//	inodes: a Bloom filter of 2048 bytes
//
// A list that would be longer than 32 is 33 with nothing behind it: any.
type Digest struct {
	First, Last    int64 // Unix nanoseconds, of the operations; both 0: there is none
	Kinds          KindSet
	Most           uint64 // Op.Bytes
	MinIno, MaxIno uint64 // of operations on files
	datasets       []uint64
	uids           []uint64
	clients        []string
	any            [3]bool // datasets, uids, clients: too many to list
	bloom          [bloomSize]byte
	client         *Client // seen last: most operations in a row have one
	uid, dataset   uint64  // the same
}

const (
	bloomSize = 2048
	maxListed = 32
)

// The lists, as indices into Digest.any.
const (
	listDatasets = iota
	listUIDs
	listClients
)

// Add puts one operation into the digest.
func (d *Digest) Add(op *Op) {
	if d.First == 0 {
		d.First, d.Last, d.MinIno = op.Time, op.Time, math.MaxUint64
		d.dataset, d.uid = math.MaxUint64, math.MaxUint64
	}
	d.First, d.Last = min(d.First, op.Time), max(d.Last, op.Time)
	d.Kinds.Add(op.Kind)
	d.Most = max(d.Most, op.Bytes())
	if op.Dataset != d.dataset {
		d.dataset = op.Dataset
		d.list(listDatasets, &d.datasets, op.Dataset)
	}
	if op.Source != 0 {
		d.list(listDatasets, &d.datasets, op.Source)
	}
	if c := op.Client; c != nil && c != d.client {
		d.client = c
		if !d.any[listClients] && !slices.Contains(d.clients, c.Name) {
			d.any[listClients] = len(d.clients) == maxListed
			d.clients = append(d.clients, c.Name)
		}
	}
	if !op.Kind.OnFile() {
		return
	}
	if uint64(op.UID) != d.uid {
		d.uid = uint64(op.UID)
		d.list(listUIDs, &d.uids, d.uid)
	}
	d.ino(op.Ino)
	if op.Ino2 != 0 {
		d.ino(op.Ino2)
	}
}

func (d *Digest) list(which int, l *[]uint64, n uint64) {
	if d.any[which] || slices.Contains(*l, n) {
		return
	}
	if d.any[which] = len(*l) == maxListed; !d.any[which] {
		*l = append(*l, n)
	}
}

func (d *Digest) ino(n uint64) {
	d.MinIno, d.MaxIno = min(d.MinIno, n), max(d.MaxIno, n)
	a, b := bloomBits(n)
	d.bloom[a/8] |= 1 << (a % 8)
	d.bloom[b/8] |= 1 << (b % 8)
}

// bloomBits are the two bits of an inode number: of its hash by Fibonacci's
// multiplier, from both ends.
func bloomBits(n uint64) (a, b uint64) {
	h := n * 0x9E3779B97F4A7C15
	return h >> 50, h >> 36 & (bloomSize*8 - 1)
}

// Merge puts what another digest has into d.
func (d *Digest) Merge(o *Digest) {
	if o.First == 0 {
		return
	}
	if d.First == 0 {
		d.First, d.Last, d.MinIno = o.First, o.Last, math.MaxUint64
		d.dataset, d.uid = math.MaxUint64, math.MaxUint64
	}
	d.First, d.Last = min(d.First, o.First), max(d.Last, o.Last)
	d.Kinds |= o.Kinds
	d.Most = max(d.Most, o.Most)
	d.MinIno, d.MaxIno = min(d.MinIno, o.MinIno), max(d.MaxIno, o.MaxIno)
	for i := range d.any {
		d.any[i] = d.any[i] || o.any[i]
	}
	for _, n := range o.datasets {
		d.list(listDatasets, &d.datasets, n)
	}
	for _, n := range o.uids {
		d.list(listUIDs, &d.uids, n)
	}
	for _, name := range o.clients {
		if !d.any[listClients] && !slices.Contains(d.clients, name) {
			d.any[listClients] = len(d.clients) == maxListed
			d.clients = append(d.clients, name)
		}
	}
	for i, b := range o.bloom {
		d.bloom[i] |= b
	}
}

// MayMatch reports whether an operation of dataset (0 = of any) that f matches
// may be in the run.
func (d *Digest) MayMatch(f *Filter, dataset uint64) bool {
	switch {
	case d.First == 0,
		f.Since != 0 && d.Last <= f.Since, f.Until != 0 && d.First > f.Until,
		f.Kinds != 0 && f.Kinds&d.Kinds == 0,
		f.BytesOver != 0 && d.Most <= f.BytesOver,
		f.UID != nil && !d.any[listUIDs] && !slices.Contains(d.uids, uint64(*f.UID)):
		return false
	}
	return d.has(dataset) && d.hasClient(f) && d.hasIno(f)
}

// has counts snapshots of all datasets, which are of dataset 0, for each.
func (d *Digest) has(dataset uint64) bool {
	return dataset == 0 || d.any[listDatasets] || slices.Contains(d.datasets, dataset) || slices.Contains(d.datasets, 0)
}

func (d *Digest) hasClient(f *Filter) bool {
	return f.Client == "" || d.any[listClients] ||
		slices.ContainsFunc(d.clients, func(name string) bool { return f.MatchClient(&Client{Name: name}) })
}

func (d *Digest) hasIno(f *Filter) bool {
	return len(f.Inos) == 0 || slices.ContainsFunc(f.Inos, func(n uint64) bool {
		a, b := bloomBits(n)
		return n >= d.MinIno && n <= d.MaxIno && d.bloom[a/8]>>(a%8)&1 != 0 && d.bloom[b/8]>>(b%8)&1 != 0
	})
}

// Append appends the bytes of the digest to dst.
func (d *Digest) Append(dst []byte) []byte {
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(d.First)), uint64(d.Last))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(d.Kinds))
	for _, n := range []uint64{d.Most, d.MinIno, d.MaxIno} {
		dst = binary.AppendUvarint(dst, n)
	}
	for i, l := range [][]uint64{d.datasets, d.uids} {
		if d.any[i] {
			dst = binary.AppendUvarint(dst, maxListed+1)
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(len(l)))
		for _, n := range l {
			dst = binary.AppendUvarint(dst, n)
		}
	}
	if d.any[listClients] {
		dst = binary.AppendUvarint(dst, maxListed+1)
	} else {
		dst = binary.AppendUvarint(dst, uint64(len(d.clients)))
		for _, name := range d.clients {
			dst = appendString(dst, name)
		}
	}
	return append(dst, d.bloom[:]...)
}

// ParseDigest reads what Append wrote. Corrupt if it makes no sense.
func ParseDigest(b []byte) (*Digest, error) {
	r := varint.Reader{B: b}
	d := &Digest{First: int64(r.Uvarint()), Last: int64(r.Uvarint())}
	d.Kinds = KindSet(r.Uint32())
	d.Kinds |= KindSet(r.Uint32()) << 32
	d.Most, d.MinIno, d.MaxIno = r.Uvarint(), r.Uvarint(), r.Uvarint()
	for i, l := range []*[]uint64{&d.datasets, &d.uids} {
		for range d.listLength(&r, i) {
			*l = append(*l, r.Uvarint())
		}
	}
	for range d.listLength(&r, listClients) {
		d.clients = append(d.clients, r.String(MaxName))
	}
	copy(d.bloom[:], r.Bytes(bloomSize))
	if r.Bad || len(r.B) != 0 || d.First > d.Last {
		return nil, fail.New(fail.Corrupt, "a digest of operations makes no sense")
	}
	d.dataset, d.uid = math.MaxUint64, math.MaxUint64
	return d, nil
}

func (d *Digest) listLength(r *varint.Reader, which int) uint64 {
	n := r.Uvarint()
	if d.any[which] = n == maxListed+1; d.any[which] {
		return 0
	}
	if r.Bad = r.Bad || n > maxListed; r.Bad {
		return 0
	}
	return n
}
