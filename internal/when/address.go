package when

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"varve/internal/fail"
)

// Address names a dataset, or a moment, a range of moments or a place of it.
type Address struct {
	Dataset   string
	When      *Spec  // nil if none was given
	To        *Spec  // the end of a range (When, To], or nil
	Path      string // begins with "/", or ""
	Partition int    // from 1, or 0 for none
}

// maxPartition is the size of the usual partition table.
const maxPartition = 128

var (
	nameShape      = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	partitionShape = regexp.MustCompile(`:p([0-9]+)$`)
)

// ParseAddress reads DATASET[@WHEN[..@WHEN]][:pN][:/path]. The path is all
// that follows the first ":/", so it may hold any byte. Whether the dataset
// exists is not looked at; what cannot be read is fail.Invalid.
func ParseAddress(s string, loc *time.Location) (Address, error) {
	var a Address
	if i := strings.Index(s, ":/"); i >= 0 {
		s, a.Path = s[:i], s[i+1:]
	}
	if m := partitionShape.FindStringSubmatchIndex(s); m != nil {
		n, err := strconv.Atoi(s[m[2]:m[3]])
		if err != nil || n < 1 || n > maxPartition {
			return Address{}, fail.New(fail.Invalid, "partitions are p1 to p%d, not %.20q", maxPartition, s[m[0]+1:])
		}
		s, a.Partition = s[:m[0]], n
	}
	name, rest, dated := strings.Cut(s, "@")
	if dataset, path, found := strings.Cut(name, ":"); found {
		return Address{}, fail.New(fail.Invalid, "%q is no address", s).WithHint("a path begins with a slash, a partition is a number: %s:/%s, %[1]s:p1", dataset, path)
	}
	if err := checkShape(name); err != nil {
		return Address{}, err
	}
	a.Dataset = name
	if !dated {
		return a, nil
	}
	from, to, ranged := strings.Cut(rest, "..@")
	w, err := Parse(from, loc)
	if err != nil {
		return Address{}, err
	}
	a.When = &w
	if ranged {
		end, err := Parse(to, loc)
		if err != nil {
			return Address{}, err
		}
		a.To = &end
	}
	return a, nil
}

// ValidName reports, as fail.Invalid, why s cannot name a dataset or a
// snapshot: its letters, a reserved word, or that it reads as a time.
func ValidName(s string) error {
	if err := checkShape(s); err != nil {
		return err
	}
	switch {
	case s == "pool":
		return fail.New(fail.Invalid, "the name %q is reserved", s).WithHint("it stands for the pool itself; choose another")
	case s == "now" || dateShape.MatchString(s) || agoShape.MatchString(s):
		return fail.New(fail.Invalid, "the name %q reads as a time", s).WithHint("choose one that cannot be taken for a moment, such as %q", "at-"+s)
	}
	return nil
}

func checkShape(s string) error {
	switch {
	case s == "":
		return fail.New(fail.Invalid, "a name is missing").WithHint("write DATASET or DATASET@WHEN")
	case len(s) > 63:
		return fail.New(fail.Invalid, "the name %.20q... has %d bytes", s, len(s)).WithHint("a name has at most 63")
	case !nameShape.MatchString(s):
		return fail.New(fail.Invalid, "%q is no name", s).
			WithHint("a name has a-z, 0-9, '.', '_' and '-', and begins with a letter or a digit")
	}
	return nil
}
