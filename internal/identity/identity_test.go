package identity

import "testing"

func TestSame(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"dana@acme.example", "dana@acme.example", true},
		{"dana@acme.example", "kim@acme.example", false},
		{"dana@acme.example", " Dana@ACME.example\t", true},
		{"dana@acme.example", "da\u200bna@acme.example", true}, // zero width space
		{"dana@acme.example", "da\u00adna@acme.example", true}, // soft hyphen
		{"dana@acme.example", "dana\u2060@acme.example", true}, // word joiner
		{"dana@acme.example", "\u202edana@acme.example\u202c", true},
		{"dana@acme.example", "dana\ufe0f@acme.example", true},     // variation selector
		{"dana@acme.example", "dana\U000e0041@acme.example", true}, // tag
		{"dana@acme.example", "dana\u3164@acme.example", true},     // Hangul filler
		{"dana@acme.example", "dana\u034f@acme.example", true},     // grapheme joiner
		{"dana@acme.example", "dana\x00@acme.example", true},
		{"dana@acme.example", "ｄａｎａ＠ａｃｍｅ．ｅｘａｍｐｌｅ", true}, // full width
		{"dana@acme.example", "𝐝𝐚𝐧𝐚@acme.example", true},
		{"ren\u00e9@acme.example", "rene\u0301@acme.example", true},
		// composes once the joiner is gone
		{"rene\u200d\u0301@acme.example", "ren\u00e9@acme.example", true},
		{"STRASSE@acme.example", "straße@acme.example", true},
		{"\u212aim@acme.example", "kim@acme.example", true}, // Kelvin sign
		{"rene@acme.example", "ren\u00e9@acme.example", false},
	} {
		if Same(c.a, c.b) != c.same || Same(c.b, c.a) != c.same {
			t.Errorf("Same(%q, %q) is not %v: %q, %q", c.a, c.b, c.same, Fold(c.a), Fold(c.b))
		}
	}
	for _, s := range []string{"", " ", "\u200b", "\u3164\u2800"} {
		if Fold(s) != "" {
			t.Errorf("Fold(%q) is %q", s, Fold(s))
		}
	}
}

func FuzzFold(f *testing.F) {
	f.Add("Dana\u200d\u0301")
	f.Fuzz(func(t *testing.T, s string) {
		if once := Fold(s); Fold(once) != once {
			t.Errorf("Fold(%q) is not stable: %q", s, once)
		}
	})
}
