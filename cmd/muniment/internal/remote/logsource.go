package remote

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/clients/go/audit"
)

// OpenSource returns the log in a folder or at a URL.
func OpenSource(url, tokenFile string) (audit.Source, error) {
	if info, err := os.Stat(url); err == nil && info.IsDir() {
		return audit.NewFolderSource(url)
	} else if !strings.Contains(url, "://") {
		return nil, fmt.Errorf("%s is neither a folder nor a URL such as https://ledger.example", url)
	}
	if rest := url[strings.Index(url, "://")+1:]; strings.Count(strings.TrimSuffix(rest, "/"), "/") == 2 {
		url = strings.TrimSuffix(url, "/") + "/tlog/"
	}
	client := muniment.BoundErrors(&http.Client{Timeout: time.Minute})
	client.Transport = explained{client.Transport}
	if tokenFile != "" { // never from the environment: the log may not be the user's
		token, err := ReadBearer(tokenFile)
		if err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		// the token is for this host only
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		client.Transport = &bearer{token, client.Transport}
	}
	return audit.NewHTTPSource(url, client)
}

// explained adds the remedy to errors of connections that are mistakes of the
// user, and not failures that end by themselves.
type explained struct{ next http.RoundTripper }

func (e explained) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := e.next.RoundTrip(r)
	if err == nil {
		return resp, nil
	}
	remedy := tlsRemedy(err, logURL)
	if remedy == "" {
		return nil, err
	}
	return nil, &mistake{err, strings.TrimSuffix(remedy, ".")}
}

// A mistake is an error with its remedy.
type mistake struct {
	cause  error
	remedy string
}

func (m *mistake) Error() string   { return m.cause.Error() + ". " + m.remedy }
func (m *mistake) Unwrap() []error { return []error{m.cause, audit.ErrPermanent} }

// bearer sends a token with each request.
type bearer struct {
	token string
	next  http.RoundTripper
}

func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}
