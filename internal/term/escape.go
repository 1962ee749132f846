package term

import (
	"io"
	"strings"
	"sync"

	"muniment.dev/muniment/internal/safetext"
)

// Unsafe reports whether a character must not reach a terminal.
func Unsafe(r rune) bool { return safetext.Unsafe(r) }

// Escape returns text in which each unsafe character is written as \uXXXX, and
// each byte that is not part of valid UTF-8 as \ufffd.
func Escape(s string) string { return safetext.Escape(s) }

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
	out, rest := safetext.Append(make([]byte, 0, len(all)), all, false)
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
	out, _ := safetext.Append(nil, e.rest, true)
	e.rest = nil
	if len(out) == 0 {
		return nil
	}
	_, err := e.w.Write(out)
	return err
}
