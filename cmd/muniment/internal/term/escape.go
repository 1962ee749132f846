package term

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

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
	b, _ := escape(nil, []byte(s), true)
	return string(b)
}

// escape appends p to dst, escaped. Unless it is the end of the text, it
// returns an incomplete character at the end of p as rest.
func escape(dst, p []byte, end bool) (out, rest []byte) {
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

// An Escaper writes text for people and programs to w, with unsafe characters
// escaped. It is safe for use by many goroutines.
type Escaper struct {
	w  io.Writer
	mu sync.Mutex
	// rest contains the first bytes of an incomplete character.
	rest []byte
}

// NewEscaper returns an escaper that writes to w.
func NewEscaper(w io.Writer) *Escaper { return &Escaper{w: w} }

// Unwrap returns the writer behind the escaper, for progress bars and colours.
func (e *Escaper) Unwrap() io.Writer { return e.w }

// Write implements io.Writer.
func (e *Escaper) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := p
	if len(e.rest) > 0 {
		all = append(e.rest, p...)
	}
	out, rest := escape(make([]byte, 0, len(all)), all, false)
	e.rest = []byte(strings.Clone(string(rest)))
	if len(out) > 0 {
		if _, err := e.w.Write(out); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Flush writes an incomplete character at the end.
func (e *Escaper) Flush() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	out, _ := escape(nil, e.rest, true)
	e.rest = nil
	if len(out) == 0 {
		return nil
	}
	_, err := e.w.Write(out)
	return err
}
