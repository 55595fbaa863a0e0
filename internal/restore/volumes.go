package restore

import (
	"io"
	"os"

	"varve/internal/fail"
)

// Files are volumes in files, one after another; "-" is in.
func Files(names []string, in io.Reader) Volumes {
	return func(n int) (Volume, error) {
		if n >= len(names) {
			return Volume{}, io.EOF
		}
		if names[n] == "-" {
			return Volume{io.NopCloser(in), "stdin"}, nil
		}
		f, err := os.Open(names[n])
		if err != nil {
			return Volume{}, osError(err, "open the archive")
		}
		if i, err := f.Stat(); err == nil && i.IsDir() {
			f.Close()
			return Volume{}, fail.New(fail.Invalid, "%s is a directory, no archive", names[n])
		}
		return Volume{f, names[n]}, nil
	}
}
