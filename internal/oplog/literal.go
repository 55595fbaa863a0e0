package oplog

import "strings"

// Literal is what every path that matches a pattern begins and ends with: what
// does not is ruled out without putting a path together.
type Literal struct{ prefix, suffix string }

// LiteralOf finds the literal ends of a pattern.
func LiteralOf(pattern string) Literal {
	first, last := strings.IndexAny(pattern, `*?[\\`), strings.LastIndexAny(pattern, `*?]\\`)
	l := Literal{prefix: pattern, suffix: pattern[last+1:]}
	if first >= 0 {
		l.prefix = pattern[:first]
	}
	if !strings.HasPrefix(pattern, "/") {
		l.prefix = "" // it may begin at any name
	}
	if i := strings.LastIndexByte(pattern, '\\'); i >= 0 && i == last {
		l.suffix = l.suffix[min(1, len(l.suffix)):] // what is quoted
	}
	return l
}

// MayMatch reports whether the path dir/name may match; dir has no slash at its
// end.
func (l *Literal) MayMatch(dir, name string) bool {
	if n := len(dir); len(l.prefix) <= n {
		if dir[:len(l.prefix)] != l.prefix {
			return false
		}
	} else if l.prefix[:n] != dir || l.prefix[n] != '/' || !strings.HasPrefix(name, l.prefix[n+1:]) {
		return false
	}
	return l.MayEnd(name)
}

// MayEnd reports whether a path that ends with a name may match.
func (l *Literal) MayEnd(name string) bool {
	return len(l.suffix) > len(name) || strings.HasSuffix(name, l.suffix)
}
