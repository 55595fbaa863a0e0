package bytesize

import "testing"

func TestExact(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 bytes", 1023: "1023 bytes", 1024: "1K", 4097: "4097 bytes", 1536 << 20: "1536M", 16 << 30: "16G", 1 << 50: "1P", 3 << 60 >> 1: "1536P",
		-4096: "-4K",
	} {
		if got := Exact(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	if got := Exact(uint64(1) << 62); got != "4E" {
		t.Error(got)
	}
}
