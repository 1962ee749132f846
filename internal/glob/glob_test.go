package glob

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzGlob compares the matchers with the same pattern as a regular expression.
func FuzzGlob(f *testing.F) {
	f.Add("registry.acme.example/**:1.7.*", "registry.acme.example/a/b:1.7.2")
	f.Add("a*b", "a/b")
	f.Add("**", "")
	f.Add("a*b*ab", "ab/ab")
	f.Add("repo:acme/*:ref:*", "repo:acme/app:ref:main")
	f.Fuzz(func(t *testing.T, glob, name string) {
		if Check(glob) != nil || !utf8.ValidString(glob) || !utf8.ValidString(name) {
			return
		}
		for _, m := range []struct {
			name        string
			match       func(glob, name string) bool
			one, double string // regular expressions for * and **
		}{
			{"Match", Match, "[^/]*", ".*"},
			{"MatchParts", MatchParts, "[^/]*", "[^/]*"},
			{"MatchText", MatchText, ".*", ".*"},
		} {
			want := regexp.MustCompile(`(?s)\A` + expression(glob, m.one, m.double) + `\z`).MatchString(name)
			if got := m.match(glob, name); got != want {
				t.Errorf("%s(%q, %q) = %t", m.name, glob, name, got)
			}
		}
	})
}

// expression returns the regular expression of a glob, with one and double for
// * and **.
func expression(glob, one, double string) string {
	var b strings.Builder
	for i, part := range strings.Split(glob, "**") {
		if i > 0 {
			b.WriteString(double)
		}
		for j, p := range strings.Split(part, "*") {
			if j > 0 {
				b.WriteString(one)
			}
			b.WriteString(regexp.QuoteMeta(p))
		}
	}
	return b.String()
}

// FuzzOverlap checks Overlap with two globs that match the same name, and that
// it is symmetric and agrees with Match about a glob without stars.
func FuzzOverlap(f *testing.F) {
	f.Add("production/**", "*/eu", "production/eu")
	f.Add("a*", "*b", "ab")
	f.Add("a*", "a/*", "a/")
	f.Add("**", "*", "x")
	f.Fuzz(func(t *testing.T, a, b, name string) {
		if Check(a) != nil || Check(b) != nil {
			return
		}
		got := Overlap(a, b)
		if Match(a, name) && Match(b, name) && !got {
			t.Errorf("Overlap(%q, %q) is false, but both match %q", a, b, name)
		}
		if Overlap(b, a) != got {
			t.Errorf("Overlap(%q, %q) depends on the order", a, b)
		}
		if !strings.Contains(b, "*") && Match(a, b) != got {
			t.Errorf("Overlap(%q, %q) = %t", a, b, got)
		}
	})
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"production/**", "production/*", true},
		{"production/**", "*/eu", true},
		{"production/*", "production/eu/*", false},
		{"*", "a/b", false},
		{"**", "a/b", true},
		{"*a*", "b*", true},
		{"a*c", "ab*", true},
		{"a*", "b*", false},
		{"**x", "y*", true},
		{"*x", "y/**z", false},
		{"prodction", "production/**", false},
	} {
		if got := Overlap(c.a, c.b); got != c.want {
			t.Errorf("Overlap(%q, %q) = %t", c.a, c.b, got)
		}
	}
}
