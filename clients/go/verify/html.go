package verify

import (
	"bytes"
	"fmt"
	"html"
	"strings"
)

const style = `:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
h1{font-size:1.4rem;margin:0;padding:.6rem 1rem;border-left:.4rem solid}
.verified h1{border-color:#1a7f37}.not-verified h1{border-color:#cf222e}.error h1{border-color:#9a6700}
p,h2{margin:1rem 0 .4rem}h2{font-size:1.05rem}
table{border-collapse:collapse;width:100%;table-layout:fixed}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #d0d7de;overflow-wrap:anywhere}
th{width:16rem;font-weight:600}
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}th,td{border-color:#30363d}}
@media print{:root{color-scheme:light}body{color:#000;background:#fff;max-width:none;margin:0;font-size:10pt}tr{break-inside:avoid}th,td{border-color:#000}}
`

// HTML returns the report as one page that needs no other file and has no
// scripts.
func (r *Report) HTML() []byte {
	var b bytes.Buffer
	text := func(s string) string { return html.EscapeString(visible(s)) }
	fmt.Fprintf(&b, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"+
		"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"+
		"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"+
		"<title>%s: %s</title>\n<style>\n%s</style>\n</head>\n<body class=\"%s\">\n", text(r.Mark()), text(r.File), style, r.Verdict)
	fmt.Fprintf(&b, "<h1>%s</h1>\n<table>\n", text(r.Mark()))
	row := func(label, value string) {
		fmt.Fprintf(&b, "<tr><th scope=\"row\">%s</th><td>%s</td></tr>\n", label, value)
	}
	row("file", text(r.File))
	if r.Kind != "" {
		row("kind", text(string(r.Kind)))
	}
	if r.Verdict != Verified {
		row("code", text(r.Code))
		row("step", fmt.Sprint(r.Step))
		row("message", text(r.Message))
	}
	b.WriteString("</table>\n")
	for _, s := range r.sections() {
		fmt.Fprintf(&b, "<h2>%s</h2>\n<table>\n", html.EscapeString(s.title))
		for _, i := range s.items {
			row(html.EscapeString(i.label), html.EscapeString(i.value))
		}
		b.WriteString("</table>\n")
	}
	fmt.Fprintf(&b, "<p>%s</p>\n</body>\n</html>\n", html.EscapeString(r.boundary()))
	return []byte(strings.ToValidUTF8(b.String(), "\ufffd"))
}
