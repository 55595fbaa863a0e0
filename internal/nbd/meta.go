package nbd

import (
	"slices"
	"time"

	"varve/internal/fail"
)

const (
	maxContexts = 8  // selected by one connection
	maxQueries  = 32 // in one option; each may cost the backend a look at the past

	baseNamespace  = "base:"
	baseAllocation = "base:allocation"
)

// metaContext is a context that a client has selected.
type metaContext struct {
	id   uint32 // on the wire
	name string
	Context
}

// selection is what SET_META_CONTEXT has opened: it takes effect if GO, or
// EXPORT_NAME, follows for the same export.
type selection struct {
	export   string // as the client named it
	disk     Disk   // nil: nothing is selected
	contexts []metaContext
}

// drop closes what is selected.
func (s *selection) drop() {
	if s.disk != nil {
		closeContexts(s.contexts)
		s.disk.Close()
	}
	*s = selection{}
}

func closeContexts(contexts []metaContext) {
	for _, m := range contexts {
		m.Close()
	}
}

// answerMeta lists the metadata contexts of an export, or selects some.
//
//	name length 4 | name | count 4 | query length 4 | query, count times
//
// Each context is answered with its ID 4 | name. A query that names none that
// the export has is no error; it selects nothing.
func (h *handshake) answerMeta(opt uint32) {
	if opt == optSetMetaContext {
		h.selected.drop() // also where this one fails
	}
	name, queries, err := parseQueries(h.data)
	if err == nil && !h.structured {
		err = fail.New(fail.Invalid, "metadata contexts need structured replies")
	}
	if err != nil {
		h.fail(opt, optionError(err), err.Error())
		return
	}
	disk, err := h.openNamed(name)
	if err != nil {
		h.fail(opt, optionError(err), err.Error())
		return
	}
	if opt == optListMetaContext {
		for _, found := range h.listContexts(disk, queries) {
			h.putContext(opt, 0, found)
		}
		h.put(opt, repAck, nil)
		disk.Close()
		return
	}
	h.selected = selection{export: name, disk: disk}
	if err := h.selectContexts(queries); err != nil {
		h.selected.drop()
		h.fail(opt, optionError(err), err.Error())
		return
	}
	for _, m := range h.selected.contexts {
		h.putContext(opt, m.id, m.name)
	}
	h.put(opt, repAck, nil)
}

func (h *handshake) putContext(opt, id uint32, name string) {
	h.put(opt, repMetaContext, append(be.AppendUint32(nil, id), name...))
}

// listContexts returns the names that the queries find, each once.
func (h *handshake) listContexts(disk Disk, queries []string) (names []string) {
	defer h.credit(time.Now())
	if len(queries) == 0 {
		return append([]string{baseAllocation}, disk.Contexts("")...)
	}
	seen := map[string]bool{}
	for _, q := range queries {
		var found []string
		switch q {
		case baseNamespace, baseAllocation:
			found = []string{baseAllocation}
		case "": // names nothing; to a disk it would mean everything
		default:
			found = disk.Contexts(q)
		}
		for _, name := range found {
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	return names
}

// selectContexts opens what the queries name, for h.selected.
func (h *handshake) selectContexts(queries []string) error {
	s := &h.selected
	for _, q := range queries {
		if slices.ContainsFunc(s.contexts, func(m metaContext) bool { return m.name == q }) {
			continue
		}
		if len(s.contexts) == maxContexts {
			return fail.New(fail.TooBig, "more than %d metadata contexts", maxContexts)
		}
		if c := h.openContext(s.disk, q); c != nil {
			s.contexts = append(s.contexts, metaContext{uint32(len(s.contexts)) + 1, q, c})
		}
	}
	return nil
}

// openContext returns nil where the disk does not offer the context. The
// protocol has no words for the reason, so it is logged.
func (h *handshake) openContext(disk Disk, name string) Context {
	if name == baseAllocation {
		return allocation{disk}
	}
	defer h.credit(time.Now())
	c, err := disk.OpenContext(name)
	if err != nil {
		h.log.Info("nbd: context not offered", "export", disk.Info().Name, "context", clip(name, maxMessage), "reason", err)
		return nil
	}
	return c
}

// parseQueries decodes the data of LIST_META_CONTEXT and SET_META_CONTEXT.
func parseQueries(p []byte) (export string, queries []string, err error) {
	malformed := fail.New(fail.Invalid, "malformed list of metadata contexts")
	name, p, ok := cutString(p)
	if !ok || len(p) < 4 {
		return "", nil, malformed
	}
	count := be.Uint32(p)
	p = p[4:]
	if uint64(count)*4 > uint64(len(p)) {
		return "", nil, malformed
	}
	if count > maxQueries {
		return "", nil, fail.New(fail.TooBig, "%d queries; at most %d", count, maxQueries)
	}
	for range count {
		var q []byte
		if q, p, ok = cutString(p); !ok {
			return "", nil, malformed
		}
		queries = append(queries, string(q))
	}
	if len(p) > 0 {
		return "", nil, malformed
	}
	return string(name), queries, nil
}

// cutString takes a length 4 and as many bytes off p.
func cutString(p []byte) (s, rest []byte, ok bool) {
	if len(p) < 4 || uint64(be.Uint32(p)) > uint64(len(p)-4) {
		return nil, nil, false
	}
	n := be.Uint32(p)
	return p[4 : 4+n], p[4+n:], true
}

// allocation is base:allocation, which every disk has.
type allocation struct{ disk Disk }

// Status implements Context.
func (a allocation) Status(off, n uint64, visit func(n uint64, flags uint32) bool) error {
	return a.disk.Map(off, n, func(s Span) bool {
		if s.Hole {
			return visit(s.Len, stateHole|stateZero)
		}
		return visit(s.Len, 0)
	})
}

// Close implements Context. The disk is closed by who opened it.
func (allocation) Close() {}
