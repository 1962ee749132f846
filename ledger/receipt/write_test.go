package receipt

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
		w := jsonWriter{}
		w.quote(s)
		if !utf8.ValidString(s) {
			if w.err == nil {
				t.Fatalf("%q is not UTF-8, and was taken", s)
			}
			return
		}
		want, err := jsontext.AppendQuote(nil, s)
		if err != nil || w.err != nil {
			t.Fatal(err, w.err)
		}
		if string(w.b) != string(want) {
			t.Fatalf("%q is quoted as %s, want %s", s, w.b, want)
		}
		var back string
		if err := json.Unmarshal(w.b, &back); err != nil || back != s {
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

// TestAppendJSONWithProof checks that both ways of writing a receipt give the
// same bytes.
func TestAppendJSONWithProof(t *testing.T) {
	w := newWorld(t)
	for _, form := range []Form{Full, Detached, Shared, PayloadErased, HeaderErased} {
		data := w.receipt(4, 11, form, true)
		r, err := Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		p, err := ParseProof(string(r.Proof))
		if err != nil {
			t.Fatal(err)
		}
		tail := NewProofTail(p.Checkpoint)
		got, err := r.AppendJSONWithProof(nil, p.Index, byteSlices(p.Path), &tail)
		if err != nil || string(got)+"\n" != string(data) {
			t.Errorf("%s: %v\n%s\nwant\n%s", form, err, got, data)
		}
	}
}
