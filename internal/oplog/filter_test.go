package oplog

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestGlob(t *testing.T) {
	for _, x := range []struct {
		pattern, path string
		want          bool
	}{
		{"/a", "/a", true},
		{"/a", "/a/b", false},
		{"/a/*", "/a/b", true},
		{"/a/*", "/a/b/c", false},
		{"/a/**", "/a/b/c", true},
		{"/a/**", "/a", false},
		{"/a/**", "/ab", false},
		{"/a/**/c", "/a/c", true},
		{"/a/**/c", "/a/b/b/c", true},
		{"/a/**/c", "/a/bc", false},
		{"/**/x*/y", "/x1/z/x2/y", true},
		{"*.txt", "/a/b.txt", true},
		{"*.txt", "/a.txt/b", false},
		{"b/*", "/a/b/c", true},
		{"b/*", "/a/bb/c", false},
		{"/a?c", "/abc", true},
		{"/a?c", "/a/c", false},
		{"/[a-c]x", "/bx", true},
		{"/[!a-c]x", "/bx", false},
		{"/[!a-c]x", "/dx", true},
		{"/[]x]", "/]", true},
		{`/\*`, "/*", true},
		{`/\*`, "/a", false},
		{"/**", "/", true},
		{"/*a*b*c", "/xaybzbc", true},
		{"/*a*b*c", "/xaybzb", false},
		{"/a**z", "/ab/c/z", true},
	} {
		if got := Glob(x.pattern, x.path); got != x.want {
			t.Errorf("%s on %s: %v", x.pattern, x.path, got)
		}
	}
	for _, bad := range []string{"", "/a[b", `/a\`, "/" + strings.Repeat("a", maxGlob)} {
		if CheckGlob(bad) == nil {
			t.Errorf("%.20q passes", bad)
		}
	}
}

func TestLiteral(t *testing.T) {
	for _, x := range []struct {
		pattern, dir, name string
		want               bool
	}{
		{"/nothing/**", "/a", "b", false},
		{"/nothing/**", "", "nothing", false},
		{"/nothing/**", "/nothing", "x", true},
		{"/no*", "", "nothing", true},
		{"/no*", "", "yes", false},
		{"*.txt", "/a", "b.txt", true},
		{"*.txt", "/a", "b.doc", false},
		{"plan", "/a/b", "plan", true},
		{"plan", "/a/b", "plans", false},
		{`/a/\*x`, "/a", "*x", true},
		{`/a/\*x`, "/a", "y", false},
		{`/a/x\\`, "/a", `x\`, true},
		{"/a/[x-z]b", "/a", "xb", true},
		{"/a/[x-z]b", "/a", "xc", false},
	} {
		l := LiteralOf(x.pattern)
		if got := l.MayMatch(x.dir, x.name); got != x.want {
			t.Errorf("%s on %s / %s: %v", x.pattern, x.dir, x.name, got)
		}
	}
}

// The matcher agrees with a regular expression made of the pattern.
func TestGlobModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{"/", "a", "b", "*", "?", "**", "/**/", "[ab]"}), 0, 8).Draw(t, "pattern")
		pattern := "/" + strings.Join(parts, "")
		pattern = regexp.MustCompile(`\*{3,}`).ReplaceAllString(pattern, "**")
		path := "/" + strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"/", "a", "b"}), 0, 8).Draw(t, "path"), "")
		want := globRegexp(pattern).MatchString(path)
		if got := Glob(pattern, path); got != want {
			t.Fatalf("%s on %s: %v, not %v", pattern, path, got, want)
		}
		for _, p := range []string{pattern, strings.TrimLeft(pattern, "/")} {
			l, cut := LiteralOf(p), strings.LastIndexByte(path, '/')
			if p != "" && Glob(p, path) && !l.MayMatch(path[:cut], path[cut+1:]) {
				t.Fatalf("%s is ruled out on %s", p, path)
			}
		}
	})
}

func globRegexp(pattern string) *regexp.Regexp {
	re := "(?s)^"
	for p := pattern; p != ""; {
		switch {
		case strings.HasPrefix(p, "/**/"):
			re, p = re+"(?:/[^/]*)*", p[3:]
		case strings.HasPrefix(p, "**"):
			re, p = re+".*", p[2:]
		case p[0] == '*':
			re, p = re+"[^/]*", p[1:]
		case p[0] == '?':
			re, p = re+"[^/]", p[1:]
		case strings.HasPrefix(p, "[ab]"):
			re, p = re+"[ab]", p[4:]
		default:
			re, p = re+p[:1], p[1:]
		}
	}
	return regexp.MustCompile(re + "$")
}

func TestFilterMatch(t *testing.T) {
	uid := uint32(1000)
	op := &Op{Kind: WriteFile, Time: 50, Client: &Client{Name: "nfs 10.0.0.7:800"}, UID: 1000, Ino: 9, Len: 5000}
	move := &Op{Kind: Move, Time: 50, Ino: 9, Ino2: 10}
	volume := &Op{Kind: Write, Time: 50, Len: 4096}
	for _, x := range []struct {
		f    Filter
		op   *Op
		want bool
	}{
		{Filter{}, op, true},
		{Filter{Since: 50}, op, false},
		{Filter{Since: 49, Until: 50}, op, true},
		{Filter{Until: 49}, op, false},
		{Filter{Kinds: 1 << WriteFile}, op, true},
		{Filter{Kinds: 1 << Write}, op, false},
		{Filter{Client: "NFS 10.0.0.7"}, op, true},
		{Filter{Client: "10.0.0.8"}, op, false},
		{Filter{Client: "nfs"}, move, false},
		{Filter{UID: &uid}, op, true},
		{Filter{UID: &uid}, move, false},
		{Filter{UID: new(uint32)}, volume, false},
		{Filter{Inos: []uint64{10}}, op, false},
		{Filter{Inos: []uint64{8, 10}}, move, true},
		{Filter{Inos: []uint64{0}}, volume, false},
		{Filter{BytesOver: 4999}, op, true},
		{Filter{BytesOver: 5000}, op, false},
		{Filter{BytesOver: 4095}, volume, true},
		{Filter{BytesOver: 1}, move, false},
	} {
		if got := x.f.Match(x.op); got != x.want {
			t.Errorf("%s on %s: %v", x.f.String(), x.op, got)
		}
	}
	f := Filter{Paths: []string{"/a/*", "*.b"}}
	if !f.MatchPath("/x", "/y/z.b") || f.MatchPath("/x") || f.MatchPath("") || f.MatchPath() {
		t.Error("paths")
	}
}

func TestParseFilter(t *testing.T) {
	f, err := ParseFilter(`op=write-file+rename,client=10.0.0.7,uid=0,ino=5+6,bytes-over=1M,path=/a\,b/**,path=*.x,since=2026-11-22T10:00:00Z`)
	if err != nil {
		t.Fatal(err)
	}
	if !f.Kinds.Has(Move) || !f.Kinds.Has(WriteFile) || f.Kinds.Has(Write) || f.Client != "10.0.0.7" || *f.UID != 0 ||
		len(f.Inos) != 2 || f.BytesOver != 1<<20 || f.Paths[0] != "/a,b/**" || f.Paths[1] != "*.x" || f.Since == 0 {
		t.Fatalf("%+v", f)
	}
	again, err := ParseFilter(f.String())
	if err != nil || !reflect.DeepEqual(again, f) {
		t.Fatalf("%s, then %s: %v", f.String(), again.String(), err)
	}
	for _, bad := range []string{"", "op", "op=", "op=fly", "uid=x", "ino=1+", "bytes-over=1X", "bytes-over=99999999999E", "path=[", "when=now", "since=monday", ","} {
		if _, err := ParseFilter(bad); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

// What is read is written so that it is read again.
func FuzzFilter(f *testing.F) {
	f.Add(`op=write-file+rename,client=10.0.0.7,uid=0,ino=5+6,bytes-over=1M,path=/a\,b/**,since=2026-11-22T10:00:00Z`)
	f.Add(`path=\\[!a-z]*`)
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseFilter(text)
		if err != nil {
			return
		}
		for _, p := range a.Paths {
			Glob(p, "/a/b/"+text)
		}
		if a.String() == "" {
			return // bytes-over=0 and the like: no condition
		}
		b, err := ParseFilter(a.String())
		if err != nil || !reflect.DeepEqual(a, b) {
			t.Fatalf("%q: %+v, then %+v, %v", text, a, b, err)
		}
	})
}
