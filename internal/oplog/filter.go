package oplog

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"varve/internal/fail"
)

// Filter says which operations are meant: those that meet every condition that
// is set. The zero Filter means all. It is not changed while it is used; then
// it is safe for concurrent use.
type Filter struct {
	Since, Until int64    // Unix nanoseconds: of (Since, Until]; 0 = no bound
	Kinds        KindSet  // empty = of all
	Client       string   // a part of the client's name, in any case
	UID          *uint32  // who asked; only operations on files have one
	Inos         []uint64 // the object, or what a rename replaced; none = any
	BytesOver    uint64   // writes and trims of more bytes than this; 0 = any
	Paths        []string // globs (Glob), of which one must match; none = any. Match leaves them to MatchPath
}

// KindSet is a set of kinds.
type KindSet uint64

// Add puts k into the set.
func (s *KindSet) Add(k Kind) { *s |= 1 << (k & 63) }

// Has reports whether k is in the set.
func (s KindSet) Has(k Kind) bool { return k < 64 && s>>k&1 != 0 }

// NameKinds are the kinds that bind or unbind names, or put the whole of a
// share elsewhere: who wants to know paths has to see all of them.
const NameKinds KindSet = 1<<Create | 1<<Mkdir | 1<<Symlink | 1<<Mknod | 1<<Link | 1<<Remove | 1<<Rmdir | 1<<Move | 1<<Rollback | 1<<Undo

// KindOf finds the kind of that name. Invalid, with all names, if there is none.
func KindOf(name string) (Kind, error) {
	for k, n := range kindNames {
		if n == name {
			return k, nil
		}
	}
	return 0, fail.New(fail.Invalid, "no operation is of the kind %.40q", name).
		WithHint("there are %s", strings.Join(KindNames(), ", "))
}

// KindNames returns the names of all kinds, sorted.
func KindNames() []string {
	var names []string
	for _, n := range kindNames {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// HasPaths reports whether MatchPath has something to say.
func (f *Filter) HasPaths() bool { return len(f.Paths) > 0 }

// Match reports whether op meets every condition but that of the path.
func (f *Filter) Match(op *Op) bool {
	switch {
	case f.Since != 0 && op.Time <= f.Since, f.Until != 0 && op.Time > f.Until,
		f.Kinds != 0 && !f.Kinds.Has(op.Kind),
		f.UID != nil && (!op.Kind.OnFile() || op.UID != *f.UID),
		f.BytesOver != 0 && op.Bytes() <= f.BytesOver:
		return false
	}
	return f.matchIno(op) && f.MatchClient(op.Client)
}

func (f *Filter) matchIno(op *Op) bool {
	return len(f.Inos) == 0 || op.Kind.OnFile() &&
		(slices.Contains(f.Inos, op.Ino) || op.Ino2 != 0 && slices.Contains(f.Inos, op.Ino2))
}

// MatchClient reports whether a client is one of those that are meant. The
// server itself, nil, is none.
func (f *Filter) MatchClient(c *Client) bool {
	return f.Client == "" || c != nil && strings.Contains(strings.ToLower(c.Name), strings.ToLower(f.Client))
}

// MatchPath reports whether one of the paths that an operation has matches one
// of the globs, or there are none. What has no path does not match a glob.
func (f *Filter) MatchPath(paths ...string) bool {
	if len(f.Paths) == 0 {
		return true
	}
	for _, g := range f.Paths {
		for _, p := range paths {
			if p != "" && Glob(g, p) {
				return true
			}
		}
	}
	return false
}

// Bytes is how many bytes op writes or trims, 0 for other kinds.
func (o *Op) Bytes() uint64 {
	if o.Kind.Writes() || o.Kind == Trim {
		return o.Len
	}
	return 0
}

// ParseFilter reads the text form, conditions with commas between them:
//
//	op=write-file+rename,client=192.168.1.7,uid=1000,ino=77,bytes-over=1M,path=/a/**,since=T,until=T
//
// op and ino take several values with "+" between them, path may be there more
// than once: each is an alternative. Times are RFC 3339. A comma or backslash
// of a value has a backslash before it. Invalid for what is no condition.
func ParseFilter(text string) (Filter, error) {
	var f Filter
	if text == "" {
		return f, fail.New(fail.Invalid, "an empty filter").WithHint("write for example client=192.168.1.7,path=/projects/**")
	}
	for _, part := range splitQuoted(text) {
		key, value, ok := strings.Cut(part, "=")
		if !ok || value == "" {
			return f, badCondition(part)
		}
		if err := f.set(key, value); err != nil {
			return f, err
		}
	}
	return f, nil
}

func badCondition(part string) error {
	return fail.New(fail.Invalid, "%.60q is no condition of a filter", part).
		WithHint("write op=, client=, uid=, ino=, bytes-over=, path=, since= or until=, with commas between them")
}

func (f *Filter) set(key, value string) error {
	var err error
	switch key {
	case "op":
		for name := range strings.SplitSeq(value, "+") {
			k, err := KindOf(name)
			if err != nil {
				return err
			}
			f.Kinds.Add(k)
		}
	case "client":
		f.Client = value
	case "uid":
		var n uint64
		n, err = strconv.ParseUint(value, 10, 32)
		uid := uint32(n)
		f.UID = &uid
	case "ino":
		for text := range strings.SplitSeq(value, "+") {
			n, e := strconv.ParseUint(text, 10, 64)
			if e != nil {
				return badCondition(key + "=" + value)
			}
			f.Inos = append(f.Inos, n)
		}
	case "bytes-over":
		f.BytesOver, err = parseBytes(value)
	case "path":
		f.Paths = append(f.Paths, value)
		err = CheckGlob(value)
	case "since":
		f.Since, err = parseTime(value)
	case "until":
		f.Until, err = parseTime(value)
	default:
		return badCondition(key)
	}
	if err != nil && !fail.Is(err, fail.Invalid) {
		return badCondition(key + "=" + value)
	}
	return err
}

// String is the text form, which ParseFilter reads; "" for the zero Filter.
func (f *Filter) String() string {
	var parts []string
	add := func(key, value string) {
		parts = append(parts, key+"="+strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(value))
	}
	var kinds, inos []string
	for k := Kind(0); k < 64; k++ {
		if f.Kinds.Has(k) {
			kinds = append(kinds, k.String())
		}
	}
	for _, n := range f.Inos {
		inos = append(inos, strconv.FormatUint(n, 10))
	}
	if kinds != nil {
		add("op", strings.Join(kinds, "+"))
	}
	if f.Client != "" {
		add("client", f.Client)
	}
	if f.UID != nil {
		add("uid", strconv.FormatUint(uint64(*f.UID), 10))
	}
	if inos != nil {
		add("ino", strings.Join(inos, "+"))
	}
	if f.BytesOver != 0 {
		add("bytes-over", strconv.FormatUint(f.BytesOver, 10))
	}
	for _, p := range f.Paths {
		add("path", p)
	}
	if f.Since != 0 {
		add("since", time.Unix(0, f.Since).UTC().Format(time.RFC3339Nano))
	}
	if f.Until != 0 {
		add("until", time.Unix(0, f.Until).UTC().Format(time.RFC3339Nano))
	}
	return strings.Join(parts, ",")
}

// splitQuoted cuts text at commas that have no backslash before them, and takes
// away the backslashes that quote.
func splitQuoted(text string) []string {
	var parts []string
	var part []byte
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text) && (text[i+1] == ',' || text[i+1] == '\\'):
			i++
			part = append(part, text[i])
		case text[i] == ',':
			parts, part = append(parts, string(part)), nil
		default:
			part = append(part, text[i])
		}
	}
	return append(parts, string(part))
}

// parseBytes reads a number with an optional unit, a power of 1024.
func parseBytes(s string) (uint64, error) {
	shift := 0
	if i := strings.IndexByte("KMGTPE", s[len(s)-1]&^0x20); i >= 0 {
		s, shift = s[:len(s)-1], 10*(i+1)
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err == nil && n<<shift>>shift != n {
		err = strconv.ErrRange
	}
	return n << shift, err
}

func parseTime(s string) (int64, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	return t.UnixNano(), err
}
