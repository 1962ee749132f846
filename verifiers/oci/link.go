package oci

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// nextPage returns the target of the first link with the relation type "next"
// in the Link headers (RFC 8288), or nil. The target must be on the same host,
// because the request contains a token.
func nextPage(page *url.URL, h http.Header) (*url.URL, error) {
	for _, value := range h.Values("Link") {
		for _, l := range parseLinks(value) {
			if !l.isNext(page) {
				continue
			}
			next, err := page.Parse(l.target)
			if err != nil {
				return nil, fmt.Errorf("the next page is not a URL: %q", l.target)
			}
			if !sameOrigin(next, page) {
				return nil, fmt.Errorf("the next page is on another host, %s", next.Host)
			}
			next.Host = page.Host // use one spelling
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
	// the context of the link, if it is not the page
	anchor    string
	hasAnchor bool
}

// isNext reports whether the link leads to the next page.
func (l *link) isNext(page *url.URL) bool {
	if !slices.ContainsFunc(strings.Fields(l.rel), func(rel string) bool { return strings.EqualFold(rel, "next") }) {
		return false
	}
	if !l.hasAnchor {
		return true
	}
	context, err := page.Parse(l.anchor)
	if err != nil {
		return false
	}
	context.Fragment, context.RawFragment = "", ""
	return context.String() == page.String()
}

// sameOrigin reports whether two URLs have the same scheme, host and port
// (RFC 3986, section 6.2).
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"http": "80", "https": "443"}[u.Scheme]
}

// parseLinks reads a Link header by the algorithm of RFC 8288, appendix B.2. It
// stops at the first link that is not well-formed.
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

// params reads the parameters of a link and returns the rest of the header. If
// a parameter is repeated, the first one counts.
func (l *link) params(s string) string {
	for {
		s = strings.TrimLeft(s, " \t")
		rest, ok := strings.CutPrefix(s, ";")
		if !ok {
			// Skip to the next link.
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
		case name == "anchor" && !l.hasAnchor:
			l.anchor, l.hasAnchor = value, true
		}
	}
}

// paramValue reads a token or quoted string, and returns the rest of the
// header.
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
