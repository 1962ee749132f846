package connector

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/pemfile"
	"muniment.dev/muniment/internal/safetext"
)

const (
	// maxAnswer is the size limit of an answer, and maxHeader of its header.
	maxAnswer = 4 << 20
	maxHeader = 64 << 10
	// maxImage is the size limit of an image, which the executor stores.
	maxImage = 64 << 10
	// maxCall ends each call, also without a deadline of the context. No action
	// has a longer timeout.
	maxCall = time.Minute
)

// A remote is the HTTP API of a system with targets.
type remote struct {
	base          *url.URL
	token, caFile string // paths of files, or empty
	client        *http.Client
}

// remote declares the settings of an API. Those without a default value are
// required.
func (s *settings) remote(address, token, ca string) func() *remote {
	given := s.optional("url", checkURL)
	tokenFile, caFile := s.optional("token_file", path), s.optional("ca_file", path)
	if address == "" {
		s.required = append(s.required, "url")
	}
	return func() *remote {
		r := newRemote(orElse(*given, address), orElse(*tokenFile, token), orElse(*caFile, ca))
		if r.token != "" && !private(r.base) {
			s.Wrong(s.At(s.field+".url"), s.field+".url", "must be https: a token is not sent over http, except to loopback")
		}
		return r
	}
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return errors.New("must be an http or https URL")
	case u.User != nil:
		return errors.New("must not contain credentials: use token_file")
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return errors.New("must not have a query or a fragment")
	}
	return nil
}

// private reports whether a call cannot be read on its way.
func private(u *url.URL) bool {
	if u.Scheme == "https" {
		return true
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.IsLoopback()
}

// newRemote returns a client for an address that checkURL accepts. It follows
// no redirect, uses no proxy of the environment, and makes a connection for
// each call: on a connection that is used again, net/http repeats requests.
func newRemote(address, token, caFile string) *remote {
	base, err := url.Parse(address)
	if err != nil {
		base = &url.URL{} // reported by checkURL
	}
	r := &remote{base: base, token: token, caFile: caFile}
	dialer := &net.Dialer{}
	r.client = &http.Client{
		Timeout: maxCall,
		Transport: &http.Transport{
			DialContext: dialer.DialContext,
			DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				config, err := r.tls()
				if err != nil {
					return nil, err
				}
				return (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, network, address)
			},
			MaxResponseHeaderBytes: maxHeader, DisableKeepAlives: true, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return r
}

// tls reads the certificates of authorities for each connection, because they
// are replaced while the executor runs.
func (r *remote) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if r.caFile == "" {
		return config, nil
	}
	text, err := bounded.ReadFile(r.caFile, bounded.Config)
	if err != nil {
		return nil, fmt.Errorf("read ca_file: %w", err)
	}
	if config.RootCAs, err = pemfile.Pool(text); err != nil {
		return nil, fmt.Errorf("%s: %w", r.caFile, err)
	}
	return config, nil
}

// A request is one call. The path is escaped, and can end with a query.
type request struct {
	method, path string
	header       map[string]string
	body         []byte
}

// An answer has a status below 300.
type answer struct {
	header http.Header
	body   []byte
}

// A statusError is an answer with another status.
type statusError int

func (e statusError) Error() string {
	return fmt.Sprintf("the answer was %d %s", int(e), http.StatusText(int(e)))
}

// do makes one call. The error contains neither the address nor the answer.
func (r *remote) do(ctx context.Context, q request) (*answer, error) {
	address := strings.TrimSuffix(r.base.String(), "/") + q.path
	req, err := http.NewRequestWithContext(ctx, q.method, address, bytes.NewReader(q.body))
	if err != nil || req.URL.Host != r.base.Host || req.URL.Scheme != r.base.Scheme {
		return nil, errors.New("the request cannot be made")
	}
	req.Header.Set("User-Agent", "muniment-triage (+https://muniment.dev)")
	req.Header.Set("Accept", "application/json")
	if q.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range q.header {
		req.Header.Set(name, value)
	}
	if r.token != "" {
		token, err := bounded.ReadSecret(r.token)
		if err != nil {
			return nil, fmt.Errorf("read token_file: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	res, err := r.client.Do(req)
	if ue := (*url.Error)(nil); errors.As(err, &ue) {
		return nil, fmt.Errorf("%s: %w", q.method, ue.Err)
	} else if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		return nil, statusError(res.StatusCode)
	}
	body, err := bounded.ReadAll(res.Body, maxAnswer)
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return &answer{res.Header, body}, nil
}

// etag returns the strong entity tag of an answer, or an empty string.
func (a *answer) etag() string {
	tag := a.header.Get("ETag")
	if len(tag) < 2 || tag[0] != '"' || tag[len(tag)-1] != '"' {
		return ""
	}
	return tag
}

// changed makes errors with one of these statuses wrap ErrChanged.
func changed(err error, statuses ...int) error {
	if e := statusError(0); errors.As(err, &e) && slices.Contains(statuses, int(e)) {
		return fmt.Errorf("%w: %w", ErrChanged, err)
	}
	return err
}

// parts splits a target into n names after its prefix, none of which can be a
// path.
func parts(target, prefix string, n int) ([]string, error) {
	rest, ok := strings.CutPrefix(target, prefix)
	names := strings.Split(rest, "/")
	if !ok || len(names) != n || slices.ContainsFunc(names, func(s string) bool { return !plainName(s) }) {
		return nil, fmt.Errorf("target %s: must be %s and %s, separated by slashes", safetext.Quoted(target), prefix, safetext.Count(n, "name"))
	}
	return names, nil
}

// plainName reports whether a name is one segment of a path.
func plainName(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsAny(s, "/\\\x00")
}
