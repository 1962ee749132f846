package term

import (
	"fmt"
	"strings"

	"muniment.dev/muniment/internal/safetext"
)

// TimeFormat is RFC 3339 with the log's milliseconds.
const TimeFormat = safetext.TimeFormat

// Because adds a reason, if there is one.
func Because(what, reason string) string {
	if reason == "" {
		return what
	}
	return what + ": " + reason
}

// Optional returns a text with a prefix, or nothing for the empty text.
func Optional(prefix, s string) string { return safetext.Optional(prefix, s) }

// LineName names a document in a JSON Lines file, counted from 1.
func LineName(file string, n int) string { return fmt.Sprintf("%s:%d", file, n) }

// A Page is output for people: a heading and labeled lines.
type Page struct{ strings.Builder }

// NewPage returns a page with a heading.
func NewPage(format string, args ...any) *Page {
	p := &Page{}
	p.WriteString(strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", `\n`) + "\n")
	return p
}

// Line adds a line. Line feeds in its text are escaped.
func (p *Page) Line(label, format string, args ...any) {
	fmt.Fprintf(p, "  %-10s%s\n", label, strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", `\n`))
}
