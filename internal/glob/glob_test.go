package glob

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzGlob compares the matcher with the same pattern as a regular expression.
func FuzzGlob(f *testing.F) {
	f.Add("registry.acme.example/**:1.7.*", "registry.acme.example/a/b:1.7.2")
	f.Add("a*b", "a/b")
	f.Add("**", "")
	f.Fuzz(func(t *testing.T, glob, name string) {
		if Check(glob) != nil || !utf8.ValidString(glob) || !utf8.ValidString(name) {
			return
		}
		var pattern strings.Builder
		for i, part := range strings.Split(glob, "**") {
			if i > 0 {
				pattern.WriteString(".*")
			}
			for j, p := range strings.Split(part, "*") {
				if j > 0 {
					pattern.WriteString("[^/]*")
				}
				pattern.WriteString(regexp.QuoteMeta(p))
			}
		}
		want := regexp.MustCompile(`(?s)\A` + pattern.String() + `\z`).MatchString(name)
		if got := Match(glob, name); got != want {
			t.Errorf("Match(%q, %q) = %t", glob, name, got)
		}
	})
}
