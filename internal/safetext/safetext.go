// Package safetext writes text of untrusted origin so that it cannot control a
// terminal, and counts things in words.
package safetext

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// TimeFormat is RFC 3339 with the log's milliseconds.
const TimeFormat = "2006-01-02T15:04:05.000Z"

// Unsafe reports whether a character must not reach a terminal: one that
// controls it, that reorders or breaks text, or that is invisible. Line feeds
// and tabs, which structure output, are safe.
func Unsafe(r rune) bool {
	switch {
	case r == '\n', r == '\t':
		return false
	case r >= 0x2060 && r <= 0x2069, r >= 0xE0000 && r <= 0xE007F: // with the unassigned ones
		return true
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

// Escape returns text in which each unsafe character is written as \uXXXX, and
// each byte that is not part of valid UTF-8 as \ufffd. A JSON document keeps
// its meaning, because such characters occur only in its strings.
func Escape(s string) string {
	b, _ := Append(nil, []byte(s), true)
	return string(b)
}

// Append appends p to dst, escaped. Unless it is the end of the text, it
// returns an incomplete character at the end of p as rest.
func Append(dst, p []byte, end bool) (out, rest []byte) {
	for len(p) > 0 {
		if !end && !utf8.FullRune(p) {
			return dst, p
		}
		r, n := utf8.DecodeRune(p)
		switch {
		case r == utf8.RuneError && n == 1:
			dst = append(dst, `\ufffd`...)
		case Unsafe(r) && r > 0xFFFF:
			hi, lo := utf16.EncodeRune(r)
			dst = fmt.Appendf(dst, `\u%04x\u%04x`, hi, lo)
		case Unsafe(r):
			dst = fmt.Appendf(dst, `\u%04x`, r)
		default:
			dst = append(dst, p[:n]...)
		}
		p = p[n:]
	}
	return dst, nil
}

// Quoted is Escape for one field: it also escapes line feeds and tabs.
func Quoted(s string) string {
	if q := strconv.Quote(s); q[1:len(q)-1] != s {
		return q
	}
	return s
}

// Optional returns a text with a prefix, or nothing for the empty text.
func Optional(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + Quoted(s)
}

// Count returns a number with its noun, such as "1 entry" or "2 entries".
func Count[N ~int | ~int64 | ~uint32 | ~uint64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "ry"); ok {
		noun = stem + "rie"
	} else if strings.HasSuffix(noun, "s") {
		noun += "e"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Size returns a number of bytes for people, such as "1.5 MiB".
func Size(n int64) string {
	const units = "KMGT"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1024, 0
	for v >= 1024 && unit < len(units)-1 {
		v, unit = v/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[unit])
}
