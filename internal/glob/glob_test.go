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
