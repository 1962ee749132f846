package policy

import (
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"muniment.dev/muniment/internal/identity"
)

// isPlain reports whether a subject's name is unambiguous. Such a name is in
// Unicode normalization form C, has no invisible characters and no backslashes,
// and has no empty, "." or ".." elements except for the // after a scheme.
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

// foldGlob returns a glob in the same form as the names that readings returns.
func foldGlob(glob string) string { return identity.Fold(glob) }

// readings returns a name as other programs could read it: in lower case,
// without invisible characters, with a cleaned path, and with or without its
// scheme.
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
