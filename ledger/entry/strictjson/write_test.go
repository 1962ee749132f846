package strictjson

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"
)

// TestQuote compares with the library, for all bytes at all places of a word
// and for random strings.
func TestQuote(t *testing.T) {
	check := func(s string) {
		w := Writer{}
		w.Quote(s)
		if !utf8.ValidString(s) {
			if w.Err == nil {
				t.Fatalf("%q is not UTF-8, and was taken", s)
			}
			return
		}
		want, err := jsontext.AppendQuote(nil, s)
		if err != nil || w.Err != nil {
			t.Fatal(err, w.Err)
		}
		if string(w.Text) != string(want) {
			t.Fatalf("%q is quoted as %s, want %s", s, w.Text, want)
		}
		var back string
		if err := json.Unmarshal(w.Text, &back); err != nil || back != s {
			t.Fatalf("%q comes back as %q, %v", s, back, err)
		}
	}
	for c := range rune(0x180) {
		for n := range 20 {
			check(strings.Repeat("x", n) + string(c) + strings.Repeat("ü\"", n%5))
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		check(rapid.String().Draw(t, "string"))
		check(string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")))
	})
}
