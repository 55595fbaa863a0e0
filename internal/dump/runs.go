package dump

// Run is records of a file's data that follow a header, or as many of a hole.
type Run struct {
	N    int // at least 1
	Data bool
}

/*
Runs appends to dst what Addr of an inode's header says, neighbours of one kind
joined. An address is one record; in archives of Linux since dump 0.4b49 it can be a
run, and Count counts its bytes:

	0nnnnnnd            n + 1 records
	1nnnnnnd NNNNNNNN   64 * N + n + 65 records; d: data, else a hole

0 and 1 mean the same in both.
*/
func (h *Header) Runs(dst []Run) []Run {
	first := len(dst)
	add := func(n int, data bool) {
		if k := len(dst); k > first && dst[k-1].Data == data {
			dst[k-1].N += n
			return
		}
		dst = append(dst, Run{n, data})
	}
	addr := h.Addr[:h.Count]
	if !h.hasRuns() {
		for _, a := range addr {
			add(1, a != 0)
		}
		return dst
	}
	for len(addr) > 0 {
		a := addr[0]
		n, size := int(a>>1&63)+1, 1
		if a&0x80 != 0 && len(addr) > 1 {
			n, size = n+64+64*int(addr[1]), 2
		}
		add(n, a&1 != 0)
		addr = addr[size:]
	}
	return dst
}

// Records returns how many records of data follow a header of an inode, and how many
// of the file it tells of.
func (h *Header) Records() (data, all int) {
	var room [16]Run
	for _, r := range h.Runs(room[:0]) {
		all += r.N
		if r.Data {
			data += r.N
		}
	}
	return data, all
}

// hasRuns reports whether the addresses can be runs.
func (h *Header) hasRuns() bool {
	return h.Magic == MagicNew && (h.Type == TypeInode || h.Type == TypeAddr)
}

// endOfRuns returns where the last run ends: Count, or more if that is within one.
func (h *Header) endOfRuns() int {
	at := 0
	for at < int(h.Count) {
		at += 1 + int(h.Addr[at]>>7)
	}
	return at
}
