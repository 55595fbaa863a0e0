// Package dump makes archives in the format of dump(8), of shares and of foreign
// file systems, and knows their records. docs/dump.md has the whole picture.
package dump
