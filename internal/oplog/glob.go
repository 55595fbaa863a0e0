package oplog

import (
	"strings"

	"varve/internal/fail"
)

// maxGlob bounds a pattern, in bytes; with it, what a match can cost: a
// pattern times a path.
const maxGlob = 4096

// CheckGlob refuses patterns that Glob would not match as meant: Invalid.
func CheckGlob(pattern string) error {
	bad := func(why string) error {
		return fail.New(fail.Invalid, "%.100q is no pattern: %s", pattern, why).
			WithHint("* and ? match within a name, ** over several, [a-z] one character; a pattern without a slash matches last names")
	}
	if pattern == "" || len(pattern) > maxGlob {
		return bad("it is empty or too long")
	}
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '\\':
			if i++; i == len(pattern) {
				return bad("nothing follows the last backslash")
			}
		case '[':
			n := classEnd(pattern[i:])
			if n < 0 {
				return bad("a [ is not closed")
			}
			i += n - 1
		}
	}
	return nil
}

// Glob reports whether a pattern matches a path, which begins with a slash. As
// in the shell, * and ? match anything within a name and [a-z] (or [!a-z]) one
// character; ** matches over several names, none too: /a/**/b matches /a/b. A
// backslash quotes. A pattern that does not begin with a slash may begin to
// match at any name: *.txt is /**/*.txt. Bytes are compared.
func Glob(pattern, path string) bool {
	if !strings.HasPrefix(pattern, "/") {
		pattern = "/**/" + pattern
	}
	return matchGlob(pattern, path)
}

// matchGlob backtracks to the last ** and, within a name, to the last *: that
// is enough, as whatever an earlier one could take, the later one can too.
func matchGlob(pat, path string) bool {
	p, s := 0, 0
	star, starAt := -1, 0 // behind the last *, and what it has taken so far
	deep, deepAt := -1, 0 // the same for **
	for s < len(path) || p < len(pat) {
		switch {
		case strings.HasPrefix(pat[p:], "/**/"): // any number of names, with their slashes
			if s < len(path) && path[s] == '/' {
				deep, deepAt, star = p+3, s, -1
				p += 3
				continue
			}
		case strings.HasPrefix(pat[p:], "**"):
			deep, deepAt, star = p+2, s, -1
			p += 2
			continue
		case p < len(pat) && pat[p] == '*':
			star, starAt = p+1, s
			p++
			continue
		case p < len(pat) && s < len(path):
			if n := matchOne(pat[p:], path[s]); n > 0 {
				p += n
				s++
				continue
			}
		}
		switch {
		case star >= 0 && starAt < len(path) && path[starAt] != '/':
			starAt++
			p, s = star, starAt
		case deep >= 0 && deepAt < len(path):
			deepAt = nextDeep(pat, deep, path, deepAt)
			if deepAt < 0 {
				return false
			}
			p, s, star = deep, deepAt, -1
		default:
			return false
		}
	}
	return true
}

// nextDeep lets a ** take more: of "/**/" up to the next slash, which the
// pattern goes on with, else one byte. Negative: there is no more.
func nextDeep(pat string, deep int, path string, at int) int {
	if deep < len(pat) && pat[deep] == '/' && deep >= 3 && pat[deep-3] == '/' {
		if i := strings.IndexByte(path[at+1:], '/'); i >= 0 {
			return at + 1 + i
		}
		return -1
	}
	return at + 1
}

// matchOne matches what pat begins with, which is no star, against c, and
// returns how much of pat that was; 0 if it does not match.
func matchOne(pat string, c byte) int {
	switch pat[0] {
	case '?':
		if c != '/' {
			return 1
		}
	case '[':
		n := classEnd(pat)
		if n > 0 && c != '/' && inClass(pat[1:n-1], c) {
			return n
		}
	case '\\':
		if len(pat) > 1 && pat[1] == c {
			return 2
		}
	case c:
		return 1
	}
	return 0
}

// classEnd returns the length of the class that pat begins with, or -1.
func classEnd(pat string) int {
	i := 1
	if i < len(pat) && (pat[i] == '!' || pat[i] == '^') {
		i++
	}
	if i < len(pat) && pat[i] == ']' { // first, it stands for itself
		i++
	}
	for ; i < len(pat); i++ {
		switch pat[i] {
		case ']':
			return i + 1
		case '\\':
			i++
		}
	}
	return -1
}

func inClass(class string, c byte) bool {
	not := class[0] == '!' || class[0] == '^'
	if not {
		class = class[1:]
	}
	next := func() byte {
		if class[0] == '\\' && len(class) > 1 {
			class = class[1:]
		}
		b := class[0]
		class = class[1:]
		return b
	}
	for len(class) > 0 {
		lo := next()
		hi := lo
		if len(class) > 1 && class[0] == '-' {
			class = class[1:]
			hi = next()
		}
		if lo <= c && c <= hi {
			return !not
		}
	}
	return not
}
