package files

import (
	"encoding/json"
	"testing"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for in, want := range map[Text]string{
		"/plain name": `/plain name`, "/über": `/über`, "/a\nb": `"/a\nb"`, "/\xff": `"/\xff"`,
		`"quoted`: `"\"quoted"`, "": "", "/\u202eback": `"/\u202eback"`,
	} {
		if got := in.String(); got != want {
			t.Errorf("%q is shown as %s, want %s", string(in), got, want)
		}
	}
}

// FuzzText: whatever a name is, it arrives as it was, as text that is UTF-8;
// and whatever comes is text or refused.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "/a", `"`, "\xff", "/a\xffb\n", `"\xff"`, `"\q"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, err := json.Marshal(Text(s))
		if err != nil || !utf8.Valid(b) {
			t.Fatalf("%q became %q, %v", s, b, err)
		}
		var back Text
		if err := json.Unmarshal(b, &back); err != nil || string(back) != s {
			t.Fatalf("%q came back as %q, %v", s, back, err)
		}
		if back.UnmarshalText([]byte(s)) == nil && utf8.ValidString(s) && s != "" && s[0] != '"' && string(back) != s {
			t.Fatalf("%q was read as %q", s, back)
		}
	})
}
