package facts

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// CanonicalPURL returns the canonical form of a package URL
// (https://github.com/package-url/purl-spec), as docs/spec/facts.md, section 4,
// defines it. ok is false if s is not a package URL.
func CanonicalPURL(s string) (canonical string, ok bool) {
	if len(s) < 4 || !strings.EqualFold(s[:4], "pkg:") {
		return "", false
	}
	s = strings.TrimLeft(s[4:], "/")
	s, subpath, _ := strings.Cut(s, "#")
	s, qualifiers, _ := strings.Cut(s, "?")
	kind, path, ok := strings.Cut(s, "/")
	if kind = strings.ToLower(kind); !ok || !isPURLType(kind) {
		return "", false
	}
	version := ""
	// An @ before the last slash is part of a namespace, such as npm's scopes.
	if at := strings.LastIndexByte(path, '@'); at > strings.LastIndexByte(path, '/') {
		path, version = path[:at], path[at+1:]
	}
	var b strings.Builder
	b.WriteString("pkg:" + kind)
	n := 0
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" {
			continue
		}
		if segment, ok = unescape(segment); !ok || segment == "" {
			return "", false
		}
		b.WriteByte('/')
		escape(&b, foldName(kind, segment))
		n++
	}
	if n == 0 {
		return "", false
	}
	if version, ok = unescape(version); !ok {
		return "", false
	}
	if version != "" {
		b.WriteByte('@')
		escape(&b, version)
	}
	if !appendQualifiers(&b, qualifiers) || !appendSubpath(&b, subpath) || b.Len() > MaxText {
		return "", false
	}
	return b.String(), true
}

// isPURLType reports whether s is a type in lower case.
func isPURLType(s string) bool {
	for i := range len(s) {
		c := s[i]
		digit := c >= '0' && c <= '9'
		if (c < 'a' || c > 'z') && !digit && (i == 0 || c != '.' && c != '+' && c != '-') || i == 0 && digit {
			return false
		}
	}
	return s != ""
}

// foldName folds the spellings of names that the registries of a type treat as
// equal.
func foldName(kind, name string) string {
	switch kind {
	case "bitbucket", "github", "oci":
		return lowerASCII(name)
	case "pypi":
		return strings.ReplaceAll(lowerASCII(name), "_", "-")
	}
	return name
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}

// equalASCII reports whether two texts are equal without regard to ASCII case.
func equalASCII(a, b string) bool {
	if a == b || len(a) != len(b) {
		return a == b
	}
	for i := range len(a) {
		if lowerByte(a[i]) != lowerByte(b[i]) {
			return false
		}
	}
	return true
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

func appendQualifiers(b *strings.Builder, s string) bool {
	var all [][2]string
	for pair := range strings.SplitSeq(s, "&") {
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		key = strings.ToLower(key)
		value, ok := unescape(value)
		if !ok || !isQualifier(key) || slices.ContainsFunc(all, func(p [2]string) bool { return p[0] == key }) {
			return false
		}
		if value != "" {
			all = append(all, [2]string{key, value})
		}
		if len(all) > maxQualifiers {
			return false
		}
	}
	slices.SortFunc(all, func(x, y [2]string) int { return strings.Compare(x[0], y[0]) })
	for i, p := range all {
		b.WriteByte("?&"[min(i, 1)])
		b.WriteString(p[0] + "=")
		escape(b, p[1])
	}
	return true
}

// maxQualifiers is the number of qualifiers of a package URL.
const maxQualifiers = 16

func isQualifier(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (i == 0 || (c < '0' || c > '9') && c != '.' && c != '-' && c != '_') {
			return false
		}
	}
	return s != ""
}

func appendSubpath(b *strings.Builder, s string) bool {
	separator := byte('#')
	for segment := range strings.SplitSeq(s, "/") {
		segment, ok := unescape(segment)
		if !ok {
			return false
		}
		if segment == "" || segment == "." || segment == ".." {
			continue
		}
		b.WriteByte(separator)
		escape(b, segment)
		separator = '/'
	}
	return true
}

// unescape decodes percent-encoding. The result must be UTF-8 without control
// characters.
func unescape(s string) (string, bool) {
	text, err := url.PathUnescape(s)
	return text, err == nil && utf8.ValidString(text) && !hasControl(text)
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7F })
}

const upperHex = "0123456789ABCDEF"

// escape writes s with all bytes percent-encoded except for the unreserved ones
// of RFC 3986 and the colon.
func escape(b *strings.Builder, s string) {
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~:", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
		}
	}
}

// A PURL is a canonical package URL in parts.
type PURL struct {
	Base       string // pkg:, type, namespace and name
	Version    string
	Qualifiers string // key=value pairs, sorted and joined by &
	Subpath    string
}

// ParsePURL returns the parts of a canonical package URL.
func ParsePURL(canonical string) (p PURL) {
	p.Base, p.Subpath, _ = strings.Cut(canonical, "#")
	p.Base, p.Qualifiers, _ = strings.Cut(p.Base, "?")
	p.Base, p.Version, _ = strings.Cut(p.Base, "@")
	return p
}

// Covers reports whether other is one of the packages that p names. What p
// lacks, which is a version, a qualifier or a subpath, may have any value.
func (p *PURL) Covers(other *PURL) bool {
	if p.Base != other.Base || p.Version != "" && p.Version != other.Version || p.Subpath != "" && p.Subpath != other.Subpath {
		return false
	}
	if p.Qualifiers == "" || p.Qualifiers == other.Qualifiers {
		return true
	}
	rest := other.Qualifiers
	for pair := range strings.SplitSeq(p.Qualifiers, "&") {
		for {
			var next string
			if rest == "" {
				return false
			}
			if next, rest, _ = strings.Cut(rest, "&"); next == pair {
				break
			}
		}
	}
	return true
}
