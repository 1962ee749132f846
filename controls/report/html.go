package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"
	"unicode"
)

//go:embed page.html
var pageSource string

//go:embed page.css
var style string

var page = template.Must(template.New("page").Parse(pageSource))

// policy is the content security policy of the page. It allows the page's own
// style and nothing else.
var policy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
}()

// HTML writes a release as a page without scripts, which needs no other file
// and no network. Links lead to members of the bundle. Equal releases have
// equal bytes.
func HTML(w io.Writer, r *Release) error {
	var b bytes.Buffer
	if err := page.Execute(&b, newView(r)); err != nil {
		return fmt.Errorf("render the report: %w", err)
	}
	_, err := io.WriteString(w, visible(b.String()))
	return err
}

// visible replaces characters that are invisible or change the direction of
// text, so that what people read is what is recorded. The page itself has none.
func visible(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for _, r := range s {
		switch {
		case r == '\n':
			b.WriteRune(r)
		case r == '\t' || r == '\r':
			b.WriteByte(' ')
		case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co):
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
