package term

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// Every unsafe character is escaped, however writes are cut, and JSON keeps
// its meaning.
func TestEscape(t *testing.T) {
	unsafe := []rune{0, 7, '\r', 0x1b, 0x7f, 0x85, 0x9f, 0xad, 0x61c, 0x200b, 0x200e, 0x200f, 0x202a, 0x202e, 0x2028, 0x2029, 0x2060, 0x2065, 0x2069, 0xfeff, 0xe0000, 0xe0041, 0xe007f}
	for _, r := range unsafe {
		if !Unsafe(r) {
			t.Errorf("%U is safe", r)
		}
	}
	text := "a\nÜ✓😀" + string(unsafe)
	for _, s := range []string{text, text + "\xff", "\xe2\x80", "\xe2\x80\xae\xe2"} {
		want := Escape(s)
		for step := 1; step < 5; step++ {
			var b bytes.Buffer
			e := NewEscaper(&b)
			for rest := s; rest != ""; {
				n := min(step, len(rest))
				if _, err := e.Write([]byte(rest[:n])); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if err := e.Flush(); err != nil || b.String() != want {
				t.Errorf("in steps of %d: %q, want %q (%v)", step, &b, want, err)
			}
		}
		for _, r := range want {
			if Unsafe(r) || !utf8.ValidString(want) {
				t.Errorf("%U remains in %q", r, want)
			}
		}
	}
	var doc strings.Builder
	enc := json.NewEncoder(&doc)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(text); err != nil {
		t.Fatal(err)
	}
	var back string
	if err := json.Unmarshal([]byte(Escape(doc.String())), &back); err != nil || back != text {
		t.Errorf("%q, %v", back, err)
	}
}
