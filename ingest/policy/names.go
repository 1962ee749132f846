package policy

import (
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"muniment.dev/muniment/ingest/identity"
)

// isPlain reports whether a subject's name is read in one way only: it is in
// Unicode normalization form C, all of it is visible, and it has no empty, "."
// or ".." element (but for the // after a scheme).
func isPlain(name string) bool {
	if !utf8.ValidString(name) || !norm.NFC.IsNormalString(name) || strings.ContainsFunc(name, func(r rune) bool {
		return r != ' ' && unicode.IsSpace(r) || !identity.Visible(r)
	}) {
		return false
	}
	_, rest := cutScheme(name)
	for i, element := range strings.Split(rest, "/") {
		if element == "." || element == ".." || element == "" && i > 0 && i < strings.Count(rest, "/") {
			return false
		}
	}
	return !strings.Contains(name, "\\")
}

// foldGlob returns a glob in the form that readings of names have.
func foldGlob(glob string) string { return identity.Fold(glob) }

// readings returns a name as careless readers could read it: in lower case,
// without invisible characters, with its path cleaned, with and without scheme.
func readings(name string) []string {
	scheme, rest := cutScheme(identity.Fold(name))
	host, more, ok := strings.Cut(strings.ReplaceAll(rest, "\\", "/"), "/")
	if rest = strings.TrimRight(host, "."); ok {
		rest += "/" + more
	}
	rest = strings.TrimPrefix(path.Clean("/"+rest), "/")
	if scheme == "" {
		return []string{rest}
	}
	return []string{rest, scheme + "://" + rest}
}

func cutScheme(name string) (scheme, rest string) {
	if scheme, rest, ok := strings.Cut(name, "://"); ok && !strings.Contains(scheme, "/") {
		return scheme, rest
	}
	return "", name
}
