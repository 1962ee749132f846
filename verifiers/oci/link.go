package oci

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// nextPage returns the target of the first link of a relation "next" in the
// Link headers (RFC 8288), or nil. It stays on the host: the request carries a
// token.
func nextPage(page *url.URL, h http.Header) (*url.URL, error) {
	for _, value := range h.Values("Link") {
		for _, l := range parseLinks(value) {
			if !l.isNext() {
				continue
			}
			next, err := page.Parse(l.target)
			if err != nil {
				return nil, fmt.Errorf("next page: %w", err)
			}
			if next.Host != page.Host || next.Scheme != page.Scheme {
				return nil, fmt.Errorf("the next page is on another host, %s", next.Host)
			}
			return next, nil
		}
	}
	return nil, nil
}

// A link is one link-value of a Link header.
type link struct {
	target string
	rel    string // its relation types, separated by spaces
	hasRel bool
	anchor bool // it has another context than the page
}

func (l *link) isNext() bool {
	for _, rel := range strings.Fields(l.rel) {
		if strings.EqualFold(rel, "next") {
			return !l.anchor
		}
	}
	return false
}

// parseLinks reads a Link header by the algorithm of RFC 8288, appendix B.2. It
// ends at the first link that is not well formed.
func parseLinks(s string) (links []link) {
	for {
		s = strings.TrimLeft(s, " \t,")
		rest, ok := strings.CutPrefix(s, "<")
		if !ok {
			return links
		}
		var l link
		if l.target, s, ok = strings.Cut(rest, ">"); !ok {
			return links
		}
		s = l.params(s)
		links = append(links, l)
	}
}

// params reads the parameters of a link, and returns what follows them. Of a
// parameter that is there twice the first counts.
func (l *link) params(s string) string {
	for {
		s = strings.TrimLeft(s, " \t")
		rest, ok := strings.CutPrefix(s, ";")
		if !ok {
			// Skip to the next link, past anything that is not understood.
			if i := strings.IndexByte(s, ','); i >= 0 {
				return s[i:]
			}
			return ""
		}
		s = strings.TrimLeft(rest, " \t")
		n := strings.IndexAny(s, "=;, \t")
		if n < 0 {
			n = len(s)
		}
		name := strings.ToLower(s[:n])
		s = strings.TrimLeft(s[n:], " \t")
		value := ""
		if v, ok := strings.CutPrefix(s, "="); ok {
			value, s = paramValue(strings.TrimLeft(v, " \t"))
		}
		switch {
		case name == "rel" && !l.hasRel:
			l.rel, l.hasRel = value, true
		case name == "anchor":
			l.anchor = true
		}
	}
}

// paramValue reads a token or quoted string, and returns what follows it.
func paramValue(s string) (value, rest string) {
	quoted, ok := strings.CutPrefix(s, `"`)
	if !ok {
		if n := strings.IndexAny(s, ";, \t"); n >= 0 {
			return s[:n], s[n:]
		}
		return s, ""
	}
	var b strings.Builder
	for i := 0; i < len(quoted); i++ {
		switch c := quoted[i]; {
		case c == '"':
			return b.String(), quoted[i+1:]
		case c == '\\' && i+1 < len(quoted):
			i++
			b.WriteByte(quoted[i])
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), ""
}
