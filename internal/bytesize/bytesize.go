// Package bytesize writes numbers of bytes as people type them.
package bytesize

import "strconv"

// units are powers of 1024, from the first on.
const units = "KMGTPE"

// Exact returns n bytes with the largest unit of which they are a whole number:
// "16G", "1536M", or "4097 bytes" where there is none. The command line reads what has
// a unit back as the same number.
func Exact[N ~int | ~int64 | ~uint64](n N) string {
	unit := ""
	for i := 0; n != 0 && n%1024 == 0 && i < len(units); i++ {
		n, unit = n/1024, units[i:i+1]
	}
	if unit == "" {
		unit = " bytes"
	}
	return strconv.FormatInt(int64(n), 10) + unit
}
