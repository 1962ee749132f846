package oci

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

const maxRedirects = 10

// A following transport follows redirects of reads. Otherwise the registry
// library does, which refuses every non-public IP address in the URL, even one
// that the user allowed. The next transport checks the address of each hop.
type following struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (f following) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		return f.next.RoundTrip(req)
	}
	hop := req
	for range maxRedirects + 1 {
		resp, err := f.next.RoundTrip(hop)
		if err != nil || !isRedirect(resp) {
			return resp, err
		}
		// A short body is read, so that the connection can be used again.
		_, _ = io.CopyN(io.Discard, resp.Body, 2<<10)
		resp.Body.Close()
		if hop, err = nextHop(req, hop, resp); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: %d redirects", ErrTooMuch, maxRedirects)
}

// nextHop returns the request to which a redirect leads.
func nextHop(first, hop *http.Request, resp *http.Response) (*http.Request, error) {
	to, err := hop.URL.Parse(resp.Header.Get("Location"))
	if err != nil {
		return nil, errors.New("the registry redirects to a malformed URL")
	}
	// Content is compared with its digest. An answer of a token service is not.
	downgrade := hop.URL.Scheme == "https" && to.Scheme == "http"
	switch {
	case to.Scheme != "https" && to.Scheme != "http":
		return nil, fmt.Errorf("the registry redirects to a URL of the scheme %q", to.Scheme)
	case downgrade && !strings.HasPrefix(first.URL.Path, "/v2/"):
		return nil, errors.New("the token service redirects from HTTPS to HTTP")
	}
	next := hop.Clone(hop.Context())
	next.URL, next.Host = to, ""
	if downgrade || !strings.EqualFold(to.Host, hop.URL.Host) {
		next.Header.Del("Authorization")
		next.Header.Del("Cookie")
	}
	return next, nil
}

func isRedirect(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return resp.Header.Get("Location") != ""
	}
	return false
}
